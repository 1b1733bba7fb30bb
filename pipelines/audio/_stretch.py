"""What time_stretch and pitch_shift share: parameters of the phase vocoder, and chance."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from pipelines.audio._chance import ALWAYS, Amount, Probability, is_chance
from pipelines.audio._vocoder import stretched
from pipelines.errors import RecordError
from pipelines.spec import Spec
from pipelines.step import Close, HostStep, Kernel


class StretchStep(HostStep):
    """A step that stretches a waveform, in `probability` of the records, by an amount that a variate stands for."""

    n_fft: Annotated[int, Field(ge=8)] = 1024
    hop: Annotated[int, Field(ge=1)] = 256
    probability: Probability = 1.0

    serving = (1.0, 0.5)
    takes_rate = True
    agreement = Close(
        of_peak=1.2e-7, why="one NumPy binding in float64, rounded once; NumPy's releases differ in an angle's last bit"
    )

    @model_validator(mode="after")
    def _overlapping(self) -> StretchStep:
        if self.hop > self.n_fft // 2:
            raise ValueError(f"hop={self.hop} must be <= {self.n_fft // 2}, half of n_fft")
        return self

    @property
    @abstractmethod
    def amount(self) -> Amount:
        """What is drawn."""

    def variates(self) -> int:
        return 2 if is_chance(self.probability, self.amount) else 0

    @abstractmethod
    def changed(self, wave: npt.NDArray[np.float32], variate: float) -> npt.NDArray[np.float32]:
        """The waveform with the amount drawn by a variate in [0, 1)."""

    def stretched(self, wave: npt.NDArray[np.float32], rate: float) -> npt.NDArray[np.float64]:
        """The waveform `rate` times as fast at the same pitch."""
        return stretched(wave.astype(np.float64), rate, self.n_fft, self.hop)

    def bind_numpy(self, x: Spec) -> Kernel:
        def kernel(wave: npt.NDArray[np.float32], *rest: Any) -> Any:
            *rate_hz, draw = rest if self.variates() else (*rest, ALWAYS)
            chance, level = np.asarray(draw, np.float64).tolist()
            if not wave.shape[-1]:
                raise RecordError("expected at least 1 sample, got 0")
            made = self.changed(wave, level) if chance < self.probability else wave
            return (made, *rate_hz) if rate_hz else made

        return kernel
