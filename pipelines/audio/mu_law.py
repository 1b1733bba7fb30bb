"""Mu-law companding."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipelines.errors import SpecError
from pipelines.native import torch_constant
from pipelines.spec import Axis, Spec, waveform
from pipelines.step import Example, Identical, Kernel, Step


class MuLaw(Step):
    """Samples as classes of a logarithmic scale, and back.

    Takes  float32[..., time] in [-1, 1] (what is beyond is cut), or int64[..., time] classes for direction="decode"
    Gives  int64[..., time] in [0, classes - 1]: floor((f(x) + 1) / 2 m + 1/2), m = classes - 1 and
           f(x) = sign(x) ln(1 + m |x|) / ln(1 + m); or float32[..., time]: f's inverse of 2 y / m - 1

    Source: the curve that ITU-T G.711 follows by straight pieces; torchaudio.functional.mu_law_encoding and
    mu_law_decoding in float64, since in float32 they put up to one sample in a thousand into the class beside; decoding
    is a table of `classes` values.
    """

    direction: Literal["encode", "decode"] = "encode"
    classes: Annotated[int, Field(ge=2, le=65536)] = 256

    agreement = Identical("float64, rounded to whole classes; decoding looks a table up")
    examples = (
        Example(waveform(16000)),
        Example(waveform(8000, channels=2, time=33), {"classes": 16}),
        Example(Spec("int64", (Axis("time"),), "class", (0, 255), 8000), {"direction": "decode"}),
    )

    def out_spec(self, x: Spec) -> Spec:
        if self.direction == "encode":
            x.need(("float32",), last=("time",))
            return x.but(dtype="int64", unit="class", range=(0, self.classes - 1))
        x.need(("int64",), last=("time",))
        if x.range is None or x.range[0] < 0 or x.range[1] >= self.classes:
            raise SpecError(f"expected classes in [0, {self.classes - 1}], got {x}")
        return x.but(dtype="float32", unit="amplitude", range=(-1.0, 1.0))

    def table(self) -> npt.NDArray[np.float32]:
        """float32[classes]: the sample that each class stands for."""
        steps = self.classes - 1
        x = 2 * np.arange(self.classes) / steps - 1
        return np.asarray(np.sign(x) * np.expm1(np.abs(x) * np.log1p(steps)) / steps, np.float32)

    def bind_torch(self, x: Spec) -> Kernel:
        from torchaudio.functional import mu_law_encoding

        if self.direction == "decode":
            table = torch_constant(self.table())
            return lambda classes: table(classes)[classes]
        return lambda wave: mu_law_encoding(wave.double().clamp(-1, 1), self.classes)

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        if self.direction == "decode":
            table = self.table()
            return lambda classes: tf.gather(table, classes)
        steps = self.classes - 1

        def encode(wave: Any) -> Any:
            wide = tf.clip_by_value(tf.cast(wave, tf.float64), -1, 1)
            scaled = tf.sign(wide) * tf.math.log1p(steps * tf.abs(wide)) / np.log1p(steps)
            return tf.cast(tf.floor((scaled + 1) / 2 * steps + 0.5), tf.int64)

        return encode
