"""Higher or lower, by chance."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from pipelines.audio import _sinc
from pipelines.audio._chance import Amount, Probability, drawn, ends
from pipelines.audio._vocoder import stretched
from pipelines.errors import RecordError
from pipelines.spec import PER_RECORD, Spec, waveform
from pipelines.step import Example, HostStep, Identical, Kernel

_STEPS = 10_000  # ratios are rounded to whole parts of this: 0.2 cents


class PitchShift(HostStep):
    """A waveform made higher or lower at the same length, by a fixed or a random interval.

    Takes  float32[..., time]   waveform of at least 1 sample
    Gives  float32[..., time]   stretched by 2^(semitones / 12) as in audio.time_stretch, then resampled back to `time`

    `semitones` is a number (12 is an octave higher), or [low, high] for one drawn evenly. `probability` is the share of
    records that are changed; serving changes none.
    Source: torchaudio.functional.pitch_shift and librosa.effects.pitch_shift, in float64 and in NumPy for both
    frameworks; see audio.time_stretch.
    """

    semitones: Amount = (-2.0, 2.0)
    n_fft: Annotated[int, Field(ge=8)] = 1024
    hop: Annotated[int, Field(ge=1)] = 256
    probability: Probability = 1.0

    serving = (1.0, 0.5)
    takes_rate = True
    agreement = Identical("one NumPy binding")
    examples = (
        Example(waveform(16000), {"n_fft": 256, "hop": 64}),
        Example(waveform(8000, channels=2, time=1000), {"semitones": 7, "n_fft": 128, "hop": 32, "probability": 0.5}),
        Example(waveform(PER_RECORD), {"semitones": [-12, 12], "n_fft": 64, "hop": 16}),
    )

    @model_validator(mode="after")
    def _sound(self) -> PitchShift:
        if max(map(abs, ends(self.semitones))) > 36:
            raise ValueError(f"semitones: expected numbers in [-36, 36], got {self.semitones}")
        if self.hop > self.n_fft // 2:
            raise ValueError(f"hop={self.hop} must be <= {self.n_fft // 2}, half of n_fft")
        return self

    def variates(self) -> int:
        return 2

    def out_spec(self, x: Spec) -> Spec:
        x.need(("float32",), last=("time",))
        return x.but(range=None)

    def shifted(self, wave: npt.NDArray[np.float32], semitones: float) -> npt.NDArray[np.float32]:
        """The waveform `semitones` higher."""
        time = wave.shape[-1]
        ratio = 2.0 ** (semitones / 12)
        long = stretched(wave.astype(np.float64), 1 / ratio, self.n_fft, self.hop).astype(np.float32)
        old, new = _sinc.reduced(round(_STEPS * ratio), _STEPS)
        made = long if old == new or not long.shape[-1] else _sinc.direct(long, old, new, "hann")
        more = max(time - made.shape[-1], 0)
        return np.pad(made, [(0, 0)] * (wave.ndim - 1) + [(0, more)])[..., :time]

    def bind_numpy(self, x: Spec) -> Kernel:
        def kernel(wave: npt.NDArray[np.float32], *rest: Any) -> Any:
            *rate_hz, draw = rest
            chance, level = np.asarray(draw, np.float64).tolist()
            if not wave.shape[-1]:
                raise RecordError("expected at least 1 sample, got 0")
            made = self.shifted(wave, drawn(self.semitones, level)) if chance < self.probability else wave
            return (made, *rate_hz) if rate_hz else made

        return kernel
