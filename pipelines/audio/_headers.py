"""Which sound files are so plain that every decoder gives the same samples for them.

`inspect` reads an encoded file's header. For a file whose structure is proved whole and ordinary it
gives the kind, rate, channels and exact length, and each framework's own decoder may be used; all
others are HOST, which means libsndfile on both frameworks. Files that are evidently cut short fail.
"""

from __future__ import annotations

from enum import IntEnum
from struct import unpack_from
from typing import NamedTuple

from pipelines.audio import _flac, _mp3
from pipelines.audio._crc import ogg_crc32
from pipelines.errors import RecordError

_MOST_CHANNELS = 16
_SUBFORMAT = bytes.fromhex("000000001000800000aa00389b71")  # behind the 2-byte tag of a WAVE_FORMAT_EXTENSIBLE
_STREAMED = 0x7FFF0000  # a data chunk of at least this size was written by a program that could not seek back
_CHUNKS = (b"fmt ", b"fact", b"PEAK", b"LIST", b"JUNK")  # before the sound; libsndfile may stop at others


class Kind(IntEnum):
    """How a file is coded."""

    HOST = 0
    WAV_U8 = 1
    WAV_16 = 2
    WAV_24 = 3
    WAV_32 = 4
    WAV_FLOAT = 5
    FLAC_8 = 6
    FLAC_16 = 7
    FLAC_24 = 8
    VORBIS = 9
    MP3 = 10


_WAVS = {
    (1, 8): Kind.WAV_U8,
    (1, 16): Kind.WAV_16,
    (1, 24): Kind.WAV_24,
    (1, 32): Kind.WAV_32,
    (3, 32): Kind.WAV_FLOAT,
}
"""By format tag and bits of a sample."""


class Header(NamedTuple):
    """What a header says; only the kind when that is HOST.

    `start` is where a WAV's samples begin, `md5` that of a FLAC's samples, in hexadecimal.
    """

    kind: Kind
    rate_hz: int = 0
    channels: int = 0
    frames: int = 0
    md5: bytes = b""
    start: int = 0


HOST = Header(Kind.HOST)


