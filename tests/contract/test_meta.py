"""The contract can fail: each check is fed steps that are wrong on purpose, and one that is right."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

from pipelines.contract import _checks as checks
from pipelines.contract._harness import Case
from pipelines.errors import SpecError
from pipelines.spec import FRAMEWORKS, PER_RECORD, TEXT, Axis, Spec, picture, waveform
from pipelines.step import Close, Example, HostStep, Identical, Kernel, Step


class Halve(Step):
    """A right step: halves a float32 picture."""

    agreement = Close(absolute=1e-6, why="halving is exact; room for the fakes to be wrong by more")
    examples: ClassVar[tuple[Example, ...]] = (
        Example(picture(dtype="float32")),
        Example(picture(17, 11, dtype="float32")),
    )

    def out_spec(self, x: Spec) -> Spec:
        x.need(("float32",), last=("height", "width", "channel"))
        return x.but(range=(0.0, 0.5))

    def bind_torch(self, x: Spec) -> Kernel:
        return lambda value: value * 0.5

    def bind_tensorflow(self, x: Spec) -> Kernel:
        return lambda value: value * 0.5


class Dim(Halve):
    """A right random step: halves by chance."""

    serving: ClassVar[tuple[float, ...]] = (0.0,)

    def variates(self) -> int:
        return 1

    def out_spec(self, x: Spec) -> Spec:
        x.need(("float32",), last=("height", "width", "channel"))
        return x

    def bind_torch(self, x: Spec) -> Kernel:
        return lambda value, draw: value * (draw[..., 0, None, None, None] < 0.5).float()

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        return lambda value, draw: value * tf.cast(draw[..., 0, None, None, None] < 0.5, tf.float32)


class NoExamples(Halve):
    examples: ClassVar[tuple[Example, ...]] = ()


class NoReason(Halve):
    agreement = Close(absolute=1e-6)


class UntriedChoice(Halve):
    mode: Literal["half", "third"] | None = "half"


class OneBinding(Step):
    """Runs in torch only."""

    def out_spec(self, x: Spec) -> Spec:
        return x

    def bind_torch(self, x: Spec) -> Kernel:
        return lambda value: value


class OtherSignature(Halve):
    def bind_tensorflow(self, x: Spec, fast: bool = True) -> Kernel:
        return lambda value: value * 0.5


class TakesAnything(Halve):
    def out_spec(self, x: Spec) -> Spec:
        return x


class CrashesAtTheSeam(Halve):
    def out_spec(self, x: Spec) -> Spec:
        x.size("height")  # KeyError where there is none
        return super().out_spec(x)


class TensorflowOff(Halve):
    def bind_tensorflow(self, x: Spec) -> Kernel:
        return lambda value: value * 0.5 + 1e-3


class TensorflowOffOnce(Halve):
    """One wrong value at the far end of the picture."""

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        def kernel(value: tf.Tensor) -> tf.Tensor:
            wrong = tf.scatter_nd([tf.shape(value)[-3:] - 1], tf.constant([1e-3]), tf.shape(value)[-3:])
            return value * 0.5 + wrong

        return kernel


class LyingType(Halve):
    def out_spec(self, x: Spec) -> Spec:
        return super().out_spec(x).but(dtype="float64")


class LyingSize(Halve):
    examples: ClassVar[tuple[Example, ...]] = (Example(picture(17, 11, dtype="float32")),)

    def out_spec(self, x: Spec) -> Spec:
        return super().out_spec(x).but(axes=(Axis("height", 18), *x.axes[1:]))


class LyingAxes(Halve):
    def out_spec(self, x: Spec) -> Spec:
        return super().out_spec(x).but(axes=x.axes[:2])


class LyingRange(Halve):
    def out_spec(self, x: Spec) -> Spec:
        return super().out_spec(x).but(range=(0.0, 0.4))


class GivesNan(Halve):
    def bind_torch(self, x: Spec) -> Kernel:
        return lambda value: value / value.amax() * 0.5 + (value - value).log()

    def bind_tensorflow(self, x: Spec) -> Kernel:
        return lambda value: value * np.nan


class LyingRate(Step):
    """Says 8000 Hz and gives the records' own rates."""

    takes_rate = True
    agreement = Identical("nothing is done")
    examples: ClassVar[tuple[Example, ...]] = (Example(waveform(PER_RECORD)),)

    def out_spec(self, x: Spec) -> Spec:
        x.need(("float32",), last=("time",))
        return x.but(rate_hz=8000)

    def bind_torch(self, x: Spec) -> Kernel:
        return lambda value, rate_hz: (value, rate_hz)

    def bind_tensorflow(self, x: Spec) -> Kernel:
        return lambda value, rate_hz: (value, rate_hz)


