"""Randomness as a function of position: counter-based variates and the order of an epoch.

Nothing here keeps a state. The variates of a step depend on (seed, epoch, record index, stream),
the order of an epoch on (seed, epoch, position), and on nothing else.

Source: Philox4x32-10 is from Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011);
TensorFlow's StatelessRandomUniformFullIntV2 gives the same bits. The order is a Feistel network
over the smallest even-bit domain that holds all positions, walked until it lands inside
(Black and Rogaway, "Ciphers with arbitrary finite domains", 2002). Normal noise is by Box and Muller, "A note on the
generation of random normal deviates" (1958).
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

U64 = np.uint64
_LOW = U64(0xFFFFFFFF)
_HALF = U64(32)
_MULTIPLY = (U64(0xD2511F53), U64(0xCD9E8D57))
_WEYL = (U64(0x9E3779B9), U64(0xBB67AE85))
_FEISTEL_ROUNDS = 8  # 4 give a pseudo-random permutation in theory; 8 leave a margin for the light round function


def philox(counter: npt.NDArray[np.uint64], key: int) -> npt.NDArray[np.uint64]:
    """Philox4x32-10: counters uint64[..., 4] of 32-bit words, a 64-bit key, to words of the same shape."""
    c0, c1, c2, c3 = (counter[..., i].astype(U64) for i in range(4))
    k0, k1 = U64(key & 0xFFFFFFFF), U64(key >> 32)
    for _ in range(10):
        p0, p1 = _MULTIPLY[0] * c0, _MULTIPLY[1] * c2
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return np.stack([c0, c1, c2, c3], axis=-1)


def _key(*parts: object) -> int:
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")


def variates(seed: int, epoch: int, indices: npt.NDArray[np.int64], stream: str, count: int) -> npt.NDArray[np.float64]:
    """Unit variates in [0, 1): float64[len(indices), count], in steps of 2^-32.

    `stream` names the field, the step and its occurrence there, so that adding a step to a config
    leaves the draws of all others as they were.
    """
    blocks = -(-count // 4)
    counter = np.empty((len(indices), blocks, 4), U64)
    index = indices.astype(U64)[:, None]
    counter[..., 0], counter[..., 1] = index & _LOW, index >> _HALF
    counter[..., 2], counter[..., 3] = epoch & 0xFFFFFFFF, np.arange(blocks)
    words = philox(counter, _key("variates", seed, stream)).reshape(len(indices), blocks * 4)
    return np.asarray(words[:, :count] * 2.0**-32, dtype=np.float64)


def uniforms(keys: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    """Noise of data length: `count` values in [0, 1) in steps of 2^-32 for each pair of variates, float64[..., count].

    The two variates of a pair are the key of Philox, float64[..., 2]; both frameworks ask here.
    """
    pairs = np.asarray(keys, np.float64).reshape(-1, 2)
    counter = np.zeros((-(-count // 4), 4), U64)
    counter[:, 0] = np.arange(len(counter))
    rows = [philox(counter, int(low * 2**32) | int(high * 2**32) << 32).reshape(-1)[:count] for low, high in pairs]
    words = np.stack(rows) if rows else np.zeros((0, count), U64)
    return np.asarray(words * 2.0**-32, np.float64).reshape(*np.shape(keys)[:-1], count)


def normals(keys: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    """Normal noise, mean 0 and deviation 1, by Box and Muller's method on `uniforms`: float64[..., count]."""
    pairs = uniforms(keys, 2 * -(-count // 2))
    radius = np.sqrt(-2 * np.log1p(-pairs[..., 0::2]))
    angle = 2 * np.pi * pairs[..., 1::2]
    both = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)
    return np.asarray(both.reshape(*both.shape[:-2], -1)[..., :count])


def beta_quantile(alpha: float, level: float) -> float:
    """The value that a Beta(alpha, alpha) variate stays below with probability `level`."""
    if level > 0.5:
        return 1 - beta_quantile(alpha, 1 - level)
    # below 1/2, with x = v^(1/alpha) the density has no pole: (1 - x)^(alpha - 1) / alpha
    v = np.linspace(0, 1, 4097) ** max(1.0, alpha) * 0.5**alpha
    density = (1 - v ** (1 / alpha)) ** (alpha - 1)
    area = np.concatenate([[0.0], np.cumsum(np.diff(v) * (density[1:] + density[:-1]) / 2)])
    return float(np.interp(2 * level * area[-1], area, v) ** (1 / alpha))


def _mix(x: npt.NDArray[np.uint64], key: np.uint64) -> npt.NDArray[np.uint64]:
    # the finaliser of splitmix64 (Steele et al., 2014); overflow wraps on purpose
    x = (x ^ key) * U64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> U64(30))) * U64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> U64(27))) * U64(0x94D049BB133111EB)
    return x ^ (x >> U64(31))


def shuffled(seed: int, epoch: int, positions: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
    """Record indices at `positions` (int64[n], each in [0, length)) of an epoch's random order.

    A bijection on [0, length) computed by position: no table, whatever the length.
    """
    half = U64(max(1, (max(length - 1, 1).bit_length() + 1) // 2))
    mask = U64((1 << int(half)) - 1)
    keys = [U64(_key("order", seed, epoch, r)) for r in range(_FEISTEL_ROUNDS)]

    def permute(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        left, right = x >> half, x & mask
        for key in keys:
            left, right = right, left ^ (_mix(right, key) & mask)
        return (left << half) | right

    result = permute(positions.astype(U64))
    outside = np.flatnonzero(result >= U64(length))
    while outside.size:  # cycle walking; the domain is at most 4 x length, so this ends after a few turns
        result[outside] = permute(result[outside])
        outside = outside[result[outside] >= U64(length)]
    return result.astype(np.int64)
