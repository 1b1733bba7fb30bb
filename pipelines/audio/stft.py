"""Short-time spectra."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from pipelines.audio._spectrogram import Framed
from pipelines.spec import Axis, Spec, waveform
from pipelines.step import Close, Example, Kernel


class Stft(Framed):
    """The short-time Fourier transform of a waveform.

    Takes  float32[..., time]         waveform
    Gives  complex64[..., bin, frame], or float32 for output="magnitude" and "power"; bins = n_fft // 2 + 1
           out[k, t] = sum_n w[n] x[t hop + n - n_fft // 2] exp(-2 pi i k n / n_fft), then |.| or |.|^2

    The periodic window of `win` samples (n_fft if left out) stands in the middle of the n_fft. With
    `centre` the waveform is reflected at its ends, so that frame t is centred on sample t hop; without, frame
    t begins there. Fails for a waveform of at most n_fft // 2 samples (with `centre`) or fewer than n_fft.
    Source: torchaudio.functional.spectrogram; tf.signal.stft, handed window and padding, since its own
    centre, frame and odd windows differ; equals librosa.stft(pad_mode="reflect").
    """

    output: Literal["complex", "magnitude", "power"] = "complex"

    agreement = Close(of_peak=1e-6, why="float32 FFT, rounded in another order: powers 7e-7 for a prime n_fft")
    examples = (
        Example(waveform(16000)),
        Example(waveform(None, time=1601), {"n_fft": 401, "win": 320, "hop": 77, "output": "magnitude"}),
        Example(waveform(8000, channels=2), {"n_fft": 256, "centre": False, "window": "hamming", "output": "power"}),
        Example(waveform(8000, time=999), {"n_fft": 512, "hop": 512, "window": "blackman", "output": "power"}),
        Example(waveform(8000), {"n_fft": 64, "hop": 16, "window": "rect"}),
    )

    def out_spec(self, x: Spec) -> Spec:
        dtype = "complex64" if self.output == "complex" else "float32"
        return self.framed(x, Axis("bin", self.bins), dtype=dtype, unit="" if dtype == "complex64" else self.output)

    def rows_hz(self, rate_hz: int) -> npt.NDArray[np.float64]:
        """float64[bins]: the frequency of each bin."""
        return self.bins_hz(rate_hz)

    def _power(self) -> float | None:
        return {"complex": None, "magnitude": 1.0, "power": 2.0}[self.output]

    def bind_torch(self, x: Spec) -> Kernel:
        return self.torch_spectrum(self._power())

    def bind_tensorflow(self, x: Spec) -> Kernel:
        return self.tensorflow_spectrum(self._power())
