"""Spectra back to sound."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from pipelines.audio._checks import at_least_tensorflow, at_least_torch
from pipelines.audio._spectrogram import Framed
from pipelines.errors import SpecError
from pipelines.native import torch_constant
from pipelines.spec import Axis, Spec
from pipelines.step import Close, Example, Kernel


def _spectrum(bins: int, frames: int | None = None) -> Spec:
    return Spec("complex64", (Axis("bin", bins), Axis("frame", frames)))


class InverseStft(Framed):
    """The waveform whose short-time Fourier transform is given: the inverse of audio.stft.

    Takes  complex64[..., bin, frame]   bins = n_fft // 2 + 1; what audio.stft gives with the same parameters
    Gives  float32[..., time]           (frames - 1) hop samples, or `samples`; the waveform whose frames are nearest to
           those given: sum_t w[n - t hop] y_t[n - t hop] / sum_t w[n - t hop]^2, y_t the inverse of frame t

    `rate_hz` is the sampling rate, which a spectrum does not carry. `centre` must be true: without, the first and last
    samples are in no frame's window. `hop` must let windows overlap well (about 0.8 of a Hann window at most), and
    `samples` may not go beyond the last frame's middle.
    Source: Griffin and Lim (1984), eq. 6; torch.istft; tf.signal.irfft and overlap_and_add, since
    tf.signal.inverse_stft does not divide by the windows at the ends. Equals librosa.istft.
    """

    samples: Annotated[int, Field(ge=1)] | None = None
    rate_hz: Annotated[int, Field(ge=1)] | None = None

    agreement = Close(
        of_peak=1e-6, why="float32 FFT and overlapping sums, rounded in another order: 7e-7 for a prime n_fft"
    )
    examples = (
        Example(_spectrum(201)),
        Example(_spectrum(201, 12), {"win": 320, "hop": 100, "window": "hamming", "rate_hz": 8000}),
        Example(_spectrum(129), {"n_fft": 256, "hop": 64, "samples": 230, "window": "blackman"}),
        Example(Spec("complex64", (Axis("channel", 2), Axis("bin", 33), Axis("frame", 9))), {"n_fft": 64, "hop": 32}),
        Example(_spectrum(33), {"n_fft": 64, "hop": 64, "window": "rect"}),
    )

    @model_validator(mode="after")
    def _can_be_inverted(self) -> InverseStft:
        if not self.centre:
            raise ValueError("centre: expected true, since without it the ends of the waveform are lost")
        if self.hop > (self.win or self.n_fft) or self._overlap() < 0.01:
            raise ValueError(
                f"hop={self.hop} is too long for a {self.window} window of {self.win or self.n_fft} samples, "
                "which hardly overlaps with the next: rounding would grow more than tenfold in between"
            )
        return self

    def _overlap(self) -> float:
        """The least that two windows, from one frame's middle to the next, hold of a sample, as a share of the most."""
        squares, at = np.square(self._window()), np.arange(self.hop) + self.n_fft // 2
        held = np.pad(squares, (self.hop, self.hop))
        return float((held[at + self.hop] + held[at]).min() / squares.max())

    def out_spec(self, x: Spec) -> Spec:
        x.need(("complex64",), last=("bin", "frame"))
        if x.size("bin") != self.bins:
            raise SpecError(f"expected {self.bins} bins for n_fft={self.n_fft}, got {x}")
        frames = x.size("frame")
        if frames is not None and frames * self.hop < (self.samples or 0) + self.hop:
            raise SpecError(f"samples={self.samples} must be <= {(frames - 1) * self.hop}, what {frames} frames hold")
        if frames == 1 and self.samples is None:
            raise SpecError("expected at least 2 frames, got 1")
        time = self.samples or (None if frames is None else (frames - 1) * self.hop)
        return Spec("float32", (*x.axes[:-2], Axis("time", time)), "amplitude", None, self.rate_hz)

    @property
    def _least(self) -> int:
        return max(2, -(-(self.samples or 0) // self.hop) + 1)

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        held = torch_constant(self._window())

        def kernel(spectrum: torch.Tensor) -> torch.Tensor:
            at_least_torch(spectrum, self._least, "frames")
            rows = spectrum.reshape(-1, *spectrum.shape[-2:])
            length = self.samples or (spectrum.shape[-1] - 1) * self.hop
            made = torch.istft(rows, self.n_fft, self.hop, self.n_fft, held(spectrum.real), True, length=length)
            return made.reshape(*spectrum.shape[:-2], length)

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        window = self._window()
        time = self.out_spec(x).size("time")

        def kernel(spectrum: Any) -> Any:
            static = spectrum.shape
            spectrum = tf.ensure_shape(at_least_tensorflow(spectrum, self._least, "frames"), static)
            frames = tf.signal.irfft(tf.linalg.matrix_transpose(spectrum), [self.n_fft]) * window
            summed = tf.signal.overlap_and_add(frames, self.hop)
            count = tf.shape(spectrum)[-1]
            weights = tf.signal.overlap_and_add(tf.tile((window * window)[None], [count, 1]), self.hop)
            length = self.samples or (count - 1) * self.hop
            first = self.n_fft // 2
            made = summed[..., first : first + length] / weights[first : first + length]
            return tf.ensure_shape(made, (*static[:-2], time))

        return kernel
