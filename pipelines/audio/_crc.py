"""The checksums inside sound files: of an MP3 (LAME tag), of FLAC frames, of Ogg pages."""

from __future__ import annotations

import zlib
from functools import cache

import numpy as np
import numpy.typing as npt

_LANE = 256
_MIRROR = bytes(int(f"{i:08b}"[::-1], 2) for i in range(256))


def crc16(data: bytes) -> int:
    """CRC-16/ARC: polynomial 0x8005, bits mirrored, from 0; what LAME writes of the frames behind its tag.

    It is linear, so lanes of the data are run side by side and then joined.
    """
    step, low, high = _tables()
    padded = np.frombuffer(data.rjust(-(-len(data) // _LANE) * _LANE, b"\0"), np.uint8)  # zeros in front change nothing
    lanes = np.ascontiguousarray(padded.reshape(-1, _LANE).T).astype(np.uint16)
    crc = np.zeros(lanes.shape[1], np.uint16)
    for column in lanes:
        crc = (crc >> 8) ^ step[(crc ^ column) & 255]
    total = 0
    for lane in crc.tolist():
        total = low[total & 255] ^ high[total >> 8] ^ lane
    return total


def flac_frames_whole(data: bytes) -> bool:
    """Whether a run of FLAC frames is undamaged.

    Each frame ends with its CRC-16 (polynomial 0x8005, from 0), which brings the sum back to 0: so does the run.
    """
    return crc16(data.translate(_MIRROR)) == 0


def ogg_crc32(page: bytes) -> int:
    """Ogg's CRC-32: zlib's polynomial with the bits in the other order, and without the inversions."""
    mirrored = zlib.crc32(page.translate(_MIRROR), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_MIRROR), "big")


@cache
def _tables() -> tuple[npt.NDArray[np.uint16], list[int], list[int]]:
    """One byte's step of the CRC, and what _LANE zero bytes make of its low and of its high byte."""
    step = np.arange(256, dtype=np.uint16)
    for _ in range(8):
        step = (step >> 1) ^ np.where(step & 1, np.uint16(0xA001), np.uint16(0))
    far = np.concatenate([np.arange(256, dtype=np.uint16), np.arange(256, dtype=np.uint16) << 8])
    for _ in range(_LANE):
        far = (far >> 8) ^ step[far & 255]
    return step, far[:256].tolist(), far[256:].tolist()
