"""A step's example as a case of the contract, and its binding in one framework, fed from NumPy and read as NumPy."""

from __future__ import annotations

import atexit
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipelines.catalog import find_step, step_names
from pipelines.contract._values import RATES, RECORDS, Record, closed, draw_records, draw_value, draws
from pipelines.native import to_native, to_numpy
from pipelines.spec import FRAMEWORKS, PER_RECORD, Axis, Framework, Spec
from pipelines.step import Agreement, BatchStep, Example, Step


class Result(NamedTuple):
    """What a kernel gave: as the framework holds it, as NumPy holds it, and the rate where there is one."""

    native: Any
    value: Any
    rate_hz: int | None


Takes = Spec | tuple[Spec, ...]
"""What flows into a step; a tuple for one that `joins`, whose records are tuples of values."""


class Bound:
    """A step bound to a spec in one framework."""

    def __init__(self, step: Step, takes: Takes, framework: str) -> None:
        self.step, self.specs, self.framework = step, each(takes), framework
        self.out = step.out_spec(*self.specs)
        self.kernel: Callable[..., Any] = step.bind(framework, *self.specs)
        self.takes_rate = step.takes_rate and self.specs[0].rate_hz == PER_RECORD
        self.gives_rate = self.takes_rate or (step.gives_rate and self.out.rate_hz == PER_RECORD)

    def arguments(self, record: Record) -> list[Any]:
        """What the kernel is handed for one record."""
        rate = _scalar(record.rate_hz, self.framework)
        draw = [] if record.draw is None else [_draw(record.draw, self.framework)]
        return [*self._natives(record), *[rate] * self.takes_rate, *draw]

    def _natives(self, record: Record) -> list[Any]:
        values = record.value if self.step.joins else (record.value,)
        return [to_native(v, spec, self.framework) for v, spec in zip(values, self.specs, strict=True)]

    def batch(self, records: Sequence[Record]) -> list[Any]:
        """What the kernel is handed for `records` of one shape at once."""
        values = zip(*map(self._natives, records), strict=True)
        chance = [r.draw for r in records if r.draw is not None]
        draw = [_draw(np.stack(chance), self.framework)] if chance else []
        return [*(_stack(list(v), self.framework) for v in values), *draw]

    def result(self, given: Any) -> Result:
        """What the kernel gave, read as NumPy."""
        value, rate = given if self.gives_rate else (given, None)
        return Result(value, to_numpy(value, self.out), None if rate is None else int(rate))

    def run(self, record: Record) -> Result:
        """The kernel on one record."""
        return self.result(self.kernel(*self.arguments(record)))

    def attempt(self, record: Record) -> Result | Exception:
        """The kernel's result on one record, or the error it raised."""
        try:
            return self.run(record)
        except MemoryError:
            raise
        except Exception as error:  # whatever a framework raises is a failed record
            return error


