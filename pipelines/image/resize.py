"""Resizing."""

from __future__ import annotations

from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
from pydantic import model_validator

from pipelines.errors import RecordError
from pipelines.geometry import Motion, MovingStep, affine
from pipelines.guard import after
from pipelines.image import _resize
from pipelines.image._checks import need_pixels_tensorflow, need_pixels_torch
from pipelines.image._resize import Method, Side
from pipelines.spec import Axis, Spec, picture
from pipelines.step import Example, Kernel, Levels, Step

MOST_PIXELS = 178_956_970  # a strip of 1 x 20000 pixels with its short side brought to 256 would have 1.3e9


def _chosen(condition: bool, this: int, other: int) -> int:
    return this if condition else other


class Resize(MovingStep):
    """Scales a picture to a size in pixels.

    Takes  uint8 or float32 [..., height, width, channel]
    Gives  the same type and range; out[y, x] is the weighted mean of the input around the same relative place,
           uint8 rounded half up after each axis, width first; "nearest" is in[floor((y + 1/2) in_height / height), ..]

    `size` is the side of a square or [height, width]. `fit` says how the picture comes to it: "cover", what a number
    means if nothing is said, is the smallest of the same proportions that covers it, so that a number is the short
    side; "inside" the largest that lies inside it, so that a number is the long side; "stretch", what [height, width]
    means if nothing is said, is that size itself. Where proportions stay, the side that does not decide is cut off to
    whole pixels, to at least 1. With `max_side` a picture that would come out longer gets that long side instead.
    `antialias` widens the filter when the picture shrinks, so that every pixel counts. A picture without pixels, or
    one that would grow beyond 178,956,970 pixels, fails its record.
    Source: Pillow's Image.resize. torch.nn.functional.interpolate, but for bicubic without antialias, where it
    has a = -3/4, Pillow -1/2. tf.sparse.sparse_dense_matmul with the same weights, since tf.image.resize places
    its filters in float32 and rounds uint8 nowhere: one value in ten would be a level off.
    """

    size: Side | tuple[Side, Side]
    fit: Literal["cover", "inside", "stretch"] | None = None
    max_side: Side | None = None
    method: Method = "bilinear"
    antialias: bool = True

    agreement = Levels(
        1,
        0.005,
        real=5e-5,
        why="uint8: the same integer weights, summed in float32 by one framework, 1e-7 of a photo's values differ;"
        " floats: torch places its filters in float32",
    )
    examples = (
        Example(picture(), {"size": 12}),
        Example(picture(33, 47), {"size": [19, 21], "method": "bicubic"}),
        Example(picture(None, None, 1), {"size": [40, 9], "method": "bicubic", "antialias": False}),
        Example(picture(21, 18), {"size": 11, "antialias": False}),
        Example(picture(), {"size": [15, 29], "method": "nearest", "fit": "stretch"}),
        Example(picture(None, None, 4, "float32"), {"size": 25}),
        Example(picture(17, 11, dtype="float32"), {"size": [8, 23], "method": "bicubic"}),
        Example(picture(17, 11, dtype="float32"), {"size": [8, 23], "method": "bicubic", "antialias": False}),
        Example(picture(), {"size": [24, 20], "fit": "inside"}),
        Example(picture(None, None, 1), {"size": [9, 14], "fit": "cover", "max_side": 30}),
    )

    @model_validator(mode="after")
    def _consistent(self) -> Resize:
        if self.max_side is not None:
            if self.kept == "stretch":
                raise ValueError("max_side: expected the proportions to be kept; say fit: cover or inside")
            if self.max_side < max(self.sides):
                raise ValueError(f"max_side: expected at least the size, {max(self.sides)}, got {self.max_side}")
        return self

    @property
    def kept(self) -> str:
        """How the picture comes to its size."""
        return self.fit or ("cover" if isinstance(self.size, int) else "stretch")

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of what is to be covered, filled or reached."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    def out_spec(self, x: Spec) -> Spec:
        x.need(("uint8", "float32"), last=("height", "width", "channel"))
        height, width = x.size("height"), x.size("width")
        if self.kept == "stretch":
            height, width = self.sides
        elif height and width:
            height, width = self.target(height, width)
        else:
            height = width = None
        return x.but(axes=(*x.axes[:-3], Axis("height", height), Axis("width", width), x.axes[-1]))

    def target(self, height: Any, width: Any, where: Any = _chosen, larger: Any = max) -> tuple[Any, Any]:
        """Height and width to come, of the sides of a picture: Python integers, or tensors with operations on them."""
        tall, wide = self.sides
        if self.kept == "stretch":
            return tall, wide
        by_height = (tall * width >= wide * height) == (self.kept == "cover")
        tall, wide = (
            where(by_height, tall, wide * height // larger(width, 1)),
            where(by_height, tall * width // larger(height, 1), wide),
        )
        if self.max_side is not None:
            longer = larger(larger(tall, wide), self.max_side)
            tall, wide = (where(longer > self.max_side, self.max_side * side // longer, side) for side in (tall, wide))
        return larger(tall, 1), larger(wide, 1)

    def motion(self, height: int, width: int, draw: npt.NDArray[np.float64] | None) -> Motion:
        tall, wide = self.target(height, width)
        return Motion(affine(wide / width, 0, 0, 0, tall / height, 0), tall, wide)

    def for_mask(self, outside: int = 0) -> Resize:
        return self.model_copy(update={"method": "nearest"})

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        resize = _resize.bind_torch(x, self.method, self.antialias)

        def kernel(pictures: torch.Tensor) -> torch.Tensor:
            height, width = need_pixels_torch(pictures).shape[-2:]
            height, width = self.target(height, width)
            if height * width > MOST_PIXELS:
                raise RecordError(f"resized it would be {height} x {width}; expected at most {MOST_PIXELS} pixels")
            return cast("torch.Tensor", resize(pictures, height, width))

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        return self._bind_tensorflow(x, None)

    def bind_tensorflow_with(self, following: Step, x: Spec) -> Kernel | None:
        """Makes only the pixels that a crop behind it keeps."""
        if self.method == "nearest" or not isinstance(following, MovingStep) or following.cut is None:
            return None
        return self._bind_tensorflow(x, following)

    def _bind_tensorflow(self, x: Spec, following: MovingStep | None) -> Kernel:
        import tensorflow as tf

        resize = _resize.bind_tensorflow(x, self.method, self.antialias, following.cut if following else None)
        out = self.out_spec(x)
        sizes = (following.out_spec(out) if following else out).shape[-3:]

        def where(condition: tf.Tensor, *sides: Any) -> tf.Tensor:
            return tf.where(condition, *(tf.cast(side, tf.int64) for side in sides))

        def kernel(pictures: tf.Tensor, *draw: tf.Tensor) -> tf.Tensor:
            pictures = need_pixels_tensorflow(pictures)
            height, width = tf.unstack(tf.shape(pictures, tf.int64)[-3:-1])
            target = tf.stack(self.target(height, width, where, tf.maximum))
            pixels = tf.reduce_prod(tf.cast(target, tf.float64))
            most = tf.constant(MOST_PIXELS, tf.float64)
            fits = tf.debugging.assert_less_equal(pixels, most, "resized it would have too many pixels")
            resized = resize(pictures, *tf.unstack(tf.cast(after([fits], target), tf.int32)), *draw)
            resized.set_shape([*pictures.shape[:-3], *sizes])
            return resized

        return kernel
