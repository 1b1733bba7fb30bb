"""Mel-band energies."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from pipelines.audio._spectrogram import Framed
from pipelines.errors import SpecError
from pipelines.native import torch_constant
from pipelines.spec import Axis, Spec, waveform
from pipelines.step import Close, Example, Kernel

Scale = Literal["htk", "slaney"]
_LINEAR_HZ, _BREAK_HZ, _LOG_STEP = 200 / 3, 1000.0, np.log(6.4) / 27  # Slaney: linear below 1 kHz, logarithmic above


class Mel(Framed):
    """Mel-band energies of a waveform's power or magnitude spectrogram.

    Takes  float32[..., time]            waveform of one known rate_hz
    Gives  float32[..., band, frame]     out[b, t] = sum_k F[b, k] |X[k, t]|^power, X as in audio.stft

    F holds triangles, linear in Hz, between `bands` + 2 points evenly spaced in mel from `low_hz` to
    `high_hz` (half the rate if left out). norm "none" gives them a peak of 1, "area" an area of 1 Hz
    (what librosa and torchaudio call norm="slaney"). A band narrower than the spacing of the bins may hold
    none and is then 0, as in librosa. Fails as audio.stft does.
    Source: HTK book 5.4 (scale="htk"), Slaney 1998 (scale="slaney"); equals librosa.filters.mel. The
    triangles of tf.signal.linear_to_mel_weight_matrix are linear in mel instead, so it is not used.
    """

    bands: Annotated[int, Field(ge=1)] = 64
    low_hz: Annotated[float, Field(ge=0)] = 0.0
    high_hz: Annotated[float, Field(gt=0)] | None = None
    scale: Scale = "htk"
    norm: Literal["none", "area"] = "none"
    power: Literal[1, 2] = 2

    agreement = Close(of_peak=1e-6, why="float32 FFT, squared, and order of summation: 6e-7 for a prime n_fft")
    examples = (
        Example(waveform(16000)),
        Example(
            waveform(8000, time=1999),
            {"n_fft": 256, "hop": 80, "bands": 23, "low_hz": 20, "high_hz": 3800, "window": "hamming"},
        ),
        Example(
            waveform(22050, channels=2),
            {"n_fft": 1024, "win": 800, "scale": "slaney", "norm": "area", "window": "blackman"},
        ),
        Example(waveform(16000, time=4001), {"n_fft": 401, "power": 1, "bands": 17, "centre": False, "window": "rect"}),
    )

    @model_validator(mode="after")
    def _has_width(self) -> Mel:
        if self.high_hz is not None and self.high_hz <= self.low_hz:
            raise ValueError(f"expected high_hz above low_hz={self.low_hz:g}, got {self.high_hz:g}")
        return self

    def out_spec(self, x: Spec) -> Spec:
        x.need(("float32",), last=("time",))
        half = x.need_rate() / 2
        if (self.high_hz or half) > half or self.low_hz >= half:
            found = f"{self.low_hz:g} and {self.high_hz}"
            raise SpecError(f"expected low_hz and high_hz within half the rate ({half:g} Hz), got {found}")
        return self.framed(x, Axis("band", self.bands), unit="power" if self.power == 2 else "magnitude")

    def filters(self, rate_hz: int) -> npt.NDArray[np.float64]:
        """float64[bands, bins]: F for waveforms of `rate_hz`."""
        bins_hz, points_hz = self.bins_hz(rate_hz), self._points_hz(rate_hz)
        low, middle, high = points_hz[:-2, None], points_hz[1:-1, None], points_hz[2:, None]
        triangles = np.maximum(0, np.minimum((bins_hz - low) / (middle - low), (high - bins_hz) / (high - middle)))
        return triangles * 2 / (high - low) if self.norm == "area" else triangles

    def rows_hz(self, rate_hz: int) -> npt.NDArray[np.float64]:
        """float64[bands]: the frequency in the middle of each band, where its triangle peaks."""
        return self._points_hz(rate_hz)[1:-1]

    def _points_hz(self, rate_hz: int) -> npt.NDArray[np.float64]:
        ends = mel_of_hz(np.array([self.low_hz, self.high_hz or rate_hz / 2]), self.scale)
        return hz_of_mel(np.linspace(ends[0], ends[1], self.bands + 2), self.scale)

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        spectrum = self.torch_spectrum(float(self.power))
        filters = torch_constant(self.filters(x.need_rate()).astype(np.float32))

        def kernel(wave: torch.Tensor) -> torch.Tensor:
            return torch.matmul(filters(wave), spectrum(wave))

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        spectrum = self.tensorflow_spectrum(float(self.power))
        filters = self.filters(x.need_rate()).astype(np.float32)
        return lambda wave: tf.matmul(filters, spectrum(wave))


def mel_of_hz(hz: npt.NDArray[np.float64], scale: Scale) -> npt.NDArray[np.float64]:
    """Frequencies in mel."""
    if scale == "htk":
        return np.asarray(2595.0 * np.log10(1.0 + hz / 700.0))
    above = _BREAK_HZ / _LINEAR_HZ + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hz < _BREAK_HZ, hz / _LINEAR_HZ, above)


def hz_of_mel(mel: npt.NDArray[np.float64], scale: Scale) -> npt.NDArray[np.float64]:
    """Frequencies in Hz."""
    if scale == "htk":
        return np.asarray(700.0 * (10.0 ** (mel / 2595.0) - 1.0))
    above = _BREAK_HZ * np.exp(_LOG_STEP * (mel - _BREAK_HZ / _LINEAR_HZ))
    return np.where(mel < _BREAK_HZ / _LINEAR_HZ, mel * _LINEAR_HZ, above)
