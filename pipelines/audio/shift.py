"""Earlier or later, by chance."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import model_validator

from pipelines.audio._chance import Amount, Probability, always_tensorflow, always_torch, drawn, is_chance, need_within
from pipelines.spec import Spec, waveform
from pipelines.step import Example, Identical, Kernel, Step


class Shift(Step):
    """A waveform moved in time by a fixed or a random way, without a change of its length.

    Takes  float32[..., time]   waveform; `seconds` needs one known rate_hz
    Gives  float32[..., time]   out[n] = in[n - k]; where there is no such sample 0, or with `wrap` in[n - k mod time]

    k = floor(seconds rate_hz + 1/2), or floor(share time + 1/2); a positive one is later. Each is a number, or
    [low, high] for one drawn evenly. `probability` is the share of records that are moved; when serving, only
    a fixed way with a probability of 1 does anything.
    Source: torch.gather and tf.gather; equals numpy.roll with `wrap`.
    """

    seconds: Amount | None = None
    share: Amount | None = None
    wrap: bool = False
    probability: Probability = 1.0

    serving = (1.0, 0.5)
    agreement = Identical("samples are moved, never computed")
    examples = (
        Example(waveform(16000), {"seconds": [-0.02, 0.02]}),
        Example(waveform(8000, channels=2, time=33), {"share": [-1, 1], "wrap": True, "probability": 0.7}),
        Example(waveform(None), {"share": 0.25}),
    )

    @model_validator(mode="after")
    def _one_way(self) -> Shift:
        if (self.seconds is None) == (self.share is None):
            raise ValueError(f"expected seconds or share, got {'neither' if self.seconds is None else 'both'}")
        if self.share is not None:
            need_within("share", self.share, -1, 1)
        if self.seconds is not None:
            need_within("seconds", self.seconds, -3600, 3600)
        return self

    @property
    def _way(self) -> Amount:
        way = self.seconds if self.seconds is not None else self.share
        assert way is not None
        return way

    def variates(self) -> int:
        return 2 if is_chance(self.probability, self._way) else 0

    def out_spec(self, x: Spec) -> Spec:
        x.need(("float32",), last=("time",))
        if self.seconds is not None:
            x.need_rate()
        return x

    def _samples(self, x: Spec, time: Any, variate: Any) -> Any:
        """How far to move, before rounding."""
        return drawn(self._way, variate) * (time if self.seconds is None else float(x.need_rate()))

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        ones = (1,) * (len(x.axes) - 1)

        def kernel(wave: torch.Tensor, draw: torch.Tensor) -> torch.Tensor:
            time = wave.shape[-1]
            far = torch.floor(self._samples(x, time, draw[..., 1]) + 0.5).long()
            far = torch.where(draw[..., 0] < self.probability, far, 0).reshape(*draw.shape[:-1], *ones, 1)
            places = torch.arange(time) - far
            inside = (places >= 0) & (places < time)
            places = torch.remainder(places, time) if time else places
            made = wave.gather(-1, places.to(wave.device).expand(wave.shape))
            return made if self.wrap else torch.where(inside.to(wave.device), made, 0.0)

        return kernel if self.variates() else always_torch(kernel)

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        def kernel(wave: Any, draw: Any) -> Any:
            time = tf.shape(wave)[-1]
            far = tf.floor(self._samples(x, tf.cast(time, tf.float64), draw[..., 1]) + 0.5)
            far = tf.cast(tf.where(draw[..., 0] < self.probability, far, tf.zeros_like(far)), tf.int32)
            shape = tf.concat([tf.shape(draw)[:-1], np.ones(len(x.axes), np.int32)], 0)
            places = tf.range(time) - tf.reshape(far, shape)
            inside = (places >= 0) & (places < time)
            places = tf.broadcast_to(tf.math.floormod(places, tf.maximum(time, 1)), tf.shape(wave))
            made = tf.gather(wave, places, axis=-1, batch_dims=len(wave.shape) - 1)
            made = tf.ensure_shape(made, wave.shape)
            return made if self.wrap else tf.where(inside, made, 0.0)

        return kernel if self.variates() else always_tensorflow(kernel)
