"""The samples of a plain WAV file: a slice of its bytes, scaled. No decoder is needed, on either framework."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.audio._headers import Header, Kind

_TYPES = {Kind.WAV_U8: "u1", Kind.WAV_16: "<i2", Kind.WAV_32: "<i4", Kind.WAV_FLOAT: "<f4"}
_SCALES = {Kind.WAV_U8: 2.0**-7, Kind.WAV_16: 2.0**-15, Kind.WAV_24: 2.0**-31, Kind.WAV_32: 2.0**-31}
KINDS = frozenset({*_TYPES, Kind.WAV_24})


def samples(data: bytes, header: Header) -> npt.NDArray[np.float32]:
    """float32[time, channel], integers divided by full scale: what every decoder gives for a file proved plain."""
    return _scaled(_stored(data, header), header.kind).reshape(-1, header.channels)


def in_a_row(files: Sequence[bytes], headers: Sequence[Header]) -> npt.NDArray[np.float32]:
    """The samples of at least one file of one channel, all of one kind, one file after the other."""
    return _scaled(np.concatenate([*map(_stored, files, headers)]), headers[0].kind)


def _stored(data: bytes, header: Header) -> npt.NDArray[Any]:
    count = header.frames * header.channels
    if header.kind != Kind.WAV_24:
        return np.frombuffer(data, _TYPES[header.kind], count, header.start)
    wide = np.zeros((count, 4), np.uint8)  # its three bytes are the upper ones of 32 bits
    wide[:, 1:] = np.frombuffer(data, np.uint8, count * 3, header.start).reshape(-1, 3)
    return np.asarray(wide.view("<i4")[:, 0])


def _scaled(stored: npt.NDArray[Any], kind: Kind) -> npt.NDArray[np.float32]:
    wave = stored.astype(np.float32, copy=not stored.flags.writeable)
    if kind == Kind.WAV_U8:
        wave -= 128
    if kind != Kind.WAV_FLOAT:
        wave *= _SCALES[kind]
    return wave
