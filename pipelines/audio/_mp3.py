"""What an MPEG layer III file says about itself: frames, rate, and the encoder's exact length.

Source: ISO/IEC 11172-3 and 13818-3 (frame headers); the Xing/Info and LAME tags as LAME writes them.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.audio._crc import crc16

_KBPS = {
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_ENCODERS = (b"LAME", b"Lavf", b"Lavc")


@dataclass(frozen=True)
class Frame:
    """One frame header; `size` in bytes with the header, `version` as coded: 3 is MPEG 1, 2 MPEG 2, 0 MPEG 2.5."""

    version: int
    rate_hz: int
    channels: int
    size: int
    plain: bool

    @property
    def samples(self) -> int:
        return 1152 if self.version == 3 else 576

    @property
    def tag_offset(self) -> int:
        """Where a Xing or Info tag stands: after the header and the side information."""
        return 4 + ((32, 17) if self.version == 3 else (17, 9))[self.channels == 1]


@dataclass(frozen=True)
class Stream:
    """The frames of a file that agree with the first in version, rate and channels.

    `runs` are the byte ranges in which `frames` frames follow each other; a plain file has one.
    """

    first: Frame
    runs: tuple[tuple[int, int], ...]
    frames: int
    cut_short: bool
    """Whether the data end inside a frame."""

    @property
    def start(self) -> int:
        return self.runs[0][0]

    @property
    def stop(self) -> int:
        return self.runs[-1][1]


def frame(data: bytes, at: int) -> Frame | None:
    """The frame header at `at`; None when there is none, or one of free format."""
    head = int.from_bytes(data[at : at + 4], "big")
    version, kbps, rate = head >> 19 & 3, head >> 12 & 15, head >> 10 & 3
    if head >> 21 != 0x7FF or version == 1 or head >> 17 & 3 != 1 or kbps in (0, 15) or rate == 3:
        return None
    rate_hz = _RATES_HZ[version][rate]
    per_second = 144_000 if version == 3 else 72_000
    size = per_second * _KBPS[version or 2][kbps] // rate_hz + (head >> 9 & 1)
    return Frame(version, rate_hz, 1 if head >> 6 & 3 == 3 else 2, size, bool(head >> 16 & 1))


def stream(data: bytes) -> Stream | None:
    """The frames at the head of a file (behind an ID3v2 tag) and after any gaps; None when it starts otherwise."""
    start = 0
    if data[:3] == b"ID3" and len(data) > 10:
        a, b, c, d = data[6:10]
        start = 10 + (a << 21 | b << 14 | c << 7 | d) + 10 * bool(data[5] & 0x10)
    first = frame(data, start)
    if first is None:
        return None
    at, frames, cut_short, runs = start, 0, False, []
    found: Frame | None = first
    while found is not None:
        while found is not None and at + found.size <= len(data):
            at, frames = at + found.size, frames + 1
            found = _like(first, data, at)
        cut_short = found is not None
        runs.append((start, at))
        start, found = (at, None) if cut_short else _next(first, data, at)
        at = start
    return Stream(first, tuple(runs), frames, cut_short) if frames > 1 else None


def _like(first: Frame, data: bytes, at: int) -> Frame | None:
    found = frame(data, at)
    same = found and (found.version, found.rate_hz, found.channels) == (first.version, first.rate_hz, first.channels)
    return found if same else None


def _next(first: Frame, data: bytes, at: int) -> tuple[int, Frame | None]:
    """Where, behind a gap, two frames follow each other again."""
    at = data.find(b"\xff", at)
    while at >= 0:
        found = _like(first, data, at)
        if found and _like(first, data, at + found.size):
            return at, found
        at = data.find(b"\xff", at + 1)
    return len(data), None


def _tag_end(data: bytes, at: int) -> int:
    """Where the encoder's own part begins behind the Xing tag at `at`, whose flags tell what else it holds."""
    flags = int.from_bytes(data[at + 4 : at + 8], "big")
    return at + 8 + sum(size for bit, size in ((1, 4), (2, 4), (4, 100), (8, 4)) if flags & bit)


def told_length(data: bytes, s: Stream) -> tuple[int, int] | None:
    """(frames, samples) by the Xing or Info tag in the first frame; None without one that can be trusted.

    An encoder's tag also gives the samples it put before and behind the sound, which decoders remove.
    """
    at = s.start + s.first.tag_offset
    if data[at : at + 4] not in (b"Xing", b"Info") or not s.first.plain or any(data[s.start + 4 : at]):
        return None
    own = _tag_end(data, at)
    if not data[at + 7] & 1 or data[own : own + 4] not in _ENCODERS:
        return None
    frames = int.from_bytes(data[at + 8 : at + 12], "big")
    extra = int.from_bytes(data[own + 21 : own + 24], "big")
    return frames, frames * s.first.samples - (extra >> 12) - (extra & 0xFFF)


def is_whole(data: bytes, s: Stream) -> bool:
    """Whether the encoder's checksum of everything behind the first frame is right."""
    own = _tag_end(data, s.start + s.first.tag_offset)
    told = int.from_bytes(data[own + 32 : own + 34], "big")
    return crc16(data[s.start + s.first.size : s.stop]) == told


def is_tagged(data: bytes, s: Stream) -> bool:
    """Whether the first frame holds a length tag of any kind."""
    at = s.start + s.first.tag_offset
    return data[at : at + 4] in (b"Xing", b"Info") or data[s.start + 36 : s.start + 40] == b"VBRI"


def untagged(data: bytes, s: Stream) -> tuple[bytes, int]:
    """Data that libsndfile decodes in full, and the samples to take.

    It guesses an untagged file's length from the size of the first frame and stops there: with a variable
    bit rate up to two thirds of the sound are lost. Repeating the frames lifts the guess above the true length.
    """
    sound = b"".join(data[start:stop] for start, stop in s.runs)
    times = -(-(s.frames + 1) * s.first.size // len(sound)) + 1
    return sound * times, s.frames * s.first.samples
