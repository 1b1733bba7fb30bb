"""The short-time Fourier transform that stft, mel and mfcc share: window, framing, both bindings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from pipelines.audio._checks import at_least_tensorflow, at_least_torch
from pipelines.errors import SpecError
from pipelines.native import torch_constant
from pipelines.spec import Axis, Spec
from pipelines.step import Kernel, Step

Samples = Annotated[int, Field(ge=1)]
Window = Literal["hann", "hamming", "blackman", "rect"]
_COSINES: dict[str, tuple[float, ...]] = {
    "hann": (0.5, 0.5),
    "hamming": (0.54, 0.46),
    "blackman": (0.42, 0.5, 0.08),
    "rect": (1.0,),
}


def window(name: Window, length: int, n_fft: int) -> npt.NDArray[np.float64]:
    """float64[n_fft]: a periodic window of `length` samples (scipy.signal.get_window), centred among zeros."""
    if length == 1:
        name = "rect"  # a taper of one sample would be 0
    values = cosines(name, 2 * np.pi * np.arange(length) / length)
    left = (n_fft - length) // 2
    return np.pad(values, (left, n_fft - length - left))


def cosines(name: Window, turn: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A window's values where `turn` goes from 0 at its start to 2 pi at its end."""
    return np.asarray(np.sum([(-1) ** k * a * np.cos(k * turn) for k, a in enumerate(_COSINES[name])], axis=0))


class Framed(Step):
    """Base of the steps that cut a waveform into frames; sizes in samples."""

    n_fft: Annotated[int, Field(ge=2, le=1 << 20)] = 400
    win: Samples | None = None
    hop: Samples = 160
    window: Window = "hann"
    centre: bool = True

    @model_validator(mode="after")
    def _window_fits(self) -> Framed:
        if (self.win or 1) > self.n_fft:
            raise ValueError(f"expected win of at most n_fft={self.n_fft}, got {self.win}")
        return self

    @property
    def bins(self) -> int:
        return self.n_fft // 2 + 1

    @property
    def least(self) -> int:
        """The shortest waveform there is a frame for: reflection needs more than half a frame."""
        return self.n_fft // 2 + 1 if self.centre else self.n_fft

    def frame_seconds(self, rate_hz: int) -> tuple[float, float]:
        """The middle of the first frame, and from one to the next, in seconds."""
        return (0.0 if self.centre else self.n_fft / 2 / rate_hz), self.hop / rate_hz

    def bins_hz(self, rate_hz: int) -> npt.NDArray[np.float64]:
        """float64[bins]: the frequency of each bin."""
        return np.arange(self.bins) * (rate_hz / self.n_fft)

    def framed(self, x: Spec, axis: Axis, **changes: Any) -> Spec:
        """What comes out: `axis` and frame in the place of time."""
        x.need(("float32",), last=("time",))
        time = x.size("time")
        return x.but(axes=(*x.axes[:-1], axis, Axis("frame", self._frames(time))), range=None, rate_hz=None, **changes)

    def _frames(self, time: int | None) -> int | None:
        if time is None:
            return None
        if time < self.least:
            raise SpecError(f"expected at least {self.least} samples for n_fft={self.n_fft}, got {time}")
        padding = 2 * (self.n_fft // 2) if self.centre else 0
        return 1 + (time + padding - self.n_fft) // self.hop

    def _window(self) -> npt.NDArray[np.float32]:
        return window(self.window, self.win or self.n_fft, self.n_fft).astype(np.float32)

    def torch_spectrum(self, power: float | None) -> Kernel:
        """float32[..., time] to complex64 (`power` None) or |X|^power, [..., bin, frame], in torchaudio."""
        import torch
        from torchaudio.functional import spectrogram

        held = torch_constant(self._window())
        half = self.n_fft // 2

        def kernel(wave: torch.Tensor) -> torch.Tensor:
            at_least_torch(wave, self.least, "samples")
            if self.centre:  # as the spectrogram itself reflects the ends, in a third of the time
                ends = wave[..., 1 : half + 1].flip(-1), wave[..., -half - 1 : -1].flip(-1)
                wave = torch.cat([ends[0], wave, ends[1]], -1)
            spectrum: torch.Tensor = spectrogram(
                wave,
                pad=0,
                window=held(wave),
                n_fft=self.n_fft,
                hop_length=self.hop,
                win_length=self.n_fft,
                power=None,
                normalized=False,
                center=False,
            )
            if power == 2:  # thrice as fast as the square of the magnitude, and rounded once less
                squares = torch.view_as_real(spectrum).square()
                return squares[..., 0] + squares[..., 1]
            return spectrum if power is None else spectrum.abs()

        return kernel

    def tensorflow_spectrum(self, power: float | None) -> Kernel:
        """float32[..., time] to complex64 (`power` None) or |X|^power, [..., bin, frame], in tf.signal."""
        import tensorflow as tf

        held = self._window()
        half = self.n_fft // 2

        def kernel(wave: tf.Tensor) -> tf.Tensor:
            wave = at_least_tensorflow(wave, self.least, "samples")
            if self.centre:
                front = tf.zeros([tf.rank(wave) - 1, 2], tf.int32)
                static = wave.shape
                wave = tf.pad(wave, tf.concat([front, [[half, half]]], 0), "REFLECT")
                wave.set_shape((*static[:-1], None if static[-1] is None else static[-1] + 2 * half))
            spectrum = tf.signal.stft(wave, self.n_fft, self.hop, self.n_fft, window_fn=lambda n, dtype: held)
            if power == 2:
                spectrum = tf.square(tf.math.real(spectrum)) + tf.square(tf.math.imag(spectrum))
            elif power is not None:
                spectrum = tf.abs(spectrum)
            return tf.linalg.matrix_transpose(spectrum)

        return kernel
