"""Decoding on the host with Pillow: every format and variant that the frameworks do not decode alike."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from pipelines.errors import RecordError
from pipelines.image._header import check_size, inner_sizes

logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it logs as errors on stderr, it also raises

Picture = npt.NDArray[np.uint8]
Mode = Literal["rgb", "gray", "rgba", "classes"]
CHANNELS: dict[Mode, int] = {"rgb": 3, "gray": 1, "rgba": 4, "classes": 1}

# raster formats with a signature of their own, decoded in this process (EPS would start Ghostscript)
FORMATS = ["AVIF", "BMP", "DDS", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "PSD", "QOI", "TIFF", "WEBP"]
LUMA = (19595, 38470, 7471)  # ITU-R BT.601 in 1/65536; out = (r R + g G + b B + 32768) >> 16
HARD_LIMIT = 178_956_970  # pixels above which Pillow itself refuses to open a file

_ORIENTATION = 0x0112
_BITS_PER_SAMPLE = 258
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_UNTURN = {6: 8, 8: 6}  # all other orientations undo themselves
_SPREAD = {"L;2": 85, "L;4": 17}  # what Pillow multiplies greys of few bits by


def bind(mode: Mode, upright: bool, max_pixels: int, max_side: int) -> Callable[[bytes], Picture]:
    """A decoder of encoded pictures to uint8[height, width, channel]."""
    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]
    # Pillow warns of odd tags and sizes; what matters raises. A standing filter: catch_warnings is not thread-safe.
    warnings.filterwarnings("ignore", module=r"PIL\.")

    def decode(data: bytes) -> Picture:
        kind: str | None = "picture"
        for width, height in inner_sizes(data):
            check_size(width, height, max_pixels, max_side)
        try:
            with Image.open(io.BytesIO(data), formats=formats) as image:
                kind = image.format
                check_size(image.width, image.height, max_pixels, max_side)
                check_size(*_block(image), max_pixels, max_side)
                pixels = _load(image, upright, _classes if mode == "classes" else _levels)
                check_size(image.width, image.height, max_pixels, max_side)  # an ICO knows its size only now
        except (RecordError, MemoryError):
            raise
        except UnidentifiedImageError:
            raise RecordError(f"unknown format or damaged header; the file begins with {data[:8]!r}") from None
        except Exception as e:  # on damaged files Pillow's readers raise whatever they stumble over
            raise RecordError(f"the {kind} cannot be decoded: {str(e) or type(e).__name__}") from e
        if mode == "classes":
            return pixels
        if mode == "gray":
            return luma(pixels)
        if mode == "rgb":
            return pixels[..., :3]
        return pixels if pixels.shape[-1] == 4 else opaque(pixels)

    return decode


def luma(pixels: Picture) -> Picture:
    """The brightness of RGB pixels by LUMA, as Pillow's "L" has it: uint8[..., 3 or more] to uint8[..., 1]."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels[..., :3])).convert("L"))[..., None]


def opaque(pixels: Picture) -> Picture:
    """RGB pixels with an alpha of 255."""
    return np.concatenate([pixels, np.full_like(pixels[..., :1], 255)], axis=-1)


def turned(pixels: Picture, orientation: int) -> Picture:
    """The picture as a viewer shows it: stored rows and columns moved as the EXIF orientation says."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    return pixels[:: -1 if orientation in (3, 4, 7, 8) else 1, :: -1 if orientation in (2, 3, 6, 7) else 1]


def _load(image: ImageFile.ImageFile, upright: bool, read: Callable[[Any], Picture]) -> Picture:
    stored = image.tile[0][3] if image.tile else None
    before = _orientation(image)
    image.load()
    after = _orientation(image)  # Pillow turns some formats (TIFF) while loading, and then drops the tag
    pixels = read(image)
    if read is _classes and isinstance(stored, str):
        pixels = pixels // np.uint8(_SPREAD.get(stored, 1))
    if upright:
        return turned(pixels, after)
    return pixels if after == before else turned(pixels, _UNTURN.get(before, before))


def _block(image: Image.Image) -> tuple[int, int]:
    """Width and height of what is decoded at once: a tile of a TIFF may be larger than its picture."""
    tags: Any = getattr(image, "tag_v2", {})
    width, length = (tags.get(tag) for tag in (_TILE_WIDTH, _TILE_LENGTH))
    return (width, length) if isinstance(width, int) and isinstance(length, int) else image.size


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow raises what it stumbles over; a damaged EXIF block says nothing, as Header has it
        return 1
    return value if value in range(1, 9) else 1


def _classes(image: Image.Image) -> Picture:
    """The numbers of one channel, uint8[height, width, 1]."""
    if len(image.getbands()) > 1 or image.mode == "F":
        raise RecordError(f"expected classes, a palette or greys, got a picture of mode {image.mode}")
    numbers = np.asarray(image)[..., None]
    if numbers.min(initial=0) < 0 or numbers.max(initial=0) > 255:
        raise RecordError(f"expected classes up to 255, got {int(numbers.max())}")
    return numbers.astype(np.uint8)


def _levels(image: Image.Image) -> Picture:
    """RGB, or RGBA where the picture has any transparency, as uint8."""
    if image.mode[0] in "IF":
        return _wide_levels(image)
    clear = "transparency" in image.info or image.mode in ("LA", "PA", "La", "RGBA", "RGBa")
    if image.mode == "La":
        image = image.convert("LA")  # premultiplied; the only way out of it that Pillow has
    return np.asarray(image.convert("RGBA" if clear else "RGB"))


def _wide_levels(image: Image.Image) -> Picture:
    if not (image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))):
        raise RecordError(f"its samples are 32-bit numbers (mode {image.mode}) without a stated range")
    values = np.asarray(image).astype(np.int32)
    tags: Any = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]  # a TIFF may hold 12
    gray = np.asarray(values >> (bits - 8), np.uint8)
    clear = image.info.get("transparency")
    alpha = [] if clear is None else [np.where(values == clear, 0, 255).astype(np.uint8)]
    return np.stack([gray, gray, gray, *alpha], -1)
