"""The band-limited interpolation kernels of audio.resample, in float64, once per reduced ratio."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, gcd
from typing import Literal

import numpy as np
import numpy.typing as npt

Method = Literal["hann", "kaiser"]
WIDTH: dict[Method, int] = {"hann": 6, "kaiser": 64}
ROLLOFF: dict[Method, float] = {"hann": 0.99, "kaiser": 0.9475937167399596}
BETA = 14.769656459379492
LARGEST = 1 << 22
"""Most coefficients of a tabulated kernel (16 MiB): new/g times old/g plus twice the width, g the common divisor."""
_BLOCK = 1 << 14


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
    result = _filter(distance, old, new, method)
    result.setflags(write=False)
    return result


def direct(wave: npt.NDArray[np.float32], old: int, new: int, method: Method) -> npt.NDArray[np.float32]:
    """float32[..., time] to float32[..., ceil(new time / old)], each output with a filter of its own."""
    reach, time = width(old, new, method), wave.shape[-1]
    taps = np.arange(-reach, reach + 2)
    padded = np.pad(wave, [(0, 0)] * (wave.ndim - 1) + [(reach, reach + 1)])
    out = np.empty((*wave.shape[:-1], -(-new * time // old)), np.float32)
    for start in range(0, out.shape[-1], _BLOCK):
        place = np.arange(start, min(start + _BLOCK, out.shape[-1])) * old
        filters = _filter(taps - (place % new / new)[:, None], old, new, method)
        taken = padded[..., (place // new)[:, None] + (taps + reach)]
        out[..., start : start + _BLOCK] = np.einsum("...mk,mk->...m", taken, filters)
    return out


def _filter(distance: npt.NDArray[np.float64], old: int, new: int, method: Method) -> npt.NDArray[np.float32]:
    """The windowed sinc at `distance` input samples from its middle; computed in float64."""
    zeros = WIDTH[method]
    band = min(old, new) * ROLLOFF[method]
    time = np.clip(distance / old * band, -zeros, zeros)
    if method == "hann":
        taper = np.cos(time * (np.pi / zeros / 2)) ** 2
    else:
        taper = np.i0(BETA * np.sqrt(1 - (time / zeros) ** 2)) / np.i0(BETA)
    return np.asarray(np.sinc(time) * taper * (band / old), dtype=np.float32)
