"""Picture files to pixels."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from pipelines import companions
from pipelines.image import _pillow
from pipelines.image._header import JPEG, OTHER, PNG, Header, check_size, read_header
from pipelines.image._pillow import CHANNELS, HARD_LIMIT, LUMA, Mode
from pipelines.spec import BYTES, Spec, picture
from pipelines.step import Example, Identical, Kernel, Step


def _encoded(image: Image.Image, **how: Any) -> bytes:
    image.save(file := io.BytesIO(), **how)
    return file.getvalue()


def _files(rng: np.random.Generator) -> Sequence[bytes]:
    """A colour JPEG, a gray one on its side, a PNG with alpha, a 16-bit PNG, a palette GIF."""

    def noise(*shape: int) -> Image.Image:
        return Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))

    turned = Image.Exif()
    turned[0x0112] = 6
    return [
        _encoded(noise(17, 11, 3), format="JPEG", quality=90),
        _encoded(noise(11, 17), format="JPEG", exif=turned),
        _encoded(noise(9, 16, 4), format="PNG"),
        _encoded(Image.fromarray(rng.integers(0, 65536, (7, 8), dtype=np.uint16)), format="PNG"),
        _encoded(noise(8, 5, 3).quantize(16), format="GIF"),
    ]


def _masks(rng: np.random.Generator) -> Sequence[bytes]:
    """Classes by a palette, and greys of 1, 8 and 16 bits."""
    few = rng.integers(0, 2, (9, 16))
    made = [Image.fromarray(rng.integers(0, 21, (11, 7), dtype=np.uint8)) for _ in range(2)]
    made[0].putpalette(rng.integers(0, 256, 768, dtype=np.uint8).tobytes())
    made += [Image.fromarray(few.astype(bool)), Image.fromarray(few.astype(np.uint16))]
    return [_encoded(image, format="PNG") for image in made]


class Decode(Step):
    """Decodes a picture file: JPEG, PNG, GIF, BMP, WebP, TIFF, and what else Pillow reads by signature.

    Takes  bytes
    Gives  uint8[height, width, channel]   levels in [0, 255], or class numbers

    `mode` "rgb" and "gray" drop transparency, they do not blend it with a colour; "rgba" keeps it, 255 where
    the file has none. Gray is (19595 R + 38470 G + 7471 B + 32768) >> 16 of the RGB picture. "classes" is for masks:
    the numbers of one channel as the file stores them, places in its palette or greys of 1 to 16 bits; a picture in
    colours, or a number above 255, fails. Otherwise 16-bit samples keep their upper 8 bits; 32-bit ones fail. Of
    several frames or pages the first is taken. `orientation` "apply", the default, turns the picture as its EXIF (or
    XMP) says, since that is what people see and annotate; "ignore" leaves the rows as they are stored, as torchvision
    and TensorFlow do by themselves.
    A file that is empty, cut off, damaged, unknown, above `max_pixels` or with a side above `max_side` pixels fails
    its record; sizes are checked before decoding, so that no memory is taken for what is refused, and so are JPEGs of
    more than 100 scans. Damage within the compressed pixels of a JPEG that its structure does not show is no failure:
    what libjpeg makes of these pixels may differ between the frameworks.
    Source: torchvision.io.decode_jpeg and decode_png; tf.io.decode_jpeg (accurate DCT) and decode_png; Pillow on
    the host where these differ (4:4:0 and CMYK JPEG, 16-bit PNG, transparent palettes), cannot decode or are gone.
    """

    mode: Mode = "rgb"
    orientation: Literal["apply", "ignore"] = "apply"
    max_pixels: Annotated[int, Field(gt=0, le=HARD_LIMIT)] = 89_478_485
    max_side: Annotated[int, Field(gt=0)] = 65_535

    agreement = Identical("the same libjpeg, libpng or Pillow arithmetic; gray is integer arithmetic")
    batches = False
    examples = (
        Example(BYTES, {}, _files),
        Example(BYTES, {"mode": "gray", "orientation": "ignore"}, _files),
        Example(BYTES, {"mode": "rgba"}, _files),
        Example(BYTES, {"mode": "classes"}, _masks),
    )

    def out_spec(self, x: Spec) -> Spec:
        x.need(("bytes",), exactly=())
        found = picture(None, None, CHANNELS[self.mode])
        return found.but(unit="class") if self.mode == "classes" else found

    def look(self, data: bytes) -> Header:
        """The file's header, `kind` being who decodes it: JPEG and PNG the framework, OTHER Pillow."""
        header = read_header(data)
        if header.kind != OTHER:
            check_size(header.width, header.height, self.max_pixels, self.max_side)
        alike = header.plain and self.mode != "classes" and (header.alpha or self.mode != "rgba")
        return header if alike else header._replace(kind=OTHER)

    def host(self) -> Kernel:
        """The Pillow decoder, which turns the picture itself."""
        return _pillow.bind(self.mode, self.orientation == "apply", self.max_pixels, self.max_side)

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        host = self.host()
        alpha = self.mode == "rgba"
        by_torchvision = companions.usable("torchvision.io")
        if by_torchvision:
            from torchvision.io import ImageReadMode, decode_jpeg, decode_png

            # later releases say with each picture that they will hand this to another library
            warnings.filterwarnings("ignore", "The image decoding and encoding", DeprecationWarning)
            png_mode = ImageReadMode.RGB_ALPHA if alpha else ImageReadMode.RGB

        def kernel(data: bytes) -> torch.Tensor:
            header = self.look(data)
            if header.kind == OTHER or not by_torchvision:
                return torch.from_numpy(np.array(np.moveaxis(host(data), -1, 0), order="C"))
            stored = torch.frombuffer(bytearray(data), dtype=torch.uint8)  # a copy: `bytes` cannot be written to
            pixels = decode_jpeg(stored, ImageReadMode.RGB) if header.kind == JPEG else decode_png(stored, png_mode)
            if alpha and header.kind == JPEG:
                pixels = torch.cat([pixels, torch.full_like(pixels[:1], 255)])
            if self.mode == "gray":
                red, green, blue = pixels.to(torch.int32)
                pixels = ((LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue + 32768) >> 16).to(torch.uint8)[None]
            return turned(pixels, header.orientation) if self.orientation == "apply" else pixels

        def turned(pixels: torch.Tensor, orientation: int) -> torch.Tensor:
            if orientation >= 5:
                pixels = pixels.transpose(-1, -2)
            axes = [axis for axis, moved in ((-2, (3, 4, 7, 8)), (-1, (2, 3, 6, 7))) if orientation in moved]
            return pixels.flip(axes) if axes else pixels

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        host = self.host()
        channels = CHANNELS[self.mode]
        apply = self.orientation == "apply"

        def look(data: Any) -> Any:
            header = self.look(file(data))
            return np.array([header.kind, header.orientation if apply and header.kind != OTHER else 1], np.int32)

        def file(data: Any) -> bytes:
            return bytes(data.item()) if isinstance(data, np.ndarray) else bytes(data)  # an array when run eagerly

        def jpeg(data: tf.Tensor) -> tf.Tensor:
            pixels = tf.io.decode_jpeg(data, 3, dct_method="INTEGER_ACCURATE")
            if channels != 4:
                return pixels
            return tf.concat([pixels, tf.ones_like(pixels[..., :1]) * 255], -1)

        def gray(pixels: tf.Tensor) -> tf.Tensor:
            red, green, blue = tf.unstack(tf.cast(pixels, tf.int32), 3, -1)
            wide = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue + 32768
            return tf.cast(tf.bitwise.right_shift(wide, 16), tf.uint8)[..., None]

        def turned(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
            pixels = tf.cond(orientation >= 5, lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels)
            rows = tf.reduce_any(orientation == [3, 4, 7, 8])
            columns = tf.reduce_any(orientation == [2, 3, 6, 7])
            return tf.raw_ops.Reverse(tensor=pixels, dims=tf.stack([rows, columns, False]))

        def kernel(data: tf.Tensor) -> tf.Tensor:
            header = tf.numpy_function(look, [data], tf.int32)
            header.set_shape([2])
            finish = gray if self.mode == "gray" else tf.identity
            branches = {
                JPEG: lambda: finish(jpeg(data)),
                PNG: lambda: finish(tf.io.decode_png(data, max(channels, 3))),
                OTHER: lambda: tf.numpy_function(lambda data: host(file(data)), [data], tf.uint8),
            }
            pixels = tf.switch_case(header[0], branches)
            pixels.set_shape([None, None, channels])
            if apply:
                pixels = tf.cond(header[1] > 1, lambda: turned(pixels, header[1]), lambda: pixels)
            return pixels

        return kernel