class Case:
    """One example of one step."""

    def __init__(self, cls: type[Step], number: int) -> None:
        self.cls, self.number = cls, number
        self.example = cls.examples[number]
        self.spec = self.example.takes
        self.specs = each(self.spec)
        self._bound: dict[tuple[Takes, str], Bound] = {}

    def __str__(self) -> str:
        return f"{self.cls.step_name()}-{self.number}"

    @cached_property
    def step(self) -> Step:
        """The step itself."""
        files = written(self.example.files) if self.example.files else {}
        return self.cls.model_validate(dict(self.example.params) | files)

    @property
    def frameworks(self) -> tuple[Framework, ...]:
        """Where the step runs; known before its files are written, which loads what they are written with."""
        return self.cls.model_construct(**self.example.params).frameworks

    @property
    def agreement(self) -> Agreement:
        """What the step says of its two bindings."""
        return self.cls.agreement

    def rng(self, purpose: str) -> np.random.Generator:
        """A generator of this case's own, the same in every run."""
        return np.random.default_rng(zlib.crc32(f"{self} {purpose}".encode()))

    @cached_property
    def records(self) -> list[Record]:
        """The example's records, with rates and draws."""
        rng = self.rng("records")
        given = self.example.values
        values = list(given(rng)) if given else self._joined([draw_records(spec, rng) for spec in self.specs])
        chance = draws(len(values), self.step.variates(), rng)
        return [Record(v, RATES[i % len(RATES)], d) for i, (v, d) in enumerate(zip(values, chance, strict=True))]

    def _joined(self, drawn: list[list[Any]]) -> list[Any]:
        """Records of what was drawn for each spec; those of a step that joins pair values of differing sizes."""
        if not self.cls.joins:
            return drawn[0]
        return list(zip(*([*values[n:], *values[:n]] for n, values in enumerate(drawn)), strict=False))

    def bound(self, framework: str, spec: Takes | None = None) -> Bound:
        """The step bound to the example's spec or another; made once. A step of one framework always runs in that."""
        if framework not in self.step.frameworks:
            framework = self.step.frameworks[0]
        at = (spec or self.spec, framework)
        if at not in self._bound:
            self._bound[at] = Bound(self.step, *at)
        return self._bound[at]

    def both(self, spec: Takes | None = None) -> tuple[Bound, Bound]:
        """The binding in each framework."""
        torch, tensorflow = (self.bound(framework, spec) for framework in FRAMEWORKS)
        return torch, tensorflow

    def stackable(self) -> tuple[Takes, list[Record]] | None:
        """A spec of fixed sizes and three records of it, or None where the example has none (text, files)."""
        if not all(spec.is_numeric for spec in self.specs):
            return None
        rng = self.rng("batch")
        if self.example.values is None:
            specs = [closed(spec, (1 + n) % RECORDS) for n, spec in enumerate(self.specs)]
            values = [[draw_value(spec, rng) for _ in range(3)] for spec in specs]
        else:
            held = [record.value if self.cls.joins else (record.value,) for record in self.records]
            shapes = [np.shape(value) for value in held[0]]
            same = [row for row in held if [np.shape(value) for value in row] == shapes]
            values = [[same[i % len(same)][n] for i in range(3)] for n in range(len(shapes))]
            specs = [closed(_shaped(*pair)) for pair in zip(self.specs, shapes, strict=True)]
        chance = draws(3, self.step.variates(), rng)
        rows = list(zip(*values, strict=True)) if self.cls.joins else values[0]
        takes = tuple(specs) if self.cls.joins else specs[0]
        return takes, [Record(v, draw=d) for v, d in zip(rows, chance, strict=True)]


def _shaped(spec: Spec, shape: tuple[int, ...]) -> Spec:
    return spec.but(axes=tuple(Axis(a.name, n) for a, n in zip(spec.axes, shape, strict=True)))


@cache
def written(files: Callable[[Path], Mapping[str, Any]]) -> dict[str, Any]:
    """What an example needs written, such as weights: made once, in a folder that goes with the process."""
    folder = tempfile.TemporaryDirectory(prefix="pipelines-contract-")
    atexit.register(folder.cleanup)
    return dict(files(Path(folder.name)))


def numbers(cls: type[Step]) -> list[int]:
    """The examples of a step that can be tried here: those whose library this Python has."""
    return [n for n, example in enumerate(cls.examples) if example.needs is None or find_spec(example.needs)]


def each(takes: Takes) -> tuple[Spec, ...]:
    """The spec of each value that flows into a step."""
    return takes if isinstance(takes, tuple) else (takes,)


def specs_of(example: Example) -> tuple[Spec, ...]:
    """The specs of the values that flow into an example."""
    return each(example.takes)


def record_steps() -> list[type[Step]]:
    """Every step of the catalogue but those on finished batches, which test_batch_steps.py holds to their promises."""
    return [cls for cls in map(find_step, step_names()) if not issubclass(cls, BatchStep)]


def cases() -> Iterator[Case]:
    """Every example of every step on records in the catalogue."""
    for cls in record_steps():
        for number in numbers(cls):
            yield Case(cls, number)


def _scalar(rate_hz: int, framework: str) -> Any:
    if framework == "torch":
        return rate_hz
    import tensorflow as tf

    return tf.constant(rate_hz, tf.int64)


def _draw(draw: Any, framework: str) -> Any:
    if framework == "torch":
        import torch

        return torch.from_numpy(np.array(draw, dtype=np.float64))
    import tensorflow as tf

    return tf.constant(draw, tf.float64)


def _stack(values: list[Any], framework: str) -> Any:
    if framework == "torch":
        import torch

        return torch.stack(values)
    import tensorflow as tf

    return tf.stack(values)