class LyingText(HostStep):
    """Says text and gives a number's bytes."""

    agreement = Identical("one host binding")
    examples: ClassVar[tuple[Example, ...]] = (Example(TEXT),)

    def out_spec(self, x: Spec) -> Spec:
        x.need(("text",), exactly=())
        return Spec("text", (Axis("token"),))

    def bind_torch(self, x: Spec) -> Kernel:
        return lambda value: value

    def bind_numpy(self, x: Spec) -> Kernel:
        return lambda value: value


class MixesRows(Halve):
    def out_spec(self, x: Spec) -> Spec:
        return super().out_spec(x).but(range=None)

    def bind_torch(self, x: Spec) -> Kernel:
        return lambda value: value - value.mean()

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        return lambda value: value - tf.reduce_mean(value)


class SharesDraw(Dim):
    """Gives every row of a batch the first row's draw."""

    def bind_torch(self, x: Spec) -> Kernel:
        return lambda value, draw: value * (draw.reshape(-1)[0] < 0.5).float()

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        return lambda value, draw: value * tf.cast(tf.reshape(draw, [-1])[0] < 0.5, tf.float32)


class TensorflowRefusesEmpty(Halve):
    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        def kernel(value: tf.Tensor) -> tf.Tensor:
            with tf.control_dependencies([tf.debugging.assert_positive(tf.size(value))]):
                return value * 0.5

        return kernel


class TorchRefusesOne(Halve):
    def bind_torch(self, x: Spec) -> Kernel:
        def kernel(value: Any) -> Any:
            if 1 in value.shape[-2:]:
                raise ValueError("too small")
            return value * 0.5

        return kernel


class DiffersWhenShort(Halve):
    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        return lambda value: value * (0.5 - 0.01 * tf.cast(tf.shape(value)[-2] == 1, tf.float32))


class CrashesOnEmpty(Halve):
    def bind_torch(self, x: Spec) -> Kernel:
        return lambda value: value * (0.5 if value.numel() else "0.5")

    def bind_tensorflow(self, x: Spec) -> Kernel:
        return self.bind_torch(x)


class ChangesTorchInput(Halve):
    def bind_torch(self, x: Spec) -> Kernel:
        return lambda value: value.mul_(0.5)


