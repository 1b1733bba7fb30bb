"""Levels in decibels."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipelines.errors import RecordError, SpecError
from pipelines.guard import after
from pipelines.spec import Axis, Spec
from pipelines.step import Close, Example, Kernel, Step

_POWER = Spec("float32", (Axis("band", 7), Axis("frame")), "power")


def _energies(rng: np.random.Generator) -> list[npt.NDArray[np.float32]]:
    return [(10 ** rng.uniform(-12, 3, (7, int(frames)))).astype(np.float32) for frames in rng.integers(1, 40, 5)]


class Decibels(Step):
    """Powers or magnitudes as levels in decibels, relative to 1 or to the largest of the record.

    Takes  float32[...]   power or magnitude, at least 0
    Gives  float32[...]   dB; power: 10 log10 max(x, floor); magnitude: 20 log10 max(x, floor); with reference="max"
                          less the largest of these in the record (of each one in a batch), so that its peak is at 0

    `floor` is in the input's own unit, at least 1e-37: float32 flushes what is much smaller to 0. `top_db` then
    lifts everything to at most that much below the largest level of the record.
    Fails for a record without values.
    Source: torchaudio.functional.amplitude_to_DB, asked for no top_db, since it takes the largest level over the
    whole batch; tf.math.log, since tfio.audio.dbscale squares its input and does likewise;
    equals librosa.power_to_db(amin=floor) with ref=1 or np.max.
    """

    of: Literal["power", "magnitude"] = "power"
    reference: Literal["one", "max"] = "one"
    floor: Annotated[float, Field(ge=1e-37)] = 1e-10
    top_db: Annotated[float, Field(gt=0)] | None = None

    agreement = Close(absolute=3e-5, why="float32 logarithm: 1 ulp of 128 dB is 1.5e-5")
    examples = (
        Example(_POWER, {}, _energies),
        Example(_POWER, {"floor": 1e-6, "top_db": 80.0}, _energies),
        Example(_POWER, {"reference": "max", "top_db": 60}, _energies),
        Example(
            _POWER.but(axes=(Axis("channel", 2), Axis("bin", 5), Axis("frame", 9)), unit="magnitude"),
            {"of": "magnitude", "floor": 1e-5, "top_db": 30},
            lambda rng: [(10 ** rng.uniform(-7, 2, (2, 5, 9))).astype(np.float32) for _ in range(5)],
        ),
    )

    def out_spec(self, x: Spec) -> Spec:
        x.need(("float32",))
        if not x.axes or (x.unit and x.unit != self.of):
            raise SpecError(f"expected {self.of} (of={self.of!r}), got {x}")
        return x.but(unit="dB", range=None)

    @property
    def _factor(self) -> float:
        return 10.0 if self.of == "power" else 20.0

    def bind_torch(self, x: Spec) -> Kernel:
        import torch
        from torchaudio.functional import amplitude_to_DB

        axes = tuple(range(-len(x.axes), 0))

        def kernel(values: torch.Tensor) -> torch.Tensor:
            if not values.numel():
                raise RecordError("expected at least 1 value, got none")
            levels: torch.Tensor = amplitude_to_DB(values, self._factor, self.floor, 0.0)
            if self.top_db is not None:
                levels = torch.maximum(levels, levels.amax(axes, keepdim=True) - self.top_db)
            return levels - levels.amax(axes, keepdim=True) if self.reference == "max" else levels

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        axes = list(range(-len(x.axes), 0))

        def kernel(values: tf.Tensor) -> tf.Tensor:
            there = tf.debugging.assert_greater_equal(tf.size(values), 1, "expected at least 1 value, got none")
            levels = tf.math.log(tf.maximum(after([there], values), self.floor)) * (self._factor / math.log(10))
            if self.top_db is not None:
                levels = tf.maximum(levels, tf.reduce_max(levels, axes, keepdims=True) - self.top_db)
            return levels - tf.reduce_max(levels, axes, keepdims=True) if self.reference == "max" else levels

        return kernel
