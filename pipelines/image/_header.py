"""What a picture file says about itself before anything is decoded: format, size, orientation, damage.

JPEG and PNG files are walked marker by marker and chunk by chunk. Both frameworks ask here, so both
refuse the same files: libjpeg and libpng, as each framework calls them, forgive different damage.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from pipelines.errors import RecordError

JPEG, PNG, OTHER = range(3)

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PALETTE = 3  # PNG colour type
_NO_LENGTH = frozenset([0x01, *range(0xD0, 0xD9)])  # JPEG markers that stand alone
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HUFFMAN_FRAMES = frozenset([0xC0, 0xC1, 0xC2])
_PLAIN_LUMA = frozenset([(1, 1), (2, 1), (2, 2)])  # 4:4:4, 4:2:2, 4:2:0; others, 4:4:0 say, are upsampled differently
_ORIENTATION = 0x0112


class Header(NamedTuple):
    """`plain` says that libjpeg or libpng gives the same pixels in both frameworks.

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


def _jpeg(data: bytes) -> Header:
    frame: tuple[int, int, bool] | None = None
    orientation = 0
    at = 2
    while True:
        at = data.find(b"\xff", at)
        while data[at + 1 : at + 2] == b"\xff":  # fill bytes
            at += 1
        if at < 0 or at + 4 > len(data):
            raise RecordError("the JPEG is cut off in its header")
        marker = data[at + 1]
        if marker == 0 or marker in _NO_LENGTH:
            at += 2
            continue
        if marker == 0xD9:
            raise RecordError("the JPEG ends before its picture begins")
        body = at + 4
        end = at + 2 + int.from_bytes(data[at + 2 : body], "big")
        if marker in _FRAMES and frame is None:
            frame = _jpeg_frame(marker, data[body:end])
        elif marker == 0xE1 and not orientation and data.startswith(b"Exif\0\0", body):
            orientation = read_orientation(data[body + 6 : end])
        elif marker == 0xDA:
            break
        at = max(end, body)
    if frame is None:
        raise RecordError("the JPEG has no frame header")
    if data.rfind(b"\xff\xd9", at) < 0:
        raise RecordError("the JPEG is cut off: it has no end marker")
    width, height, plain = frame
    return Header(JPEG, width, height, orientation or 1, plain, True)


def _jpeg_frame(marker: int, body: bytes) -> tuple[int, int, bool]:
    if len(body) < 6 or len(body) < 6 + 3 * body[5]:
        raise RecordError("the JPEG's frame header is cut off")
    precision, height, width, parts = struct.unpack(">BHHB", body[:6])
    sampling = [divmod(body[7 + 3 * i], 16) for i in range(parts)]
    colour = parts == 3 and sampling[0] in _PLAIN_LUMA and sampling[1] == sampling[2] == (1, 1)
    return width, height, marker in _HUFFMAN_FRAMES and precision == 8 and (parts == 1 or colour)


def _png(data: bytes) -> Header:
    view = memoryview(data)
    width = height = depth = 0
    orientation, alpha, pixels = 1, True, False
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
        if name == b"IHDR":
            width, height, depth, colour = struct.unpack_from(">IIBB", data, body)
            alpha = colour != _PALETTE
        elif name == b"IDAT":
            pixels = True
        elif name == b"tRNS":
            alpha = False
        elif name == b"eXIf":
            orientation = read_orientation(data[body:end])
        elif name == b"IEND":
            break
        at = end + 4
    if not pixels:
        raise RecordError("the PNG is damaged: it has no pixels")
    return Header(PNG, width, height, orientation, depth <= 8, alpha)


def read_orientation(exif: bytes) -> int:
    """The orientation tag, 1 to 8, of an EXIF block; 1 where it is absent or makes no sense."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for i in range(count):
            tag, kind = struct.unpack_from(f"{order}HH", exif, start + 2 + 12 * i)
            if tag == _ORIENTATION:
                (value,) = struct.unpack_from(order + {3: "H", 4: "I"}.get(kind, "H"), exif, start + 10 + 12 * i)
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        pass  # a cut-off block says nothing
    return 1
