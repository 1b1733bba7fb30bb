"""What a picture file says about itself before anything is decoded: format, size, orientation, damage.

JPEG and PNG files are walked marker by marker and chunk by chunk. Both frameworks ask here, so both
refuse the same files: libjpeg and libpng, as each framework calls them, forgive different damage.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from pipelines.errors import RecordError

JPEG, PNG, OTHER = range(3)

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PALETTE = 3  # PNG colour type
# a marker with a length, or the end; not stuffing, fill bytes or the markers that stand alone
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HUFFMAN_FRAMES = frozenset([0xC0, 0xC1, 0xC2])
_PLAIN_LUMA = frozenset([(1, 1), (2, 1), (2, 2)])  # 4:4:4, 4:2:2, 4:2:0; others, 4:4:0 say, are upsampled differently
_ORIENTATION = 0x0112
_NO_END = "the JPEG is cut off: it has no end marker"
_MOST_SCANS = 100  # an ordinary progressive picture has about ten; each goes through all its pixels again
_XMP_ORIENTATION = b"tiff:Orientation"  # what counts where EXIF says nothing; Pillow knows how to read it
_PNG_PROFILES = (b"Raw profile type exif", b"XML:com.adobe.xmp")


class Header(NamedTuple):
    """`plain` says that libjpeg or libpng gives the same pixels in both frameworks, and that the header tells all.

    `alpha` says the same of the transparency (not so in PNGs with a palette or a tRNS chunk).
    `orientation` is the EXIF tag, 1 to 8; width and height are those of the stored picture. Of a
    file that is neither JPEG nor PNG nothing is known yet.
    """

    kind: int
    width: int = 0
    height: int = 0
    orientation: int = 1
    plain: bool = False
    alpha: bool = False


def read_header(data: bytes) -> Header:
    """The header of an encoded picture; RecordError when the file is empty, cut off or damaged."""
    if not data:
        raise RecordError("the file is empty")
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith(_PNG_SIGNATURE):
        return _png(data)
    return Header(OTHER)


def check_size(width: int, height: int, max_pixels: int, max_side: int) -> None:
    """Raise RecordError for a picture without pixels or above a limit."""
    if width < 1 or height < 1:
        raise RecordError(f"the picture has no pixels: {width} x {height}")
    if max(width, height) > max_side:
        raise RecordError(f"the picture is {width} x {height}; expected sides up to {max_side} (max_side)")
    if width * height > max_pixels:
        raise RecordError(f"the picture is {width} x {height}; expected at most {max_pixels} pixels (max_pixels)")


def inner_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """Width and height of what a WebP or the pictures of an ICO say of themselves: readers take memory by these."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        if data[12:16] == b"VP8X":
            yield int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
        elif data[12:16] == b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            yield (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        elif data[12:16] == b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            yield width & 0x3FFF, height & 0x3FFF
    if data[:4] == b"\0\0\1\0":
        for place in range(6, 6 + 16 * int.from_bytes(data[4:6], "little"), 16):
            at = int.from_bytes(data[place + 12 : place + 16], "little")
            if data[at : at + 8] == _PNG_SIGNATURE and at + 24 <= len(data):
                yield struct.unpack_from(">II", data, at + 16)
            elif at + 12 <= len(data):  # a bitmap and its mask, one above the other
                width, height = struct.unpack_from("<ii", data, at + 4)
                yield abs(width), abs(height) // 2


def _jpeg(data: bytes) -> Header:
    frame: _Frame | None = None
    tables: set[int] = set()
    orientation, xmp = 0, False
    for marker, body, at in _segments(data):
        if marker in _FRAMES and frame is None:
            frame = _Frame(marker, body)
        elif marker == 0xC4:
            tables |= _huffman_tables(body)
        elif marker == 0xE1 and body.startswith(b"Exif\0\0"):
            orientation = orientation or read_orientation(body[6:])
        elif marker == 0xE1:
            xmp = xmp or _XMP_ORIENTATION in body
        elif marker == 0xDA:
            if frame is None:
                raise RecordError("the JPEG has no frame header")
            if frame.scans == _MOST_SCANS:
                raise RecordError(f"the JPEG has more than {_MOST_SCANS} scans")
            if frame.scan(body, tables):
                if data.rfind(b"\xff\xd9", at) < 0:
                    raise RecordError(_NO_END)
                break
    if frame is None or not frame.scans:
        raise RecordError("the JPEG ends before its picture begins")
    plain = frame.plain and frame.complete and not (xmp and not orientation)
    return Header(JPEG, frame.width, frame.height, orientation or 1, plain, True)


def _segments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Markers, what they hold, and where that ends, up to the end marker; compressed pixels are jumped over."""
    at = 2
    while found := _MARKER.search(data, at):
        marker, body = data[found.end() - 1], found.end() + 2
        if marker == 0xD9:
            return
        at = max(found.end() + int.from_bytes(data[found.end() : body], "big"), body)
        yield marker, data[body:at], at
    raise RecordError(_NO_END)


def _huffman_tables(body: bytes) -> set[int]:
    """What a table segment defines, each as 16 x class + number."""
    found, at = set(), 0
    while at + 17 <= len(body):
        found.add(body[at])
        at += 17 + sum(body[at + 1 : at + 17])
    return found


class _Frame:
    """A JPEG's frame header, and what its scans have brought so far."""

    def __init__(self, marker: int, body: bytes) -> None:
        if len(body) < 6 or len(body) < 6 + 3 * body[5]:
            raise RecordError("the JPEG's frame header is cut off")
        precision, self.height, self.width, self.parts = struct.unpack(">BHHB", body[:6])
        sampling = [divmod(body[7 + 3 * i], 16) for i in range(self.parts)]
        colour = self.parts == 3 and sampling[0] in _PLAIN_LUMA and sampling[1] == sampling[2] == (1, 1)
        self.progressive = marker == 0xC2
        self.plain = marker in _HUFFMAN_FRAMES and precision == 8 and (self.parts == 1 or colour)
        self.bits = {body[6 + 3 * i]: [99] * 64 for i in range(self.parts)}
        self.scans = 0

    @property
    def complete(self) -> bool:
        """Whether every coefficient has all its bits; what libjpeg makes of others depends on its version."""
        return not self.progressive or not any(map(any, self.bits.values()))

    def scan(self, body: bytes, tables: set[int]) -> bool:
        """Take in a scan header; True when no other scan need be looked at."""
        self.scans += 1
        count = body[0] if body else 0
        if not self.plain or len(body) != 4 + 2 * count:
            self.plain = False
            return True
        first, last, step = body[-3:]
        for i in range(count):
            part, (dc, ac) = body[1 + 2 * i], divmod(body[2 + 2 * i], 16)
            needed = {dc, 16 + ac}
            if self.progressive:
                self.bits.setdefault(part, [0] * 64)[first : last + 1] = [step % 16] * (last + 1 - first)
                needed = {16 + ac} if first else set() if step >= 16 else {dc}
            # one libjpeg falls back to standard tables where another fails
            self.plain = self.plain and needed <= tables
        return not self.progressive and count == self.parts


def _png(data: bytes) -> Header:
    view = memoryview(data)
    width = height = depth = 0
    orientation, alpha, pixels, plain = 0, True, False, True
    at = len(_PNG_SIGNATURE)
    while True:
        if at + 12 > len(data):
            raise RecordError("the PNG is cut off")
        length, name = struct.unpack_from(">I4s", data, at)
        body, end = at + 8, at + 8 + length
        if end + 4 > len(data):
            raise RecordError("the PNG is cut off")
        # a chunk in lower case may be damaged without harm, unless it is one that is used here
        used = not name[0] & 0x20 or name in (b"tRNS", b"eXIf")
        if used and zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise RecordError(f"the PNG is damaged: wrong checksum in its {name!r} chunk")
        if not depth and (name != b"IHDR" or length != 13):
            raise RecordError("the PNG is damaged: it does not begin with its header")
        if name == b"IHDR" and depth:
            raise RecordError("the PNG is damaged: it has two headers")
        if name == b"IHDR":
            width, height, depth, colour = struct.unpack_from(">IIBB", data, body)
            alpha, plain = colour != _PALETTE, depth <= 8
        elif name == b"IDAT":
            pixels = True
        elif name == b"tRNS":
            alpha = False
        elif name == b"eXIf":
            orientation = read_orientation(data[body:end])
        elif name in (b"tEXt", b"zTXt", b"iTXt") and data.startswith(_PNG_PROFILES, body):
            plain = False
        elif name == b"IEND":
            break
        at = end + 4
    if not pixels:
        raise RecordError("the PNG is damaged: it has no pixels")
    return Header(PNG, width, height, orientation or 1, plain, alpha)


def read_orientation(exif: bytes) -> int:
    """The orientation tag, 1 to 8, of an EXIF block; 0 where it is absent or makes no sense."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 0
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for i in range(count):
            tag, kind = struct.unpack_from(f"{order}HH", exif, start + 2 + 12 * i)
            if tag == _ORIENTATION:
                (value,) = struct.unpack_from(order + {3: "H", 4: "I"}.get(kind, "H"), exif, start + 10 + 12 * i)
                return int(value) if 1 <= value <= 8 else 0
    except struct.error:
        pass  # a cut-off block says nothing
    return 0
