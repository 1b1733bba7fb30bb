"""Masks over time and frequency."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from pipelines.audio._chance import Probability
from pipelines.errors import SpecError
from pipelines.spec import Axis, Spec
from pipelines.step import Close, Example, Kernel, Step

MOST = 10
Count = Annotated[int, Field(ge=0, le=MOST)]
_LEVELS = Spec("float32", (Axis("band", 40), Axis("frame")), "dB")


class SpecAugment(Step):
    """Blanks out random bands and random stretches of time of a spectrogram.

    Takes  float32[..., band, frame]   levels
    Gives  the same; `value` in each mask (a number, or the mean of the record), in elsewhere

    Each of `frequency_masks` covers floor(u (F + 1)) bands, F = `frequency_width`, or all bands where there are fewer;
    it begins at floor(v (bands - width + 1)). Each of `time_masks` covers frames likewise, up to `time_width`, and to
    `time_share` of the frames. `probability` is the share of records that are masked; serving masks nothing.
    The defaults are the policy LD of the paper, for 80 bands. A `value` of 0 is the mean of normalized levels, but the
    loudest of levels in decibels of full scale; "mean" suits both.
    Source: Park et al., "SpecAugment" (2019), without time warping; torchaudio.functional.mask_along_axis and
    tfio.audio.freq_mask draw inside and by rules of their own, so the masks are comparisons of places in both.
    """

    frequency_masks: Count = 2
    frequency_width: Annotated[int, Field(ge=1)] = 27
    time_masks: Count = 2
    time_width: Annotated[int, Field(ge=1)] = 100
    time_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    value: float | Literal["mean"] = "mean"
    probability: Probability = 1.0

    serving = (1.0, *[0.0] * (4 * MOST))
    agreement = Close(of_peak=1.2e-7, why="levels are left or painted over; a mean is a float64 sum, rounded once")
    examples = (
        Example(_LEVELS, {"frequency_width": 5, "time_masks": 10, "time_width": 4}),
        Example(
            _LEVELS, {"frequency_masks": 10, "frequency_width": 60, "time_masks": 0, "value": -80, "probability": 0.5}
        ),
        Example(
            _LEVELS.but(axes=(Axis("channel", 2), Axis("band", 17), Axis("frame", 31))),
            {"time_masks": 3, "time_width": 9, "time_share": 0.2, "value": "mean"},
        ),
    )

    def variates(self) -> int:
        return len(self.serving)  # whether, and a width and a place for each mask there may be: one `serving` does

    def out_spec(self, x: Spec) -> Spec:
        x.need(("float32",), last=("frame",))
        if len(x.axes) < 2 or x.names[-2] not in ("band", "bin", "coefficient"):
            raise SpecError(f"expected float32[.., band, frame], got {x}")
        if x.range and self.value != "mean":
            low, high = x.range
            return x.but(range=(min(low, float(self.value)), max(high, float(self.value))))
        return x

    def masked(self, draw: Any, bands: Any, frames: Any, floor: Any, least: Any) -> list[tuple[Any, Any, Any]]:
        """(axis from the end, first place, width) of each mask, in numbers of the framework."""
        masks = []
        for number in range(self.frequency_masks + self.time_masks):
            u, v = draw[..., 2 * number + 1], draw[..., 2 * number + 2]
            of_bands = number < self.frequency_masks
            size = bands if of_bands else frames
            most = least(size * 1.0, 1.0 * (self.frequency_width if of_bands else self.time_width))
            if not of_bands:
                most = least(most, floor(size * self.time_share))
            width = floor(u * (most + 1))
            masks.append((-2 if of_bands else -1, floor(v * (size - width + 1)), width))
        return masks

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        record = tuple(range(-len(x.axes), 0))

        def least(a: torch.Tensor, b: Any) -> torch.Tensor:
            return torch.minimum(a, torch.as_tensor(b, dtype=torch.float64))

        def kernel(levels: torch.Tensor, draw: torch.Tensor) -> torch.Tensor:
            bands, frames = (torch.tensor(float(n), dtype=torch.float64) for n in levels.shape[-2:])
            blank, shape = torch.zeros((), dtype=torch.bool), [*draw.shape[:-1], *[1] * len(x.axes)]
            for axis, first, width in self.masked(draw, bands, frames, torch.floor, least):
                places = torch.arange(levels.shape[axis]).reshape([-1] + [1] * (-axis - 1))
                first, width = first.reshape(shape), width.reshape(shape)
                blank = blank | ((places >= first) & (places < first + width))
            value: Any = self.value
            if value == "mean":
                value = levels.double().mean(record, True).float()
            chosen = (draw[..., 0] < self.probability).reshape(shape)
            return torch.where((blank & chosen).to(levels.device), value, levels)

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        record = list(range(-len(x.axes), 0))
        ones = [1] * len(x.axes)

        def kernel(levels: Any, draw: Any) -> Any:
            bands, frames = (tf.cast(tf.shape(levels)[axis], tf.float64) for axis in (-2, -1))
            blank = tf.zeros(ones, tf.bool)
            shape = tf.concat([tf.shape(draw)[:-1], ones], 0)
            for axis, first, width in self.masked(draw, bands, frames, tf.floor, tf.minimum):
                places = tf.reshape(tf.range(tf.shape(levels)[axis]), [-1] + [1] * (-axis - 1))
                places = tf.cast(places, tf.float64)
                first, width = tf.reshape(first, shape), tf.reshape(width, shape)
                blank = blank | ((places >= first) & (places < first + width))
            value: Any = self.value
            if value == "mean":
                value = tf.cast(tf.reduce_mean(tf.cast(levels, tf.float64), record, True), tf.float32)
            chosen = tf.reshape(draw[..., 0] < self.probability, shape)
            return tf.ensure_shape(tf.where(blank & chosen, value, levels), levels.shape)

        return kernel
