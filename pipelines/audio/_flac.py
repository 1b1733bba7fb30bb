"""Whether a FLAC file is whole: metadata, frames and their checksums, and the length that the header tells.

Source: RFC 9639.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.audio._crc import flac_frames_whole

_COMMENTS = 4


@dataclass(frozen=True)
class Stream:
    """The STREAMINFO block of a file that is whole: `frames` samples per channel, `md5` of all of them."""

    rate_hz: int
    channels: int
    bits: int
    frames: int
    md5: bytes


def whole(data: bytes) -> Stream | None:
    """What STREAMINFO says of a file of blocks of one size that bears it out in every way; None for all others.

    tensorflow-io never returns from some damaged files, nor from one that holds less than its header tells;
    of a stream that tells no length it gives 0 samples, and it gives up on blocks larger than told.
    """
    if len(data) < 42 or data[4] & 0x7F or data[5:8] != b"\0\0\x22":
        return None
    at, last = 4, False
    while not last and at + 4 <= len(data):
        last, kind, size = bool(data[at] & 0x80), data[at] & 0x7F, int.from_bytes(data[at + 1 : at + 4], "big")
        if kind > _COMMENTS or (kind == _COMMENTS and not _comments_fit(data[at + 4 : at + 4 + size])):
            return None  # libsndfile fails when a comment or a picture is damaged
        at += 4 + size
    packed = int.from_bytes(data[18:26], "big")
    found = Stream(packed >> 44, (packed >> 41 & 7) + 1, (packed >> 36 & 31) + 1, packed & (1 << 36) - 1, data[26:42])
    least, most = int.from_bytes(data[8:10], "big"), int.from_bytes(data[10:12], "big")
    plain = last and any(found.md5) and least == most and _frame(data, at) == (0, min(most, found.frames))
    if not plain or not flac_frames_whole(data[at:]) or _end(data, at, most) != found.frames:
        return None
    return found


def _frame(data: bytes, at: int) -> tuple[int, int] | None:
    """Number and samples of the frame whose header stands at `at`; None when there is none."""
    head = data[at : at + 16].ljust(16, b"\0")
    if head[:2] != b"\xff\xf8":
        return None
    ones = 8 - (head[4] ^ 0xFF).bit_length()  # the number is coded like a letter in UTF-8
    more = max(ones - 1, 0)
    number = head[4] & (0x7F >> ones)
    for byte in head[5 : 5 + more]:
        number = number << 6 | byte & 0x3F
    code, behind = head[2] >> 4, 5 + more
    if code in (6, 7):
        return number, int.from_bytes(head[behind : behind + code - 5], "big") + 1
    samples = (0, 192, 576, 1152, 2304, 4608, 0, 0)[code] if code < 8 else 256 << (code - 8)
    return (number, samples) if samples else None


def _end(data: bytes, start: int, block: int) -> int:
    """Samples up to the end of the last frame, by its number; -1 when there is no last frame."""
    at = data.rfind(b"\xff\xf8", start)
    while at >= 0:
        found = _frame(data, at)
        if found and flac_frames_whole(data[at:]):
            return found[0] * block + found[1]
        at = data.rfind(b"\xff\xf8", start, at + 1)
    return -1


def _comments_fit(block: bytes) -> bool:
    """Whether the lengths in a Vorbis comment add up to the block: vendor, count, comments."""
    vendor = 4 + int.from_bytes(block[:4], "little")
    left, at = int.from_bytes(block[vendor : vendor + 4], "little"), vendor + 4
    while left and at + 4 <= len(block):
        left, at = left - 1, at + 4 + int.from_bytes(block[at : at + 4], "little")
    return not left and at == len(block)
