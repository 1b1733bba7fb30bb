"""Slower or faster, by chance."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from pipelines.audio._chance import Amount, Probability, drawn, ends
from pipelines.audio._vocoder import stretched
from pipelines.errors import RecordError
from pipelines.spec import PER_RECORD, Axis, Spec, waveform
from pipelines.step import Example, HostStep, Identical, Kernel


class TimeStretch(HostStep):
    """A waveform made slower or faster at the same pitch, by a fixed or a random rate.

    Takes  float32[..., time]   waveform of at least 1 sample
    Gives  float32[..., time]   round(time / rate) samples; frames of `n_fft` samples, `hop` apart, are read `rate`
           times as fast, and the phase of each bin goes on as it did in the original

    `rate` is a number (2 is twice as fast), or [low, high] for one drawn evenly. `probability` is the share of records
    that are changed; serving changes none. Takes waveforms before audio.fit, since lengths come to differ.
    Source: Flanagan and Golden (1966); torchaudio.functional.phase_vocoder and librosa.effects.time_stretch, in float64
    and in NumPy for both frameworks: phases that add up in float32 leave 60 dB.
    """

    rate: Amount = (0.8, 1.25)
    n_fft: Annotated[int, Field(ge=8)] = 1024
    hop: Annotated[int, Field(ge=1)] = 256
    probability: Probability = 1.0

    serving = (1.0, 0.5)
    takes_rate = True
    agreement = Identical("one NumPy binding")
    examples = (
        Example(waveform(16000), {"n_fft": 256, "hop": 64}),
        Example(waveform(8000, channels=2, time=1000), {"rate": 1.5, "n_fft": 128, "hop": 32, "probability": 0.5}),
        Example(waveform(PER_RECORD), {"rate": [0.5, 2], "n_fft": 64, "hop": 16}),
    )

    @model_validator(mode="after")
    def _sound(self) -> TimeStretch:
        if not 0.1 <= ends(self.rate)[0] <= ends(self.rate)[1] <= 10:
            raise ValueError(f"rate: expected numbers in [0.1, 10], got {self.rate}")
        if self.hop > self.n_fft // 2:
            raise ValueError(f"hop={self.hop} must be <= {self.n_fft // 2}, half of n_fft")
        return self

    def variates(self) -> int:
        return 2

    def out_spec(self, x: Spec) -> Spec:
        x.need(("float32",), last=("time",))
        return x.but(axes=(*x.axes[:-1], Axis("time")), range=None)

    def bind_numpy(self, x: Spec) -> Kernel:
        def kernel(wave: npt.NDArray[np.float32], *rest: Any) -> Any:
            *rate_hz, draw = rest
            chance, level = np.asarray(draw, np.float64).tolist()
            if not wave.shape[-1]:
                raise RecordError("expected at least 1 sample, got 0")
            made = wave
            if chance < self.probability:
                rate = drawn(self.rate, level)
                made = stretched(wave.astype(np.float64), rate, self.n_fft, self.hop).astype(np.float32)
            return (made, *rate_hz) if rate_hz else made

        return kernel
