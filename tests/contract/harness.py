"""A step's example as a case of the contract, and its binding in one framework, fed from NumPy and read as NumPy."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from contract.values import RATES, Record, closed, draw_records, draw_value, draws

from pipelines.catalog import find_step, step_names
from pipelines.native import to_native, to_numpy
from pipelines.spec import FRAMEWORKS, PER_RECORD, Axis, Spec
from pipelines.step import Agreement, BatchStep, Example, Step


class Result(NamedTuple):
    """What a kernel gave: as the framework holds it, as NumPy holds it, and the rate where there is one."""

    native: Any
    value: Any
    rate_hz: int | None


class Bound:
    """A step bound to a spec in one framework."""

    def __init__(self, step: Step, spec: Spec, framework: str) -> None:
        self.step, self.spec, self.framework = step, spec, framework
        self.out = step.out_spec(spec)
        self.kernel: Callable[..., Any] = step.bind(framework, spec)
        self.takes_rate = step.takes_rate and spec.rate_hz == PER_RECORD
        self.gives_rate = self.takes_rate or (step.gives_rate and self.out.rate_hz == PER_RECORD)

    def arguments(self, record: Record) -> list[Any]:
        """What the kernel is handed for one record."""
        rate = _scalar(record.rate_hz, self.framework)
        draw = [] if record.draw is None else [_draw(record.draw, self.framework)]
        return [to_native(record.value, self.spec, self.framework), *[rate] * self.takes_rate, *draw]

    def batch(self, records: Sequence[Record]) -> list[Any]:
        """What the kernel is handed for `records` of one shape at once."""
        values = [to_native(r.value, self.spec, self.framework) for r in records]
        chance = [r.draw for r in records if r.draw is not None]
        draw = [_draw(np.stack(chance), self.framework)] if chance else []
        return [_stack(values, self.framework), *draw]

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
        self._bound: dict[tuple[Spec, str], Bound] = {}

    def __str__(self) -> str:
        return f"{self.cls.step_name()}-{self.number}"

    @cached_property
    def step(self) -> Step:
        """The step itself."""
        return self.cls.model_validate(dict(self.example.params))

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
        values = list(given(rng)) if given else draw_records(self.spec, rng)
        chance = draws(len(values), self.step.variates(), rng)
        return [Record(v, RATES[i % len(RATES)], d) for i, (v, d) in enumerate(zip(values, chance, strict=True))]

    def bound(self, framework: str, spec: Spec | None = None) -> Bound:
        """The step bound to the example's spec or another; made once."""
        at = (spec or self.spec, framework)
        if at not in self._bound:
            self._bound[at] = Bound(self.step, *at)
        return self._bound[at]

    def both(self, spec: Spec | None = None) -> tuple[Bound, Bound]:
        """The binding in each framework."""
        torch, tensorflow = (self.bound(framework, spec) for framework in FRAMEWORKS)
        return torch, tensorflow

    def stackable(self) -> tuple[Spec, list[Record]] | None:
        """A spec of fixed sizes and three records of it, or None where the example has none (text, files)."""
        if not self.spec.is_numeric:
            return None
        rng = self.rng("batch")
        if self.example.values is None:
            spec = closed(self.spec, 1)
            values = [draw_value(spec, rng) for _ in range(3)]
        else:
            shape = np.shape(self.records[0].value)
            same = [r.value for r in self.records if np.shape(r.value) == shape]
            values = [same[i % len(same)] for i in range(3)]
            axes = tuple(Axis(a.name, n) for a, n in zip(self.spec.axes, shape, strict=True))
            spec = closed(self.spec.but(axes=axes))
        return spec, [Record(v, draw=d) for v, d in zip(values, draws(3, self.step.variates(), rng), strict=True)]


def specs_of(example: Example) -> tuple[Spec, ...]:
    """The specs of the values that flow into an example."""
    return example.takes if isinstance(example.takes, tuple) else (example.takes,)


def record_steps() -> list[type[Step]]:
    """Every step of the catalogue but those on finished batches, which test_batch_steps.py holds to their promises."""
    return [cls for cls in map(find_step, step_names()) if not issubclass(cls, BatchStep)]


def cases() -> Iterator[Case]:
    """Every example of every step on records in the catalogue."""
    for cls in record_steps():
        for number in range(len(cls.examples)):
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