class ChangesHostInput(HostStep):
    """Halves in place in NumPy."""

    agreement = Identical("one host binding")
    examples: ClassVar[tuple[Example, ...]] = (Example(waveform(8000)),)

    def out_spec(self, x: Spec) -> Spec:
        x.need(("float32",), last=("time",))
        return x

    def bind_numpy(self, x: Spec) -> Kernel:
        def kernel(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            value *= 0.5
            return value

        return kernel


class ChangesTokens(HostStep):
    """Drops the last word of the caller's list."""

    agreement = Identical("one host binding")
    examples: ClassVar[tuple[Example, ...]] = (Example(Spec("text", (Axis("token"),))),)

    def out_spec(self, x: Spec) -> Spec:
        x.need(("text",), exactly=("token",))
        return x

    def bind_torch(self, x: Spec) -> Kernel:
        return lambda words: words.pop() and words

    def bind_numpy(self, x: Spec) -> Kernel:
        return lambda words: words[:-1]


class HoldsAList(Halve):
    sizes: list[int] = [1, 2]  # noqa: RUF012  # unhashable, which is what is wrong with it


class LosesInYaml(Halve):
    examples: ClassVar[tuple[Example, ...]] = (Example(picture(dtype="float32"), {"share": 0.5}),)
    share: float = 1.0

    def model_dump(self, **kwargs: Any) -> dict[str, Any]:
        return {}


class SharesABuffer(Halve):
    """Keeps its result in a place that the next call overwrites."""

    def bind_torch(self, x: Spec) -> Kernel:
        held: dict[str, Any] = {}

        def kernel(value: Any) -> Any:
            held["value"] = value
            time.sleep(0.002)
            return held["value"] * 0.5

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        return self.bind_torch(x)


class NoServing(Dim):
    serving: ClassVar[tuple[float, ...]] = ()


class HasItsOwnDice(Dim):
    def bind_torch(self, x: Spec) -> Kernel:
        calls = itertools.count()
        return lambda value, draw: value * (next(calls) % 2)

    def bind_tensorflow(self, x: Spec) -> Kernel:
        return self.bind_torch(x)


class FailsAtTheEnd(Dim):
    """Rounds the draw to an index and falls off the table at the largest variate."""

    def bind_torch(self, x: Spec) -> Kernel:
        return lambda value, draw: value * [0.0, 1.0][round(float(draw[0]) * 2)]

    def bind_tensorflow(self, x: Spec) -> Kernel:
        return self.bind_torch(x)


class DrawsTheSize(Dim):
    """Drops the last row of the picture for a large draw, and does not say that sizes are drawn."""

    def out_spec(self, x: Spec) -> Spec:
        return super().out_spec(x).but(axes=(Axis("height"), *x.axes[1:]))

    def bind_torch(self, x: Spec) -> Kernel:
        return lambda value, draw: value[..., : value.shape[-2] - int(float(draw[0]) > 0.9), :]

    def bind_tensorflow(self, x: Spec) -> Kernel:
        return lambda value, draw: value[: value.shape[0] - int(float(draw[0]) > 0.9)]


class IgnoresTheDraw(Dim):
    def bind_torch(self, x: Spec) -> Kernel:
        return lambda value, draw: value

    def bind_tensorflow(self, x: Spec) -> Kernel:
        return self.bind_torch(x)


class EagerOnly(Halve):
    def bind_tensorflow(self, x: Spec) -> Kernel:
        return lambda value: value * float(value.shape[-3] > 0) * 0.5


class LosesSizesInGraph(Halve):
    examples: ClassVar[tuple[Example, ...]] = (Example(picture(17, 11, dtype="float32")),)

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        return lambda value: tf.reshape(value * 0.5, tf.shape(value) + tf.cast(value[0, 0, 0] > 2, tf.int32))


class FreezesChanceInGraph(Dim):
    """Draws once, while the graph is traced."""

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        def kernel(value: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
            return value * (np.round(draw[0].numpy()) if tf.executing_eagerly() else 0.25)

        return kernel


class Chain(Step):
    """A right step on two values: one sound after the other."""

    joins = True
    agreement = Identical("samples are moved")
    examples: ClassVar[tuple[Example, ...]] = (
        Example((waveform(8000), waveform(8000))),
        Example((waveform(8000, time=5), waveform(8000))),
    )

    def out_spec(self, *x: Spec) -> Spec:
        if len(x) != 2:
            raise SpecError(f"expected two values, got {len(x)}")
        for spec in x:
            spec.need(("float32",), exactly=("time",))
        return waveform(8000)

    def bind_torch(self, *x: Spec) -> Kernel:
        import torch

        return lambda a, b: torch.cat([a, b], -1)

    def bind_tensorflow(self, *x: Spec) -> Kernel:
        import tensorflow as tf

        return lambda a, b: tf.concat([a, b], -1)


class ChainsTheOtherWay(Chain):
    def bind_tensorflow(self, *x: Spec) -> Kernel:
        import tensorflow as tf

        return lambda a, b: tf.concat([b, a], -1)


class ChainsInGraphOnly(Chain):
    def bind_tensorflow(self, *x: Spec) -> Kernel:
        import tensorflow as tf

        return lambda a, b: tf.concat([a, a if tf.executing_eagerly() else b], -1)


class ChainsTwoAlone(Chain):
    """Has no sentence for another number of values."""

    def out_spec(self, a: Spec, b: Spec) -> Spec:  # type: ignore[override]  # which is what is wrong with it
        return super().out_spec(a, b)


class ChainsFromTheFirstRow(Chain):
    def bind_torch(self, *x: Spec) -> Kernel:
        import torch

        return lambda a, b: torch.cat([a, b.reshape(-1, b.shape[-1])[0].expand(*a.shape[:-1], -1)], -1)


class ChangesTheSecond(Chain):
    def bind_torch(self, *x: Spec) -> Kernel:
        import torch

        return lambda a, b: torch.cat([a, b.mul_(0.5)], -1)


class TensorflowRefusesAnEmptySecond(Chain):
    def bind_tensorflow(self, *x: Spec) -> Kernel:
        import tensorflow as tf

        return lambda a, b: tf.concat([a, b + 0 * b[0]], -1)


class ChainsLyingSize(Chain):
    def out_spec(self, *x: Spec) -> Spec:
        return super().out_spec(*x).but(axes=x[0].axes)


Check = Callable[[Case], None]


def _each(check: Callable[[Case, str], None]) -> Check:
    """A check of one framework, run in both."""

    def run(case: Case) -> None:
        for framework in FRAMEWORKS:
            check(case, framework)

    return run


def _of_class(check: Callable[[type[Step]], None]) -> Check:
    return lambda case: check(case.cls)


truth, batch, unmutated, threads = map(
    _each, (checks.check_truth, checks.check_batch, checks.check_unmutated, checks.check_threads)
)
described, exist, matters = map(
    _of_class, (checks.check_described, checks.check_bindings_exist, checks.check_chance_matters)
)
ALL: tuple[Check, ...] = (
    *(described, exist, matters, truth, batch, unmutated, threads),
    *(checks.check_value, checks.check_refuses, checks.check_agreement, checks.check_edges),
    *(checks.check_chance, checks.check_graph),
)


@pytest.mark.parametrize("cls", [Halve, Dim, Chain])
def test_right_steps_pass_every_check(cls: type[Step]) -> None:
    for number in range(len(cls.examples)):
        for check in ALL:
            check(Case(cls, number))


@pytest.mark.parametrize(
    ("cls", "check", "says"),
    [
        (NoReason, described, "no reason"),
        (UntriedChoice, described, "no example has mode of 'third'"),
        (OtherSignature, exist, "fast"),
        (TakesAnything, checks.check_refuses, "takes anything"),
        (CrashesAtTheSeam, checks.check_refuses, "KeyError"),
        (TensorflowOff, checks.check_agreement, "differs by 0.001"),
        (TensorflowOffOnce, checks.check_agreement, "differs by 0.001"),
        (LyingType, truth, "float64"),
        (LyingSize, truth, "height 18"),
        (LyingAxes, truth, r"expected float32\[height, width\]"),
        (LyingRange, truth, r"values in \[0.0, 0.4\]"),
        (GivesNan, truth, "not finite"),
        (LyingRate, truth, "expected 8000 Hz, got 11025"),
        (LyingText, truth, r"expected text\[token\]"),
        (MixesRows, batch, "row 0 against the record alone"),
        (SharesDraw, batch, "row . against the record alone"),
        (TensorflowRefusesEmpty, checks.check_edges, "height of size 0: torch gives .* tensorflow InvalidArgument"),
        (TorchRefusesOne, checks.check_edges, "height of size 1: torch ValueError"),
        (DiffersWhenShort, checks.check_edges, "width of size 1, torch against tensorflow"),
        (CrashesOnEmpty, checks.check_edges, "torch raised TypeError"),
        (ChangesTorchInput, unmutated, "changed its argument"),
        (ChangesHostInput, lambda case: checks.check_unmutated(case, "torch"), "changed its argument"),
        (ChangesTokens, unmutated, "changed its argument"),
        (LosesInYaml, checks.check_value, "through YAML"),
        (SharesABuffer, threads, "two threads against one"),
        (NoServing, checks.check_chance, "serving"),
        (HasItsOwnDice, checks.check_chance, "twice"),
        (DrawsTheSize, checks.check_chance, "draws_sizes does not say so"),
        (IgnoresTheDraw, matters, "eight equal results"),
        (LosesSizesInGraph, checks.check_graph, "in a graph: expected"),
        (FreezesChanceInGraph, checks.check_graph, "graph against eager"),
        (ChainsTheOtherWay, checks.check_agreement, "of the values differ"),
        (ChainsInGraphOnly, checks.check_graph, "graph against eager"),
        (ChainsTwoAlone, checks.check_refuses, "TypeError"),
        (ChainsFromTheFirstRow, batch, "row 1 against the record alone"),
        (ChangesTheSecond, unmutated, "changed its argument"),
        (TensorflowRefusesAnEmptySecond, checks.check_edges, "value 1: time of size 0: torch gives .* tensorflow"),
    ],
)
def test_a_wrong_step_is_caught(cls: type[Step], check: Check, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        check(Case(cls, 0))


@pytest.mark.parametrize(
    ("cls", "check", "error"),
    [
        (HoldsAList, checks.check_value, TypeError),
        (FailsAtTheEnd, checks.check_chance, IndexError),
        (EagerOnly, checks.check_graph, TypeError),
    ],
)
def test_a_step_that_raises_is_caught(cls: type[Step], check: Check, error: type[Exception]) -> None:
    with pytest.raises(error):
        check(Case(cls, 0))


def test_a_joining_step_that_lies_about_a_size_is_caught() -> None:
    with pytest.raises(AssertionError, match="expected float32"):
        checks.check_truth(Case(ChainsLyingSize, 1), "torch")


def test_a_step_without_examples_or_bindings_is_caught() -> None:
    with pytest.raises(AssertionError, match="no examples"):
        checks.check_described(NoExamples)
    with pytest.raises(AssertionError, match="bind_tensorflow is missing"):
        checks.check_bindings_exist(OneBinding)
