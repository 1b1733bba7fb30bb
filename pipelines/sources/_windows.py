"""Parts of long sound files: only the part is read, and given as a WAV file of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from struct import pack, unpack
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.errors import RecordError
from pipelines.sources._files import open_file, read_file

# bits of the integers that a file holds, and the type that libsndfile gives them in without loss
_INTEGERS = {
    "PCM_S8": (8, "int16"),
    "PCM_U8": (8, "int16"),
    "PCM_16": (16, "int16"),
    "PCM_24": (24, "int32"),
    "PCM_32": (32, "int32"),
}
_FLOAT = (0, "float32")
# where each sample has its place in the file, so that libsndfile's seek lands on it
_PLACED = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF")
_SIZED = (*_INTEGERS, "FLOAT", "DOUBLE", "ULAW", "ALAW")
_BLOCK = 1 << 16
_UNKNOWN = 1 << 62  # libsndfile's length of a stream that does not tell its own
_MOST_BYTES = (1 << 32) - 64  # sizes in a WAV file are 32 bits


def window(path: str, offset: Any, duration: Any, shown: str) -> bytes:
    """The sound from `offset` seconds on for `duration` seconds, as a WAV file's bytes; RecordError says what is wrong.

    None and "" stand for the beginning and for all that is left; without both it is the file as it is. The first sample
    is number offset x rate and there are duration x rate, each rounded to a whole number, so that equal durations give
    equal lengths. Integers keep their depth, all else is float32. The bytes depend on nothing but the sound.
    """
    import soundfile

    begin, length = _seconds("offset", offset), _seconds("duration", duration)
    if begin is None and length is None:
        return read_file(path, shown)
    try:
        with open_file(path, shown) as held, soundfile.SoundFile(held.fileno(), closefd=False) as file:
            rate = file.samplerate
            count = None if length is None else _samples(length, rate)
            if count == 0:
                raise RecordError(f"the window's duration of {length:.9g} s holds no sample of {shown}, at {rate} Hz")
            if count is None and file.format == "MP3" and not _tells_its_length(held.fileno()):
                raise RecordError(f"{shown} does not tell where it ends: an MP3 without a length tag needs a duration")
            placed = file.format in _PLACED and file.subtype in _SIZED
            flac = file.format == "FLAC"
            bits, dtype = _INTEGERS.get(file.subtype, _FLOAT) if placed or flac else _FLOAT
            skipped = _go_to(file, _samples(begin or 0, rate), placed or (flac and _is_regular(held.fileno())))
            blocks = list(_blocks(file, count, dtype))
            found = sum(map(len, blocks))
            told = file.frames if file.frames < _UNKNOWN else skipped + found
    except OSError as error:
        raise RecordError(f"cannot read {shown}: {error.strerror or error}") from error
    except RuntimeError as error:
        reason = getattr(error, "error_string", str(error))
        raise RecordError(f"libsndfile cannot read a window of {shown}: {reason}") from error
    if not found or found < (count or 0):
        part = f"from {begin or 0:.9g} s on" + ("" if length is None else f" for {length:.9g} s")
        hint = "" if length is None else "; an empty duration stands for all that is left"
        raise RecordError(f"the window {part} goes past the end of {shown}, which lasts {told / rate:.9g} s{hint}")
    return _wav(np.concatenate(blocks), bits, rate)


def _seconds(what: str, value: Any) -> float | None:
    if value is None or (isinstance(value, str) and value == ""):
        return None
    number = -1.0
    with suppress(ValueError, OverflowError):
        if type(value) in (int, float) or (isinstance(value, str) and "_" not in value):  # Python would read 1_000
            number = float(value)
    if not 0 <= number < float("inf"):
        raise RecordError(f"the window's {what} must be a number of seconds >= 0, got {value!r}")
    return number


def _samples(seconds: float, rate: int) -> int:
    return round(min(seconds * rate, float(_UNKNOWN)))  # a file's end comes long before


def _go_to(file: Any, first: int, exact: bool) -> int:
    """Move to sample `first`, or to the end where that is before it; says how far it came.

    libsndfile's seek lands beside the sample in some Ogg files, and fails in others; where it is not known to be exact
    all samples before are decoded.
    """
    file.seekable = lambda: False  # soundfile would seek after each read
    if exact and file.frames < _UNKNOWN:
        return int(file.seek(min(first, file.frames)))
    return sum(map(len, _blocks(file, first, "float32")))


def _blocks(file: Any, count: int | None, dtype: str) -> Iterator[npt.NDArray[Any]]:
    """The next `count` samples, or all that are left, in blocks [time, channel]: a file may tell a wrong length."""
    while count is None or count > 0:
        block = file.read(_BLOCK if count is None else min(_BLOCK, count), dtype=dtype, always_2d=True)
        if not len(block):
            return
        count = None if count is None else count - len(block)
        yield block


def _is_regular(file: int) -> bool:
    """Whether all of a FLAC's frames have the one size that its header tells: only then does a seek find its place."""
    smallest, largest = unpack(">HH", os.pread(file, 4, 8).ljust(4, b"\0"))
    at, last = 4, False
    while not last:
        head = os.pread(file, 4, at)
        if len(head) < 4:
            return False
        last, at = bool(head[0] & 0x80), at + 4 + int.from_bytes(head[1:], "big")
    frame = os.pread(file, 7, at)
    if os.pread(file, 4, 0) != b"fLaC" or len(frame) < 7 or frame[:2] != b"\xff\xf8" or frame[4]:
        return False
    code = frame[2] >> 4
    if code in (6, 7):  # the size stands behind the frame's number, which is 0, in one byte or two
        size = 1 + int.from_bytes(frame[5:code], "big")
    else:
        size = (0, 192, 576, 1152, 2304, 4608)[code] if code < 6 else 128 << (code - 7)
    return bool(smallest == largest == size)


def _tells_its_length(file: int) -> bool:
    """Whether an MP3's first frame holds a length tag; without one libsndfile guesses the length."""
    head = os.pread(file, 10, 0)
    start = 0
    if head[:3] == b"ID3" and len(head) == 10:
        start = 10 + sum(part << shift for part, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        start += 10 * bool(head[5] & 0x10)
    frame = os.pread(file, 64, start)
    return any(tag in frame for tag in (b"Xing", b"Info", b"VBRI"))


def _wav(sound: npt.NDArray[Any], bits: int, rate: int) -> bytes:
    """[time, channel] as a WAV file: integers of `bits` bits (they fill their type from above), or float32 for 0.

    libsndfile would write the time of day into a file of floats.
    """
    if bits == 8:
        data = ((sound >> 8) + 128).astype(np.uint8).tobytes()
    elif bits == 24:
        data = np.ascontiguousarray(sound, "<i4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
    else:
        data = np.ascontiguousarray(sound).astype({16: "<i2", 32: "<i4", 0: "<f4"}[bits], copy=False).tobytes()
    if len(data) > _MOST_BYTES:
        raise RecordError(f"the window holds {len(data)} bytes, expected at most {_MOST_BYTES}")
    sample = sound.shape[1] * (bits // 8 or 4)
    kind = pack("<HHIIHH", 1 if bits else 3, sound.shape[1], rate, rate * sample, sample, bits or 32)
    pad = b"\0" * (len(data) % 2)
    head = b"RIFF" + pack("<I", 36 + len(data) + len(pad)) + b"WAVEfmt " + pack("<I", len(kind)) + kind
    return head + b"data" + pack("<I", len(data)) + data + pad
