"""What an engine is, and what it hands over: one batch of the grid, with every row accounted for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.grid import Chunk, Failure
from pipelines.native import to_numpy
from pipelines.plan import FieldPlan, Plan
from pipelines.runtime._chain import Chain, Sizes, StepFailure, Trace, bind_plan, read_raw, serving_draws, trace
from pipelines.runtime._clock import Clock
from pipelines.runtime._memory import keep_freed_memory
from pipelines.sources._base import Source
from pipelines.spec import TEXT, Spec

Batch = dict[str, Any]
_COUNT = Spec("int64")
_BESIDE = ("_length", "_mask", "_row", "_start")


@dataclass(frozen=True)
class Delivered:
    """A finished batch of the grid: its rows in order, and the rows that failed.

    `batch` is None when no row is left. `positions` are those of the rows that are left; filler
    rows stand after them.
    """

    chunk: Chunk
    batch: Batch | None
    positions: npt.NDArray[np.int64]
    failures: tuple[Failure, ...]


class Engine(ABC):
    """Runs a plan in one framework."""

    framework: str
    threads: int
    """How many batches are made at once, at most."""

    def __init__(self, plan: Plan, source: Source, fills: bool) -> None:
        """`fills`: batches are filled up with rows that are not valid, as far as each chunk says."""
        keep_freed_memory()
        self.plan = plan
        self.source = source
        self.fills = fills
        self.clock = Clock()
        self.chains = bind_plan(plan, self.framework)
        self._whole = (plan, self.chains)
        self.batch_kernels = [(node, node.step.bind(self.framework, *node.takes)) for node in plan.batch_nodes]

    def go_through(self, plan: Plan) -> None:
        """Let single records (`apply`, `trace`) go through `plan`; the engine's own leaves out what is kept on disk."""
        self._whole = (plan, bind_plan(plan, self.framework))

    @property
    def whole(self) -> Mapping[str, Chain]:
        """The chains of every step, also of those whose result is kept on disk, by field."""
        return self._whole[1]

    @abstractmethod
    def run(self, chunks: Iterable[Chunk]) -> Iterator[Delivered]:
        """Batches in the order of the chunks."""

    @abstractmethod
    def to_draw(self, variates: npt.NDArray[np.float64]) -> Any:
        """Variates as the kernels take them."""

    @abstractmethod
    def rounded(self, value: Any, dtype: str) -> Any:
        """A float32 tensor as one of `dtype`, to even."""

    def _finished(self, values: dict[str, Any]) -> dict[str, Any]:
        """Entries of a batch, or a record's fields, with the floats that are delivered."""
        there = [name for name in self.plan.rounded & values.keys() if values[name] is not None]
        return values | {name: self.rounded(values[name], self.plan.floats) for name in there}

    def apply(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of one record in memory whose values are given, without chance; StepFailure where it fails."""
        plan, chains = self._whole
        serving = {name: self.to_draw(np.array(draw)) for name, draw in serving_draws(plan).items()}
        sizes: Sizes = {}
        values: dict[str, Any] = {}
        for name, chain in chains.items():
            followed = {node.size_of for node in chain.field.nodes if node.size_of}
            if raw.keys() >= set(chain.field.sources) and sizes.keys() >= followed:
                values[name] = chain.value(raw, serving.__getitem__, sizes=sizes)
        return self._finished({field.name: values[field.name] for field in plan.fields if field.name in values})

    def trace(self, chunk: Chunk, row: int) -> Iterator[Trace]:
        """One row of a chunk, step by step; StepFailure where it fails."""
        plan, chains = self._whole
        raw = read_raw(self.source, int(chunk.indices[row]), plan.values)
        sizes: Sizes = {}
        for chain in chains.values():
            yield from trace(chain, raw, self.row_draws(chunk, row), sizes)

    def row_draws(self, chunk: Chunk, row: int) -> Callable[[str], Any]:
        """The draws of one row, by stream."""
        return lambda stream: self.to_draw(chunk.draws[stream][row])

    def failure(self, chunk: Chunk, row: int, error: StepFailure) -> Failure:
        """What the quarantine keeps of a row that failed."""
        index = int(chunk.indices[row])
        where = (chunk.epoch, int(chunk.positions[row]), index, self.source.key(index))
        return Failure(*where, error.field, error.step, error.reason)

    def unbatch(self, delivered: Delivered) -> Iterator[dict[str, Any]]:
        """The rows of a batch as sinks store them: NumPy, channel last, unpadded, None where absent."""
        if delivered.batch is None:
            return
        batch = delivered.batch
        keys = to_numpy(batch["key"], TEXT)
        indices = np.asarray(batch["index"])
        columns = {name: to_numpy(batch[name], spec) for name, spec in self.plan.specs.items()}
        beside = {f"{field.name}{what}" for field in self.plan.fields for what in _BESIDE} & batch.keys()
        columns |= {name: to_numpy(batch[name], _COUNT) for name in beside - self.plan.specs.keys()}
        for row in range(len(delivered.positions)):
            record = {"key": keys[row], "index": int(indices[row])}
            yield record | {field.name: self._unpadded(field, columns, row) for field in self.plan.fields}

    def _unpadded(self, field: FieldPlan, columns: Mapping[str, Any], row: int) -> Any:
        """One record's value of a field, cut out of the batch; None where it is absent."""
        name = field.name
        if field.optional and not columns[f"{name}_mask"][row]:
            return None
        if name in self.plan.packed:
            start, length = int(columns[f"{name}_start"][row]), int(columns[f"{name}_length"][row])
            return columns[name][int(columns[f"{name}_row"][row])][start : start + length]
        value = columns[name][row]
        if not field.spec.varying:
            return value
        cut: list[slice] = [slice(None)] * len(field.spec.axes)
        for axis, length in zip(field.spec.varying, np.atleast_1d(columns[f"{name}_length"][row]), strict=True):
            cut[axis] = slice(int(length))
        return value[tuple(cut)] if field.spec.is_numeric else value[cut[0]]
