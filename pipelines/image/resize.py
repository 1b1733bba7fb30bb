"""Resizing."""

from __future__ import annotations

from typing import ClassVar

from pipelines.errors import RecordError
from pipelines.image import _resize
from pipelines.image._resize import MOST_PIXELS, Method, Side, check_target
from pipelines.spec import Axis, Spec, picture
from pipelines.step import Example, Kernel, Levels, Step


class Resize(Step):
    """Scales a picture to a size in pixels.

    Takes  uint8 or float32 [..., height, width, channel]
    Gives  the same type and range; out[y, x] is the weighted mean of the input around the same relative place,
           uint8 rounded half up after each axis, width first; "nearest" takes in[floor((y + 1/2) H / h), ..]

    `size` is the short side, the long one being floor(size long / short), or [height, width]. `antialias`
    widens the filter when the picture shrinks, so that every pixel counts. A picture without pixels, or one that
    would grow beyond 178,956,970 pixels, fails its record.
    Source: Pillow's Image.resize; torch's interpolate (uint8 by its own integer kernel), its antialias=False
    cubic replaced, since it has a = -3/4 where Pillow and TensorFlow have -1/2; tf.raw_ops.ScaleAndTranslate,
    not tf.image.resize, which for uint8 rounds neither between the axes nor at the end.
    """

    size: Side | tuple[Side, Side]
    method: Method = "bilinear"
    antialias: bool = True

    agreement: ClassVar = Levels(
        2,
        0.02,
        real=2e-5,
        why="torch's uint8 weights are 16-bit integers, and bicubic ones above 1 enlarge a level that differs in"
        " the first axis; on photos 0.2% of the values differ. Float weights stem from float32 positions",
    )
    examples: ClassVar = (
        Example(picture(), {"size": 12}),
        Example(picture(33, 47), {"size": [19, 21], "method": "bicubic"}),
        Example(picture(None, None, 1), {"size": [40, 9], "method": "bicubic", "antialias": False}),
        Example(picture(21, 18), {"size": 11, "antialias": False}),
        Example(picture(), {"size": [15, 29], "method": "nearest"}),
        Example(picture(None, None, 4, "float32"), {"size": 25}),
        Example(picture(17, 11, dtype="float32"), {"size": [8, 23], "method": "bicubic"}),
        Example(picture(17, 11, dtype="float32"), {"size": [8, 23], "method": "bicubic", "antialias": False}),
    )

    def out_spec(self, x: Spec) -> Spec:
        x.need(("uint8", "float32"), last=("height", "width", "channel"))
        height, width = x.size("height"), x.size("width")
        if not isinstance(self.size, int):
            height, width = self.size
        elif height and width:
            height, width = self.target(height, width, min(height, width))
        else:
            height = width = None
        return x.but(axes=(*x.axes[:-3], Axis("height", height), Axis("width", width), x.axes[-1]))

    def target(self, height: int, width: int, short: int) -> tuple[int, int]:
        """Height and width to come, of the sides of a picture: Python integers or integer tensors."""
        if not isinstance(self.size, int):
            return self.size
        return self.size * height // short, self.size * width // short

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        resize = _resize.bind_torch(x, self.method, self.antialias)

        def kernel(pictures: torch.Tensor) -> torch.Tensor:
            height, width = pictures.shape[-2:]
            if not height or not width:
                raise RecordError("the picture has no pixels")
            height, width = self.target(height, width, min(height, width))
            check_target(height, width)
            return resize(pictures, height, width)

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        resize = _resize.bind_tensorflow(x, self.method, self.antialias)
        sizes = self.out_spec(x).shape[-3:]

        def kernel(pictures: tf.Tensor) -> tf.Tensor:
            shape = tf.shape(pictures, tf.int64)
            height, width = shape[-3], shape[-2]
            tf.debugging.assert_positive(tf.minimum(height, width), "the picture has no pixels")
            height, width = self.target(height, width, tf.minimum(height, width))
            tf.debugging.assert_less_equal(
                height * width, tf.constant(MOST_PIXELS, tf.int64), "resized it would have too many pixels"
            )
            resized = resize(pictures, tf.cast(height, tf.int32), tf.cast(width, tf.int32))
            resized.set_shape([*pictures.shape[:-3], *sizes])
            return resized

        return kernel
