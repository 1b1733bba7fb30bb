"""Louder or softer, by chance."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import model_validator

from pipelines.audio._chance import Amount, Probability, always_tensorflow, always_torch, drawn, is_chance, need_within
from pipelines.spec import Spec, waveform
from pipelines.step import Close, Example, Kernel, Step


class Gain(Step):
    """A waveform made louder or softer by a fixed or a random gain.

    Takes  float32[..., time]   waveform
    Gives  float32[..., time]   in x 10^(db / 20); with `clip` cut to [-1, 1]

    `db` is a number, or [low, high] for one drawn evenly. `probability` is the share of records that are changed;
    when serving, only a fixed gain with a probability of 1 does anything.
    Source: torchaudio.functional.gain, with a factor for each record of a batch.
    """

    db: Amount = (-6.0, 6.0)
    probability: Probability = 1.0
    clip: bool = False

    serving = (1.0, 0.5)
    agreement = Close(of_peak=1.2e-7, why="the factor is float64, whose last bit may differ, rounded to float32")
    examples = (
        Example(waveform(16000)),
        Example(waveform(8000, channels=2, time=33), {"db": 3, "probability": 0.5}),
        Example(waveform(None), {"db": [0, 20], "clip": True}),
        Example(waveform(8000, channels=2), {"db": -3}),
    )

    @model_validator(mode="after")
    def _sound(self) -> Gain:
        need_within("db", self.db, -120, 120)
        return self

    def variates(self) -> int:
        return 2 if is_chance(self.probability, self.db) else 0

    def out_spec(self, x: Spec) -> Spec:
        x.need(("float32",), last=("time",))
        return x.but(range=(-1.0, 1.0) if self.clip else None)

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        ones = (1,) * len(x.axes)

        def kernel(wave: torch.Tensor, draw: torch.Tensor) -> torch.Tensor:
            factor = torch.pow(10.0, drawn(self.db, draw[..., 1]) / 20)
            factor = torch.where(draw[..., 0] < self.probability, factor, 1.0)
            made = wave * factor.float().reshape(*draw.shape[:-1], *ones).to(wave.device)
            return made.clamp(-1, 1) if self.clip else made

        return kernel if self.variates() else always_torch(kernel)

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        ones = np.ones(len(x.axes), np.int32)

        def kernel(wave: Any, draw: Any) -> Any:
            factor = tf.pow(tf.constant(10.0, tf.float64), drawn(self.db, draw[..., 1]) / 20)
            factor = tf.where(draw[..., 0] < self.probability, factor, tf.ones_like(factor))
            shaped = tf.reshape(tf.cast(factor, tf.float32), tf.concat([tf.shape(draw)[:-1], ones], 0))
            made = tf.ensure_shape(wave * shaped, wave.shape)
            return tf.clip_by_value(made, -1, 1) if self.clip else made

        return kernel if self.variates() else always_tensorflow(kernel)
