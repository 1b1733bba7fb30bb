"""The channels of a sound."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from pipelines.errors import RecordError, SpecError
from pipelines.guard import after
from pipelines.spec import Axis, Spec, waveform
from pipelines.step import Example, Identical, Kernel, Step


class Channels(Step):
    """A sound with another number of channels: their mean, one of them, or a mono sound repeated.

    Takes  float32[channel, time], or float32[time]   waveform
    Gives  float32[time] for count=1 or `pick`: out[n] = mean_c in[c, n], or in[pick, n];
           float32[channel count, time] for a larger `count`: a mono sound `count` times, or as it is

    A sound of another number of channels than 1 and `count` fails, as does one that lacks the channel `pick` (from 0).
    The mean is computed in float64.
    Source: torch.mean, tf.reduce_mean; equals librosa.to_mono.
    """

    count: Annotated[int, Field(ge=1)] | None = None
    pick: Annotated[int, Field(ge=0)] | None = None

    agreement = Identical("a float64 mean of a few float32 values, rounded once")
    examples = (
        Example(waveform(16000, channels=2), {"count": 1}),
        Example(waveform(8000, channels=5, time=33), {"pick": 4}),
        Example(waveform(8000), {"count": 3}),
        Example(waveform(None).but(axes=(Axis("channel"), Axis("time"))), {"count": 1}),
        Example(waveform(None, channels=2), {"count": 2}),
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Channels:
        if (self.count is None) == (self.pick is None):
            raise ValueError(f"expected count or pick, got {'neither' if self.count is None else 'both'}")
        return self

    @property
    def _wanted(self) -> str:
        several = (self.count or 1) > 1
        return f"expected 1 or {self.count} channels" if several else f"expected more than {self.pick or 0} channels"

    def _fits(self, channels: Any) -> Any:
        if (self.count or 1) > 1:
            return (channels == 1) | (channels == self.count)
        return channels > (self.pick or 0)

    def out_spec(self, x: Spec) -> Spec:
        x.need(("float32",), last=("time",))
        if x.names not in (("time",), ("channel", "time")):
            raise SpecError(f"expected float32[time] or float32[channel, time], got {x}")
        channels = x.size("channel") if "channel" in x.names else 1
        if channels is not None and not self._fits(channels):
            raise SpecError(f"{self._wanted}, got {channels}")
        out = x.axes[-1:] if (self.count or 1) == 1 else (Axis("channel", self.count), x.axes[-1])
        return x.but(axes=out)

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        def kernel(wave: torch.Tensor) -> torch.Tensor:
            wave = wave if "channel" in x.names else wave[..., None, :]
            if not self._fits(wave.shape[-2]):
                raise RecordError(f"{self._wanted}, got {wave.shape[-2]}")
            if self.pick is not None:
                return wave[..., self.pick, :].clone()
            if self.count == 1:
                return wave.mean(-2, dtype=torch.float64).float()
            return wave.expand(*wave.shape[:-2], self.count or 1, wave.shape[-1]).clone()

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        def kernel(wave: Any) -> Any:
            wave = wave if "channel" in x.names else wave[..., None, :]
            found = tf.shape(wave)[-2]
            wave = after([tf.debugging.Assert(self._fits(found), [f"{self._wanted}, got", found])], wave)
            if self.pick is not None:
                return wave[..., self.pick, :]
            if self.count == 1:
                return tf.cast(tf.reduce_mean(tf.cast(wave, tf.float64), -2), tf.float32)
            shape = tf.shape(wave)
            made = tf.broadcast_to(wave, tf.concat([shape[:-2], [self.count or 1], shape[-1:]], 0))
            made.set_shape([*wave.shape[:-2], self.count, wave.shape[-1]])
            return made

        return kernel
