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
"""Most coefficients of a kernel (16 MiB): new/g times old/g plus twice the width, g the rates' common divisor."""


def reduced(old_hz: int, new_hz: int) -> tuple[int, int]:
    """The ratio of the rates in lowest terms."""
    common = gcd(old_hz, new_hz)
    return old_hz // common, new_hz // common


def width(old: int, new: int, method: Method) -> int:
    """Samples of the old rate that the filter reaches to either side."""
    return ceil(WIDTH[method] * old / (min(old, new) * ROLLOFF[method]))


def too_large(old_hz: int, new_hz: int, method: Method) -> str | None:
    """Why there is no kernel between these rates, or None."""
    old, new = reduced(old_hz, new_hz)
    size = new * (2 * width(old, new, method) + old)
    if size <= LARGEST:
        return None
    return (
        f"from {old_hz} to {new_hz} Hz is {old}:{new}, a kernel of {size} coefficients, at most {LARGEST} are allowed"
    )


@lru_cache(maxsize=16)
def kernel(old: int, new: int, method: Method) -> npt.NDArray[np.float32]:
    """float32[new, old + 2 width]: row p holds the filter of output phase p; computed in float64."""
    reach, zeros = width(old, new, method), WIDTH[method]
    band = min(old, new) * ROLLOFF[method]
    time = np.arange(-reach, reach + old) / old - np.arange(new)[:, None] / new
    time = np.clip(time * band, -zeros, zeros)
    if method == "hann":
        taper = np.cos(time * (np.pi / zeros / 2)) ** 2
    else:
        taper = np.i0(BETA * np.sqrt(1 - (time / zeros) ** 2)) / np.i0(BETA)
    result: npt.NDArray[np.float32] = (np.sinc(time) * taper * (band / old)).astype(np.float32)
    result.setflags(write=False)
    return result
