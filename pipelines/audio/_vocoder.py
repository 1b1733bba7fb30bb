"""Slower and faster at the same pitch: a phase vocoder in float64, which both frameworks call."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipelines.audio._spectrogram import window

Sound = npt.NDArray[np.float64]


def stretched(wave: Sound, rate: float, n_fft: int, hop: int) -> Sound:
    """float64[..., time] to float64[..., round(time / rate)]: `rate` times as fast, the pitch kept."""
    time = wave.shape[-1]
    length = int(np.floor(time / rate + 0.5))
    taper = window("hann", n_fft, n_fft)
    half = n_fft // 2
    padded = np.pad(wave, [(0, 0)] * (wave.ndim - 1) + [(half, half)])
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft, -1)[..., ::hop, :]
    return _overlapped(_vocoded(np.fft.rfft(frames * taper), rate, n_fft, hop), taper, hop, half, length)


def _vocoded(spectra: npt.NDArray[np.complex128], rate: float, n_fft: int, hop: int) -> npt.NDArray[np.complex128]:
    """complex128[..., frame, bin]: frames read at steps of `rate`, each bin's phase going on at its own speed."""
    count, bins = spectra.shape[-2:]
    steps = np.arange(0, count, rate)
    before = np.minimum(steps.astype(int), count - 1)
    part = (steps - before)[:, None]
    behind = np.concatenate([spectra, np.zeros_like(spectra[..., :1, :])], -2)
    first, second = behind[..., before, :], behind[..., before + 1, :]
    size = (1 - part) * np.abs(first) + part * np.abs(second)
    advance = 2 * np.pi * hop * np.arange(bins) / n_fft
    turned = np.angle(second) - np.angle(first) - advance
    turned = turned - 2 * np.pi * np.round(turned / (2 * np.pi)) + advance
    start = np.angle(spectra[..., :1, :])
    phase = np.concatenate([start, start + np.cumsum(turned, -2)[..., :-1, :]], -2)
    return np.asarray(size * np.exp(1j * phase))


def _overlapped(spectra: npt.NDArray[np.complex128], taper: Sound, hop: int, half: int, length: int) -> Sound:
    """The waveform whose frames are nearest to those given; zeros where no frame goes."""
    frames = np.fft.irfft(spectra, len(taper)) * taper
    count = frames.shape[-2]
    size = max((count - 1) * hop + len(taper), half + length)
    made, weight = np.zeros((*frames.shape[:-2], size)), np.zeros(size)
    for number in range(count):
        place = slice(number * hop, number * hop + len(taper))
        made[..., place] += frames[..., number, :]
        weight[place] += taper**2
    part = slice(half, half + length)
    return np.asarray(made[..., part] / np.maximum(weight[part], 1e-8))
