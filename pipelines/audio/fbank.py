"""Kaldi's filter-bank features."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from pipelines.audio._checks import at_least_tensorflow, at_least_torch
from pipelines.audio._spectrogram import cosines
from pipelines.errors import SpecError
from pipelines.native import torch_constant
from pipelines.spec import Axis, Spec, waveform
from pipelines.step import Close, Example, Kernel, Step

_LEAST = float(np.finfo(np.float32).eps)  # what Kaldi takes the logarithm of at least


class Fbank(Step):
    """Log-mel features as Kaldi computes them.

    Takes  float32[..., time]           waveform in [-1, 1] of one known rate_hz
    Gives  float32[..., band, frame]    ln max(sum_k F[b, k] |X[k, t]|^2, 2^-23), without `log` the sum itself

    X is the spectrum of frame t: floor(frame_ms rate) samples, floor(hop_ms rate) apart, times `scale` (Kaldi takes
    16-bit samples as they are), less their mean (with `remove_mean`), each less `pre_emphasis` times the one before it
    (the first less its own), times the window, zeros behind up to a power of 2. With edges="snip" there are
    1 + floor((time - frame) / hop) frames from the first sample on, and a waveform shorter than one frame fails; with
    "reflect" floor(time / hop + 1/2), centred on (t + 1/2) hop, the waveform mirrored at its ends. "povey" is a Hann
    window to the power of 0.85; windows are symmetric. F holds triangles of height 1, linear in mel = 1127 ln(1 + Hz /
    700) and evenly spaced in it from `low_hz` to `high_hz` (half the rate if left out); a band too narrow to hold a bin
    is 0. There is no dither: audio.noise adds noise.
    Source: Kaldi's compute-fbank-feats and feature-window.cc, in float64; equals torchaudio.compliance.kaldi.fbank with
    dither=0. (audio.mel has librosa's frames, and triangles that are linear in Hz.)
    """

    bands: Annotated[int, Field(ge=1)] = 80
    frame_ms: Annotated[float, Field(gt=0, le=10_000)] = 25.0
    hop_ms: Annotated[float, Field(gt=0, le=10_000)] = 10.0
    low_hz: Annotated[float, Field(ge=0)] = 20.0
    high_hz: Annotated[float, Field(gt=0)] | None = None
    window: Literal["povey", "hann", "hamming", "blackman", "rect"] = "povey"
    pre_emphasis: Annotated[float, Field(ge=0, le=1)] = 0.97
    remove_mean: bool = True
    edges: Literal["snip", "reflect"] = "snip"
    scale: Annotated[float, Field(gt=0)] = 32768.0
    log: bool = True

    agreement = Close(of_peak=1.2e-7, why="float64, rounded once to float32")
    examples = (
        Example(waveform(16000)),
        Example(waveform(8000, channels=2), {"edges": "reflect", "bands": 23, "window": "hamming"}),
        Example(waveform(16000, time=1999), {"window": "hann", "log": False, "scale": 1, "high_hz": 7600}),
        Example(waveform(11025), {"window": "blackman", "pre_emphasis": 0, "hop_ms": 30, "edges": "reflect"}),
        Example(waveform(8000), {"window": "rect", "remove_mean": False, "frame_ms": 3, "bands": 4}),
    )

    @model_validator(mode="after")
    def _has_width(self) -> Fbank:
        if self.high_hz is not None and self.high_hz <= self.low_hz:
            raise ValueError(f"expected high_hz above low_hz={self.low_hz:g}, got {self.high_hz:g}")
        return self

    def out_spec(self, x: Spec) -> Spec:
        x.need(("float32",), last=("time",))
        rate_hz, time = x.need_rate(), x.size("time")
        if (self.high_hz or 0) > rate_hz / 2 or self.low_hz >= rate_hz / 2:
            found = f"{self.low_hz:g} and {self.high_hz}"
            raise SpecError(f"expected low_hz and high_hz within half the rate ({rate_hz / 2:g} Hz), got {found}")
        if self.frame(rate_hz) < 2 or self.hop(rate_hz) < 1:
            found = f"frame_ms={self.frame_ms:g} and hop_ms={self.hop_ms:g} at {rate_hz} Hz"
            raise SpecError(f"expected at least 2 samples in a frame and 1 in a hop, got {found}")
        if time is not None and time < self.least(rate_hz):
            raise SpecError(f"expected at least {self.least(rate_hz)} samples, got {time}")
        frames = None if time is None else self.frames(time, rate_hz)
        unit = "log power" if self.log else "power"
        return Spec("float32", (*x.axes[:-1], Axis("band", self.bands), Axis("frame", frames)), unit)

    def frame(self, rate_hz: int) -> int:
        """Samples of a frame."""
        return _samples(self.frame_ms, rate_hz)

    def hop(self, rate_hz: int) -> int:
        """Samples from one frame to the next."""
        return _samples(self.hop_ms, rate_hz)

    def least(self, rate_hz: int) -> int:
        """The shortest waveform that there is a frame for."""
        return self.frame(rate_hz) if self.edges == "snip" else -(-self.hop(rate_hz) // 2)

    def frames(self, time: Any, rate_hz: int) -> Any:
        """How many frames there are of `time` samples, at least `least`."""
        frame, hop = self.frame(rate_hz), self.hop(rate_hz)
        return 1 + (time - frame) // hop if self.edges == "snip" else (time + hop // 2) // hop

    def filters(self, rate_hz: int) -> npt.NDArray[np.float64]:
        """float64[bands, bins]: F, with bins at multiples of the rate over the padded length; 0 at half the rate."""
        size = self._padded(rate_hz)
        mel = 1127 * np.log1p(np.arange(size // 2 + 1) * (rate_hz / size) / 700)
        middle, step = self._middles_mel(rate_hz)
        middle = middle[:, None]
        made = np.maximum(0, 1 - np.abs(mel - middle) / step)
        made[:, -1] = 0
        return np.asarray(made)

    def rows_hz(self, rate_hz: int) -> npt.NDArray[np.float64]:
        """float64[bands]: the frequency in the middle of each band, where its triangle peaks."""
        return np.asarray(700 * np.expm1(self._middles_mel(rate_hz)[0] / 1127))

    def frame_seconds(self, rate_hz: int) -> tuple[float, float]:
        """The middle of the first frame, and from one to the next, in seconds."""
        hop = self.hop(rate_hz)
        return (self.frame(rate_hz) if self.edges == "snip" else hop) / 2 / rate_hz, hop / rate_hz

    def _middles_mel(self, rate_hz: int) -> tuple[npt.NDArray[np.float64], float]:
        low, high = (1127 * np.log1p(hz / 700) for hz in (self.low_hz, self.high_hz or rate_hz / 2))
        step = (high - low) / (self.bands + 1)
        return low + step * np.arange(1, self.bands + 1), float(step)

    def _padded(self, rate_hz: int) -> int:
        return 1 << (self.frame(rate_hz) - 1).bit_length()

    def taper(self, rate_hz: int) -> npt.NDArray[np.float64]:
        """float64[frame]: the window, symmetric."""
        size = self.frame(rate_hz)
        turn = 2 * np.pi * np.arange(size) / (size - 1)
        return cosines("hann", turn) ** 0.85 if self.window == "povey" else cosines(self.window, turn)

    def _offset(self, rate_hz: int) -> int:
        """Where the first frame begins."""
        return 0 if self.edges == "snip" else self.hop(rate_hz) // 2 - self.frame(rate_hz) // 2

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        rate_hz = x.need_rate()
        size, hop, first = self.frame(rate_hz), self.hop(rate_hz), self._offset(rate_hz)
        taper, filters = torch_constant(self.scale * self.taper(rate_hz)), torch_constant(self.filters(rate_hz))

        def kernel(wave: torch.Tensor) -> torch.Tensor:
            at_least_torch(wave, self.least(rate_hz), "samples")
            time = wave.shape[-1]
            starts = first + hop * torch.arange(self.frames(time, rate_hz), device=wave.device)
            places = (starts[:, None] + torch.arange(size, device=wave.device)) % (2 * time)
            frames = wave[..., torch.minimum(places, 2 * time - 1 - places)].double()
            if self.remove_mean:
                frames = frames - frames.mean(-1, keepdim=True)
            before = torch.cat([frames[..., :1], frames[..., :-1]], -1)
            spectrum = torch.fft.rfft((frames - self.pre_emphasis * before) * taper(wave), self._padded(rate_hz))
            power = spectrum.real.square() + spectrum.imag.square()
            made = torch.matmul(filters(wave), power.transpose(-1, -2))
            return (made.clamp(min=_LEAST).log() if self.log else made).float()

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        rate_hz, out = x.need_rate(), self.out_spec(x)
        size, hop, first = self.frame(rate_hz), self.hop(rate_hz), self._offset(rate_hz)
        taper, filters = self.scale * self.taper(rate_hz), self.filters(rate_hz)

        def kernel(wave: Any) -> Any:
            static = wave.shape[:-1]
            wave = at_least_tensorflow(wave, self.least(rate_hz), "samples")
            time = tf.shape(wave)[-1]
            starts = first + hop * tf.range(self.frames(time, rate_hz))
            places = tf.math.floormod(starts[:, None] + tf.range(size), 2 * time)
            frames = tf.cast(tf.gather(wave, tf.minimum(places, 2 * time - 1 - places), axis=-1), tf.float64)
            if self.remove_mean:
                frames = frames - tf.reduce_mean(frames, -1, True)
            before = tf.concat([frames[..., :1], frames[..., :-1]], -1)
            emphasis = tf.constant(self.pre_emphasis, tf.float64)
            spectrum = tf.signal.rfft((frames - emphasis * before) * taper, [self._padded(rate_hz)])
            power = tf.square(tf.math.real(spectrum)) + tf.square(tf.math.imag(spectrum))
            made = tf.matmul(filters, tf.linalg.matrix_transpose(power))
            made = tf.math.log(tf.maximum(made, tf.constant(_LEAST, tf.float64))) if self.log else made
            return tf.ensure_shape(tf.cast(made, tf.float32), (*static, *out.shape[-2:]))

        return kernel


def _samples(milliseconds: float, rate_hz: int) -> int:
    return int(milliseconds * rate_hz / 1000 + 1e-6)  # 0.1 ms at 10 kHz is one sample, whatever the rounding
