"""The samples of a plain WAV file: a slice of its bytes, scaled. No decoder is needed, on either framework."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipelines.audio._headers import Header, Kind

_TYPES = {Kind.WAV_U8: "u1", Kind.WAV_16: "<i2", Kind.WAV_32: "<i4", Kind.WAV_FLOAT: "<f4"}
KINDS = frozenset({*_TYPES, Kind.WAV_24})


def samples(data: bytes, header: Header) -> npt.NDArray[np.float32]:
    """float32[time, channel], integers divided by full scale: what every decoder gives for a file proved plain."""
    count = header.frames * header.channels
    if header.kind == Kind.WAV_24:  # as the upper three bytes of 32 bits
        wide = np.zeros((count, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8, count * 3, header.start).reshape(-1, 3)
        raw = wide.view("<i4")[:, 0]
    else:
        raw = np.frombuffer(data, _TYPES[header.kind], count, header.start)
    wave = raw.astype(np.float32).reshape(-1, header.channels)
    if header.kind == Kind.WAV_U8:
        wave -= 128
    if header.kind != Kind.WAV_FLOAT:
        wave *= 2.0 ** (1 - {Kind.WAV_U8: 8, Kind.WAV_16: 16}.get(header.kind, 32))
    return wave