def inspect(data: bytes) -> Header:
    """The header of an encoded file, or RecordError when it is cut short or a checksum is wrong."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return _wav(data)
    if data[:4] == b"fLaC":
        return _flac_header(data)
    if data[:4] == b"OggS":
        return _ogg(data)
    if data[:3] == b"ID3" or (data[:1] == b"\xff" and len(data) > 4):
        return _mpeg(data)
    return HOST


def _wav(data: bytes) -> Header:
    at, odd, found = 12, False, None
    while at + 8 <= len(data):
        name, size = data[at : at + 4], unpack_from("<I", data, at + 4)[0]
        if name == b"data":
            break
        if name == b"fmt ":
            found = found or at + 8
            odd = odd or size not in (16, 18, 40) or at + 8 + size > len(data) or found != at + 8
        odd = odd or bool(size % 2) or name not in _CHUNKS or not found  # tensorflow-io wants the format first
        at += 8 + size + size % 2
    else:
        return HOST
    there = len(data) - at - 8
    tag, channels, rate_hz, _, block, bits = (
        unpack_from("<HHIIHH", data, found) if found and found + 16 <= len(data) else (0,) * 6
    )
    if there + max(block, 1) <= size < _STREAMED:
        raise RecordError(f"the file is cut short: its header tells of {size} bytes of sound, {there} are there")
    if found is None or odd or size % 2 or size > there or not 0 < channels <= _MOST_CHANNELS:
        return HOST
    if tag == 0xFFFE and unpack_from("<I", data, found - 4)[0] == 40:
        plain = unpack_from("<H", data, found + 18)[0] == bits and data[found + 26 : found + 40] == _SUBFORMAT
        tag = unpack_from("<H", data, found + 24)[0] if plain else 0
    kind = _WAVS.get((tag, bits), Kind.HOST)
    whole = size % block == 0 if block else False
    if kind == Kind.HOST or block * 8 != channels * bits or not whole or not size:
        return HOST
    if not at + 8 + size <= unpack_from("<I", data, 4)[0] + 8 <= len(data) + 1 or not _chunks_fit(data, at + 8 + size):
        return HOST
    return Header(kind, rate_hz, channels, size // block, start=at + 8)


def _chunks_fit(data: bytes, at: int) -> bool:
    """Whether whole chunks of even size, and no second format or sound, fill the file from `at` on, or nothing does.

    tensorflow-io reads past the end behind an odd chunk, and joins a second sound to the first.
    """
    while at + 8 <= len(data):
        name, size = data[at : at + 4], unpack_from("<I", data, at + 4)[0]
        if name in (b"fmt ", b"data") or size % 2 or any(not 32 <= byte < 127 for byte in name):
            return False
        at += 8 + size
    return at == len(data)


def _flac_header(data: bytes) -> Header:
    found = _flac.whole(data)
    kind = {8: Kind.FLAC_8, 16: Kind.FLAC_16, 24: Kind.FLAC_24}.get(found.bits) if found else None
    if not found or not kind:
        return HOST
    return Header(kind, found.rate_hz, found.channels, found.frames, found.md5.hex().encode())


def _ogg(data: bytes) -> Header:
    """One whole Vorbis stream: every page's checksum right, none missing, from sample 0 to the marked end."""
    at, count, plain, most, begun = 0, 0, True, 0, False
    serial, granule = data[14:18], -1
    while at < len(data) and data[at : at + 4] == b"OggS":
        if at + 27 > len(data) or at + 27 + data[at + 26] > len(data):
            raise RecordError("the file is cut short within an Ogg page")
        lacing = data[at + 27 : at + 27 + data[at + 26]]
        stop = at + 27 + len(lacing) + sum(lacing)
        if stop > len(data):
            raise RecordError("the file is cut short within an Ogg page")
        flags, place = data[at + 5], unpack_from("<q", data, at + 6)[0]
        sequence, check = unpack_from("<II", data, at + 18)
        page = data[at : at + 22] + bytes(4) + data[at + 26 : stop]
        if ogg_crc32(page) != check:  # decoders would leave the page's sound out
            raise RecordError(f"the file is damaged: the checksum of its Ogg page {count} is wrong")
        plain = plain and data[at + 14 : at + 18] == serial and sequence == count
        plain = plain and bool(flags & 2) == (count == 0) and bool(flags & 4) == (stop == len(data))
        if count > 0 and place > 0:
            most += sum(1 for n in lacing if n < 255)
            if not begun:  # a stream cut out of a longer one starts at a later sample than its packets can hold
                begun = True
                plain = plain and place <= most * (1 << (data[56] >> 4)) // 2
        granule = max(granule, place)
        at, count = stop, count + 1
    vendor = data.find(b"\x03vorbis", 0, 8192)
    known = data[vendor + 11 : vendor + 33] == b"Xiph.Org libVorbis I 2" if vendor > 0 else False
    if not plain or at != len(data) or data[28:35] != b"\x01vorbis" or not known or granule <= 0:
        return HOST
    return Header(Kind.VORBIS, unpack_from("<I", data, 40)[0], data[39], granule)


def _mpeg(data: bytes) -> Header:
    stream = _mp3.stream(data)
    told = stream and _mp3.told_length(data, stream)
    if not stream or not told:
        return HOST
    frames, samples = told
    if frames > stream.frames - stream.cut_short:  # one more, in a whole file, may be the tag's own frame
        raise RecordError(f"the file is cut short: its header tells of {frames} frames, {stream.frames - 1} are there")
    tail = data[stream.stop :]
    ends = not tail or (len(tail) == 128 and tail[:3] == b"TAG")
    unbroken = len(stream.runs) == 1 and frames == stream.frames - 1 and ends and samples > 0
    if not unbroken or not _mp3.is_whole(data, stream):
        return HOST
    return Header(Kind.MP3, stream.first.rate_hz, stream.first.channels, samples)
