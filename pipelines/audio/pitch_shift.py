"""Higher or lower, by chance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import model_validator

from pipelines.audio import _sinc
from pipelines.audio._chance import Amount, drawn, need_within
from pipelines.audio._stretch import StretchStep
from pipelines.spec import PER_RECORD, Spec, waveform
from pipelines.step import Example

_STEPS = 1_000_000  # ratios are rounded to whole parts of this: 0.002 cents


class PitchShift(StretchStep):
    """A waveform made higher or lower at the same length, by a fixed or a random interval.

    Takes  float32[..., time]   waveform of at least 1 sample
    Gives  float32[..., time]   stretched by 2^(semitones / 12) as in audio.time_stretch, then resampled back to `time`

    `semitones` is a number (12 is an octave higher), or [low, high] for one drawn evenly. `probability` is the share of
    records that are changed; when serving, only a fixed interval with a probability of 1 does anything.
    Source: torchaudio.functional.pitch_shift and librosa.effects.pitch_shift, in float64 and in NumPy for both
    frameworks; see audio.time_stretch.
    """

    semitones: Amount = (-2.0, 2.0)
    examples = (
        Example(waveform(16000), {"n_fft": 256, "hop": 64}),
        Example(waveform(8000, channels=2, time=1000), {"semitones": 7, "n_fft": 128, "hop": 32, "probability": 0.5}),
        Example(waveform(PER_RECORD), {"semitones": [-12, 12], "n_fft": 64, "hop": 16}),
        Example(waveform(8000, channels=2), {"semitones": 12, "n_fft": 256, "hop": 64}),
        Example(waveform(8000), {"semitones": -12, "n_fft": 257, "hop": 64}),
    )

    @model_validator(mode="after")
    def _sound(self) -> PitchShift:
        need_within("semitones", self.semitones, -36, 36)
        return self

    @property
    def amount(self) -> Amount:
        return self.semitones

    def out_spec(self, x: Spec) -> Spec:
        x.need(("float32",), last=("time",))
        return x.but(range=None)

    def changed(self, wave: npt.NDArray[np.float32], variate: float) -> npt.NDArray[np.float32]:
        time = wave.shape[-1]
        ratio = 2.0 ** (drawn(self.semitones, variate) / 12)
        long = self.stretched(wave, 1 / ratio)
        old, new = _sinc.reduced(round(_STEPS * ratio), _STEPS)
        made = long.astype(np.float32) if old == new else _sinc.direct(long, old, new, "hann")
        more = max(time - made.shape[-1], 0)
        return np.pad(made, [(0, 0)] * (wave.ndim - 1) + [(0, more)])[..., :time]
