"""The band-limited interpolation kernels of audio.resample, in float64, once per reduced ratio."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, gcd
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

Method = Literal["hann", "kaiser"]
WIDTH: dict[Method, int] = {"hann": 6, "kaiser": 64}
ROLLOFF: dict[Method, float] = {"hann": 0.99, "kaiser": 0.9475937167399596}
BETA = 14.769656459379492
LARGEST = 1 << 22
"""Most coefficients of a tabulated kernel (16 MiB): new/g times old/g plus twice the width, g the common divisor."""
_BLOCK = 1 << 14
_TAKEN = 1 << 20  # samples that are laid out for one product of matrices


def reduced(old_hz: int, new_hz: int) -> tuple[int, int]:
    """The ratio of the rates in lowest terms."""
    common = gcd(old_hz, new_hz)
    return old_hz // common, new_hz // common


def width(old: int, new: int, method: Method) -> int:
    """Samples of the old rate that the filter reaches to either side."""
    return ceil(WIDTH[method] * old / (min(old, new) * ROLLOFF[method]))


def is_tabulated(old: int, new: int, method: Method) -> bool:
    """Whether the reduced ratio has few enough phases for a table of filters; else `direct` computes them."""
    return new * (2 * width(old, new, method) + old) <= LARGEST


@lru_cache(maxsize=16)
def kernel(old: int, new: int, method: Method) -> npt.NDArray[np.float32]:
    """float32[new, old + 2 width]: row p holds the filter of output phase p; computed in float64."""
    reach = width(old, new, method)
    distance = np.arange(-reach, reach + old) - np.arange(new)[:, None] * (old / new)
    result = _filter(distance, old, new, method).astype(np.float32)
    result.setflags(write=False)
    return result


def resampled(wave: npt.NDArray[np.float32], old: int, new: int, method: Method) -> npt.NDArray[np.float32]:
    """float32[..., time] to float32[..., ceil(new time / old)] in NumPy, by a table of filters where there is one."""
    if old == new or not wave.shape[-1]:
        return wave
    if not is_tabulated(old, new, method):
        return direct(wave, old, new, method)
    reach, time, table = width(old, new, method), wave.shape[-1], kernel(old, new, method)
    steps = -(-time // old)
    padded = np.pad(wave, [(0, 0)] * (wave.ndim - 1) + [(reach, steps * old - time + reach)])
    rows = sliding_window_view(padded, table.shape[1], -1)[..., ::old, :]
    out = np.empty((*wave.shape[:-1], steps, new), np.float32)
    block = max(1, _TAKEN // table.shape[1])
    for start in range(0, steps, block):
        out[..., start : start + block, :] = rows[..., start : start + block, :] @ table.T
    return out.reshape(*wave.shape[:-1], -1)[..., : -(-new * time // old)]


def direct(wave: npt.NDArray[Any], old: int, new: int, method: Method) -> npt.NDArray[np.float32]:
    """float[..., time] to float32[..., ceil(new time / old)], each output with a filter of its own, in float64."""
    reach, time = width(old, new, method), wave.shape[-1]
    taps = np.arange(-reach, reach + 2)
    padded = np.pad(wave.astype(np.float64), [(0, 0)] * (wave.ndim - 1) + [(reach, reach + 1)])
    out = np.empty((*wave.shape[:-1], -(-new * time // old)), np.float32)
    for start in range(0, out.shape[-1], _BLOCK):
        place = np.arange(start, min(start + _BLOCK, out.shape[-1])) * old
        filters = _filter(taps - (place % new / new)[:, None], old, new, method)
        taken = padded[..., (place // new)[:, None] + (taps + reach)]
        out[..., start : start + _BLOCK] = np.einsum("...mk,mk->...m", taken, filters)
    return out


def _filter(distance: npt.NDArray[np.float64], old: int, new: int, method: Method) -> npt.NDArray[np.float64]:
    """The windowed sinc at `distance` input samples from its middle."""
    zeros = WIDTH[method]
    band = min(old, new) * ROLLOFF[method]
    time = np.clip(distance / old * band, -zeros, zeros)
    if method == "hann":
        taper = np.cos(time * (np.pi / zeros / 2)) ** 2
    else:
        taper = np.i0(BETA * np.sqrt(1 - (time / zeros) ** 2)) / np.i0(BETA)
    return np.asarray(np.sinc(time) * taper * (band / old))
