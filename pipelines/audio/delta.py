"""Differences of features over time."""

from __future__ import annotations

from typing import Annotated, Any, cast

from pydantic import Field, field_validator

from pipelines.audio._checks import at_least_tensorflow, at_least_torch
from pipelines.spec import Axis, Spec
from pipelines.step import Close, Example, Kernel, Step

_FEATURES = Spec("float32", (Axis("band", 13), Axis("frame")), "dB")


class Delta(Step):
    """Slopes of features over time, beside the features or instead of them.

    Takes  float32[..., band, frame]   spectrogram, mel levels or coefficients of at least 1 frame
    Gives  float32[..., band, frame]   d[t] = sum_n n (in[t + n] - in[t - n]) / (2 sum_n n^2), n = 1 .. (width - 1) / 2,
           the first and last frame repeated at the ends; with `order` 2 the slopes of the slopes as well. With `keep`
           the bands of the features come first, then those of the slopes, then of their slopes

    Source: HTK book 5.9; torchaudio.functional.compute_deltas, in float64: the slopes of levels around -80 dB are small
    beside their rounding in float32. (librosa.feature.delta fits a parabola for order 2, and
    lines at the ends.)
    """

    width: Annotated[int, Field(ge=3)] = 5
    order: Annotated[int, Field(ge=1, le=2)] = 1
    keep: bool = True

    agreement = Close(1.2e-7, 1e-9, "float64 sums in another order; of features that do not change 1e-16 may be left")
    examples = (
        Example(_FEATURES),
        Example(_FEATURES, {"width": 9, "order": 2}),
        Example(Spec("float32", (Axis("channel", 2), Axis("band", 5), Axis("frame", 17))), {"keep": False}),
        Example(_FEATURES, {"width": 3, "order": 2, "keep": False}),
    )

    @field_validator("width")
    @classmethod
    def _odd(cls, width: int) -> int:
        if width % 2 == 0:
            raise ValueError(f"width={width} must be odd")
        return width

    def out_spec(self, x: Spec) -> Spec:
        x.need(("float32",), last=("frame",))
        x.need(last=(x.names[-2] if len(x.names) > 1 else "band", "frame"))
        bands, parts = x.shape[-2], self.order + self.keep if self.keep else 1
        axis = Axis(x.names[-2], None if bands is None else bands * parts)
        return x.but(axes=(*x.axes[:-2], axis, x.axes[-1]), range=None)

    def _joined(self, features: Any, slopes: list[Any], concat: Any) -> Any:
        return concat([features, *slopes], -2) if self.keep else slopes[-1]

    def bind_torch(self, x: Spec) -> Kernel:
        import torch
        from torchaudio.functional import compute_deltas

        def kernel(features: torch.Tensor) -> torch.Tensor:
            at_least_torch(features, 1, "frames")
            slopes = [compute_deltas(features.double(), self.width)]
            if self.order == 2:
                slopes.append(compute_deltas(slopes[0], self.width))
            return cast("torch.Tensor", self._joined(features, [slope.float() for slope in slopes], torch.cat))

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        half = self.width // 2
        total = half * (half + 1) * (2 * half + 1) / 3

        def slope(features: Any) -> Any:
            frames = tf.shape(features)[-1]
            places = tf.range(frames)
            ahead = [tf.gather(features, tf.minimum(places + n, frames - 1), axis=-1) for n in range(1, half + 1)]
            behind = [tf.gather(features, tf.maximum(places - n, 0), axis=-1) for n in range(1, half + 1)]
            parts = [n * (a - b) for n, a, b in zip(range(1, half + 1), ahead, behind, strict=True)]
            return tf.ensure_shape(tf.add_n(parts) / total, features.shape)

        def kernel(features: Any) -> Any:
            features = tf.ensure_shape(at_least_tensorflow(features, 1, "frames"), features.shape)
            slopes = [slope(tf.cast(features, tf.float64))]
            if self.order == 2:
                slopes.append(slope(slopes[0]))
            return self._joined(features, [tf.cast(values, tf.float32) for values in slopes], tf.concat)

        return kernel
