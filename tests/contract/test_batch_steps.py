"""Every step on the finished batch keeps its promises, in both frameworks, on every one of its examples."""

from __future__ import annotations

import pickle
import zlib
from typing import Any

import numpy as np
import pytest

from pipelines.catalog import find_step, step_names
from pipelines.contract._checks import check_described
from pipelines.contract._harness import _draw as to_draw
from pipelines.contract._harness import specs_of
from pipelines.contract._values import draw_value
from pipelines.errors import SpecError
from pipelines.native import to_native, to_numpy
from pipelines.spec import FRAMEWORKS, TEXT, Axis, Spec, picture
from pipelines.step import BatchStep, Example, Identical, Kernel

STEPS = [cls for cls in map(find_step, step_names()) if issubclass(cls, BatchStep)]
CASES = [(cls, number) for cls in STEPS for number in range(len(cls.examples))]
every_case = pytest.mark.parametrize(("cls", "number"), CASES, ids=lambda v: getattr(v, "step_name", lambda: v)())
LAST = 1 - 2.0**-32
ONE, TWO = Spec("int64", (Axis("record"),)), Spec("int64", (Axis("record"), Axis("token")))


class Held:
    """One example of a batch step, with a batch of `rows` rows of each field."""

    def __init__(self, cls: type[BatchStep], number: int, rows: int = 5) -> None:
        example = cls.examples[number]
        self.step = cls.model_validate(dict(example.params))
        self.specs = specs_of(example)
        self.gives = self.step.out_specs(*self.specs)
        self.rng = np.random.default_rng(zlib.crc32(f"{cls.__name__} {number} {rows}".encode()))
        self.rows = rows
        self.values = [[draw_value(self._closed(spec), self.rng) for _ in range(rows)] for spec in self.specs]

    def _closed(self, spec: Spec) -> Spec:
        sizes = [Axis(a.name, int(self.rng.integers(0, 9)) if a.size is None else a.size) for a in spec.axes]
        return spec.but(axes=tuple(sizes))

    def draws(self) -> list[np.ndarray[Any, Any]]:
        count = self.step.variates()
        return [np.zeros(count), np.full(count, LAST), *self.rng.random((6, count))]

    def arguments(self, framework: str, draw: np.ndarray[Any, Any]) -> list[Any]:
        if self.step.packs:
            (values,), (spec,) = self.values, self.specs
            lengths = np.array([len(value) for value in values])
            padded = np.zeros((self.rows, int(lengths.max())), spec.dtype)
            for row, value in zip(padded, values, strict=True):
                row[: len(value)] = value
            return [to_native(padded, TWO, framework), to_native(lengths, ONE, framework)]
        rows = [[to_native(v, s, framework) for v in values] for values, s in zip(self.values, self.specs, strict=True)]
        return [*map(_stack, rows), *([to_draw(draw, framework)] if self.step.variates() else [])]

    def run(self, framework: str, draw: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
        made = self.step.bind(framework, *self.specs)(*self.arguments(framework, draw))
        specs = dict(zip(self.step.fields, self.gives, strict=True))
        return {name: to_numpy(value, specs.get(name, TWO)) for name, value in made.items()}


def _stack(values: list[Any]) -> Any:
    if type(values[0]).__module__.startswith("torch"):
        import torch

        return torch.stack(values)
    import tensorflow as tf

    return tf.stack(values)


def check_agrees(held: Held) -> None:
    for draw in held.draws():
        a, b = (held.run(framework, draw) for framework in FRAMEWORKS)
        assert a.keys() == b.keys() >= {*held.step.fields, *held.step.entries()}
        for name, spec in zip(held.step.fields, held.gives, strict=True):
            for value in (a[name], b[name]):
                shape = value.shape if held.step.packs else (held.rows, *spec.shape)
                if value.dtype.name != spec.dtype or value.shape != shape:
                    raise AssertionError(f"expected {spec}, got {value.dtype}{list(value.shape)}")
        for name in a:
            wrong = held.step.agreement.excess(a[name], b[name])
            if wrong:
                raise AssertionError(f"{name}, draw {draw}: {wrong}")


def check_pure(held: Held, framework: str) -> None:
    """The same draw gives the same, and arguments stay as they were."""
    draw = held.draws()[2]
    given = held.arguments(framework, draw)
    before = [np.array(value) for value in given]
    kernel = held.step.bind(framework, *held.specs)
    first, second = ([np.array(value) for value in kernel(*given).values()] for _ in range(2))
    for was, now in zip(before, given, strict=True):
        np.testing.assert_array_equal(was, np.array(now), err_msg="an argument was changed")
    for x, y in zip(first, second, strict=True):
        np.testing.assert_array_equal(x, y, err_msg="another result from the same draw")


@every_case
def test_described_and_a_value(cls: type[BatchStep], number: int) -> None:
    check_described(cls)
    step = Held(cls, number).step
    assert pickle.loads(pickle.dumps(step)) == step
    assert cls.model_validate(step.model_dump(mode="json")) == step


@every_case
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_frameworks_agree_and_specs_are_true(cls: type[BatchStep], number: int, rows: int) -> None:
    check_agrees(Held(cls, number, rows))


@every_case
def test_kernels_are_pure(cls: type[BatchStep], number: int, framework: str) -> None:
    check_pure(Held(cls, number), framework)


@every_case
def test_in_a_graph_with_an_open_batch(cls: type[BatchStep], number: int) -> None:
    import tensorflow as tf

    held = Held(cls, number)
    kernel = held.step.bind("tensorflow", *held.specs)
    signature = [tf.TensorSpec((None, *spec.shape), spec.dtype) for spec in held.specs]
    signature += [tf.TensorSpec((None,), tf.int64)] * held.step.packs
    signature += [tf.TensorSpec((held.step.variates(),), tf.float64)] * bool(held.step.variates())
    graph = tf.function(kernel, input_signature=signature)
    for draw in held.draws():
        eager = held.run("tensorflow", draw)
        for name, value in graph(*held.arguments("tensorflow", draw)).items():
            assert value.shape.rank is not None
            np.testing.assert_array_equal(value.numpy(), eager[name])


@every_case
def test_refuses_what_it_cannot_take(cls: type[BatchStep], number: int) -> None:
    step = Held(cls, number).step
    for spec in (TEXT, Spec("text", (Axis("token", 3),))):
        with pytest.raises(SpecError):
            step.out_specs(*[spec] * len(step.fields))


class MixesByRow(BatchStep):
    """Wrong on purpose: TensorFlow is off in one row, torch changes its argument."""

    agreement = Identical("nothing is done")
    examples = (Example(picture(5, 4, dtype="float32"), {"fields": ["a"]}),)

    def out_specs(self, *specs: Spec) -> tuple[Spec, ...]:
        return specs

    def bind_torch(self, *specs: Spec) -> Kernel:
        return lambda value: {"a": value.mul_(0.5)}

    def bind_tensorflow(self, *specs: Spec) -> Kernel:
        import tensorflow as tf

        def kernel(value: tf.Tensor) -> dict[str, tf.Tensor]:
            rows = tf.cast(tf.shape(value)[0], tf.float32)
            return {"a": value * tf.reshape(tf.range(1.0, 1.0 + rows), [-1, 1, 1, 1])}

        return kernel


def test_a_wrong_step_is_caught() -> None:
    with pytest.raises(AssertionError, match="of the values differ"):
        check_agrees(Held(MixesByRow, 0))
    with pytest.raises(AssertionError, match="argument was changed"):
        check_pure(Held(MixesByRow, 0), "torch")
