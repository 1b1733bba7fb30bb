"""What `show` has to show: what flows before and after each step for some records, on one framework or on both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from pipelines.native import to_numpy
from pipelines.pipeline import Pipeline
from pipelines.plan import FieldPlan, Node, Plan
from pipelines.report._compare_process import WorkerProcess
from pipelines.report._compare_wire import Place, read, take
from pipelines.runtime._chain import Chain, StepFailure, read_raw
from pipelines.sources._base import Source
from pipelines.spec import Spec

GRID_ROWS = 32
"""Rows of a batch that are shown."""


@dataclass(frozen=True)
class Stage:
    """One value between two steps, as NumPy holds it: `number` is the node it flows into, `part` which of several."""

    field: FieldPlan
    number: int
    part: int
    value: Any
    rate_hz: int | None

    @property
    def node(self) -> Node | None:
        """The node that made it; None for what was read."""
        return self.field.nodes[self.number - 1] if self.number else None

    @property
    def step(self) -> str:
        return self.node.name if self.node else "from " + ", ".join(self.field.sources)

    @property
    def spec(self) -> Spec:
        return self.field.spec_before(self.number)[self.part]

    @property
    def place(self) -> tuple[str, int, int]:
        return self.field.name, self.number, self.part

    @property
    def nodes(self) -> Iterator[Node]:
        """The nodes it has been through, the last one first."""
        return reversed(self.field.nodes[: self.number])


@dataclass(frozen=True)
class Fell:
    """Where and why a record failed; `field` is empty where it could not be read."""

    field: str
    step: str
    reason: str

    def __str__(self) -> str:
        return " ".join(part for part in (self.field and f"{self.field}:", f"{self.step}:", self.reason) if part)


@dataclass(frozen=True)
class Taken:
    """One record's stages by place, with the draws of one epoch, and where it failed."""

    stages: Mapping[tuple[str, int, int], Stage]
    failure: Fell | None = None


Rows = list[dict[str, Any]]
"""The first rows of a batch as sinks store them."""


class Taker(Protocol):
    """Takes records through one framework."""

    def take(self, index: int, epoch: int) -> Taken:
        """What flows for the record `index` with the draws of `epoch`."""

    def values(self, field: FieldPlan, number: int, indices: Sequence[int], epoch: int) -> list[Stage]:
        """What one field is after a node in each of some records; those that lack it, or fail before, are left out."""

    def batch(self, place: Place, epoch: int) -> Rows:
        """The rows of one batch that have not failed."""


class Here:
    """Takes records through a pipeline of this process."""

    def __init__(self, pipe: Pipeline) -> None:
        self.pipe = pipe
        self.plan = pipe.plan

    def take(self, index: int, epoch: int) -> Taken:
        """What flows for the record `index` with the draws of `epoch`."""
        stages: dict[tuple[str, int, int], Stage] = {}
        failure = None
        fields = {field.name: (field, _places(field)) for field in self.plan.fields}
        try:
            for trace in self.pipe.engine.trace(self.pipe.chunk_of(index, epoch), 0):
                field, places = fields[trace.field]
                number, part = next(places)
                stage = Stage(field, number, part, to_numpy(trace.value, trace.spec), trace.rate_hz)
                stages[stage.place] = stage
        except StepFailure as error:
            failure = Fell(error.field, error.step, error.reason)
        return Taken(stages, failure)

    def values(self, field: FieldPlan, number: int, indices: Sequence[int], epoch: int) -> list[Stage]:
        """What one field is after a node in each of some records; those that lack it, or fail before, are left out."""
        chain = Chain(field, self.pipe.framework)
        wanted = {name: self.plan.values[name] for name in field.sources}
        found = []
        for index in indices:
            draws = self.pipe.engine.row_draws(self.pipe.chunk_of(index, epoch), 0)
            with suppress(StepFailure):
                raw = read_raw(self.pipe.source, index, wanted)
                if not chain.is_absent(raw):
                    *_, carried = chain.walk(raw, draws, number)
                    specs = field.spec_before(number)
                    pairs = enumerate(zip(carried, specs, strict=True))
                    found += [Stage(field, number, part, to_numpy(v, spec), None) for part, ((v, _), spec) in pairs]
        return found

    def batch(self, place: Place, epoch: int) -> Rows:
        """The rows of one batch that have not failed."""
        chunk = self.pipe.grid.chunk(epoch, self.plan.streams, *place)
        return [record for got in self.pipe.engine.run([chunk]) for record in self.pipe.engine.unbatch(got)]


class Apart:
    """Takes records through the pipeline of another process, which runs another framework."""

    def __init__(self, process: WorkerProcess, plan: Plan, source: Source) -> None:
        self.plan = plan
        self._process = process
        self._source = source

    def take(self, index: int, epoch: int, fields: list[str] | None = None) -> Taken:
        """What flows for the record `index` with the draws of `epoch`, which the process was started with."""
        try:
            read_raw(self._source, index, self.plan.values)
        except StepFailure as error:
            return Taken({}, Fell(error.field, error.step, error.reason))
        file = self._process.file
        failures = self._process.ask("give", index=index, file=str(file), fields=fields)["failures"]
        stages: dict[tuple[str, int, int], Stage] = {}
        with read(file) as arrays:
            for field in self.plan.fields:
                for number, part in _places(field):
                    name = f"{field.name}/{number}/{part}"
                    value = take(arrays, name, field.spec_before(number)[part])
                    if value is not None:
                        rate = arrays.get(f"{name} rate")
                        stage = Stage(field, number, part, value, None if rate is None else int(rate))
                        stages[stage.place] = stage
        named = {field.name: field for field in self.plan.fields}
        fell = [Fell(one["field"], named[one["field"]].nodes[one["number"]].name, one["reason"]) for one in failures]
        return Taken(stages, fell[0] if fell else None)

    def values(self, field: FieldPlan, number: int, indices: Sequence[int], epoch: int) -> list[Stage]:
        """What one field is after a node in each of some records; those that lack it, or fail before, are left out."""
        taken = (self.take(index, epoch, [field.name]).stages for index in indices)
        parts = range(len(field.spec_before(number)))
        return [s[field.name, number, part] for s in taken for part in parts if (field.name, number, part) in s]

    def batch(self, place: Place, epoch: int) -> Rows:
        """The rows of one batch that have not failed."""
        file = self._process.file
        answer = self._process.ask("batch", places=[place], file=str(file))
        with read(file) as arrays:
            return [
                {name: take(arrays, f"{name}/{row}", spec) for name, spec in self.plan.specs.items()}
                for row in range(len(answer["positions"]))
            ]


def _places(field: FieldPlan) -> Iterator[tuple[int, int]]:
    """The (node, part) of each value in the order in which they flow."""
    return ((n, part) for n in range(len(field.nodes) + 1) for part in range(len(field.spec_before(n))))


def first_batch(places: Iterator[Place]) -> Place | None:
    """Where the first batch of an epoch stands, cut to the rows that are shown."""
    found = next(places, None)
    return None if found is None else (found[0], min(found[1], found[0] + GRID_ROWS))
