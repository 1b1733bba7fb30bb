"""Slower or faster, by chance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import model_validator

from pipelines.audio._chance import Amount, drawn, need_within
from pipelines.audio._stretch import StretchStep
from pipelines.spec import PER_RECORD, Axis, Spec, waveform
from pipelines.step import Example


class TimeStretch(StretchStep):
    """A waveform made slower or faster at the same pitch, by a fixed or a random rate.

    Takes  float32[..., time]   waveform of at least 1 sample
    Gives  float32[..., time]   round(time / rate) samples; frames of `n_fft` samples, `hop` apart, are read `rate`
           times as fast, and the phase of each bin goes on as it did in the original

    `rate` is a number (2 is twice as fast), or [low, high] for one drawn evenly. `probability` is the share of records
    that are changed; when serving, only a fixed rate with a probability of 1 does anything. Takes waveforms before
    audio.fit, since lengths come to differ.
    Source: Flanagan and Golden (1966); torchaudio.functional.phase_vocoder and librosa.effects.time_stretch, in float64
    and in NumPy for both frameworks: phases that add up in float32 leave 60 dB.
    """

    rate: Amount = (0.8, 1.25)
    draws_sizes = True
    examples = (
        Example(waveform(16000), {"n_fft": 256, "hop": 64}),
        Example(waveform(8000, channels=2, time=1000), {"rate": 1.5, "n_fft": 128, "hop": 32, "probability": 0.5}),
        Example(waveform(PER_RECORD), {"rate": [0.5, 2], "n_fft": 64, "hop": 16}),
        Example(waveform(PER_RECORD), {"rate": 0.9, "n_fft": 257, "hop": 64}),
    )

    @model_validator(mode="after")
    def _sound(self) -> TimeStretch:
        need_within("rate", self.rate, 0.1, 10)
        return self

    @property
    def amount(self) -> Amount:
        return self.rate

    def out_spec(self, x: Spec) -> Spec:
        x.need(("float32",), last=("time",))
        return x.but(axes=(*x.axes[:-1], Axis("time")), range=None)

    def changed(self, wave: npt.NDArray[np.float32], variate: float) -> npt.NDArray[np.float32]:
        return self.stretched(wave, drawn(self.rate, variate)).astype(np.float32)
