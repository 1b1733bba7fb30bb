"""Cutting a part out of a picture."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import Field, model_validator

from pipelines.errors import RecordError, SpecError
from pipelines.image import _resize
from pipelines.image._resize import Method, Side
from pipelines.spec import Axis, Spec, picture
from pipelines.step import Example, Kernel, Levels, Step

Share = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class Crop(Step):
    """Cuts a part out of a picture: its centre, a random place, or a random part scaled to size.

    Takes  [..., height, width, channel]   any dtype; uint8 or float32 for "resized"
    Gives  the same type and range; out[y, x] = in[top + y, left + x]

    `size` is the side of a square or [height, width]. "centre": top = (in_height - height) / 2, rounded half to
    even. "random": top = u (in_height - height + 1) - 1/2, rounded, each place as likely as any other; serving
    takes the centre. A smaller picture fails its record, or with `pad` gets zeros, evenly on both sides.
    "resized": a part with `scale` of the picture's area and a `ratio` of width to height (its logarithm is drawn
    evenly) is scaled to `size` as image.resize does. Where torchvision would draw again, since the part does not
    fit, the ratio is drawn from those that fit; when none does, the nearest ratio is taken and the area shrinks.
    Serving takes the largest part of the middle ratio at the centre.
    Source: torchvision.transforms.v2 CenterCrop, RandomCrop, RandomResizedCrop; tf.image.crop_to_bounding_box.
    """

    size: Side | tuple[Side, Side]
    where: Literal["centre", "random", "resized"] = "centre"
    pad: bool = False
    scale: tuple[Share, Share] = (0.08, 1.0)
    ratio: tuple[Positive, Positive] = (3 / 4, 4 / 3)
    method: Method = "bilinear"
    antialias: bool = True

    agreement: ClassVar = Levels(1, 0.005, real=5e-5, why='"resized" is as close as image.resize; else values move')
    serving: ClassVar = (0.5, 0.5, 1.0, 0.5)
    examples: ClassVar = (
        Example(picture(), {"size": [9, 7]}),
        Example(picture(), {"size": [20, 24], "pad": True}),
        Example(picture(), {"size": 10, "where": "random"}),
        Example(picture(17, 14, 1), {"size": [20, 9], "where": "random", "pad": True}),
        Example(picture(), {"size": [15, 13], "where": "resized"}),
        Example(picture(23, 31, dtype="float32"), {"size": 12, "where": "resized", "method": "bicubic"}),
        Example(picture(19, 40), {"size": 12, "where": "resized", "method": "nearest", "scale": [0.5, 1.0]}),
    )

    @model_validator(mode="after")
    def _consistent(self) -> Crop:
        for name in ("scale", "ratio", "method", "antialias"):
            if self.where != "resized" and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name}: expected only with where: resized, got {self.where!r}")
        if self.pad and self.where == "resized":
            raise ValueError("pad: expected only with where: centre or random, got 'resized'")
        for name, (low, high) in (("scale", self.scale), ("ratio", self.ratio)):
            if low > high:
                raise ValueError(f"{name}: expected the smaller number first, got [{low}, {high}]")
        return self

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of what is given."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    def variates(self) -> int:
        # top, left, area, ratio: a random crop uses two, four cost the same (one block of Philox)
        return 0 if self.where == "centre" else 4

    def out_spec(self, x: Spec) -> Spec:
        resized = self.where == "resized"
        x.need(("uint8", "float32") if resized else (), last=("height", "width", "channel"))
        for name, side in zip(("height", "width"), self.sides, strict=True):
            found = x.size(name)
            if found is not None and found < side and not (self.pad or resized):
                raise SpecError(f"expected a {name} of at least {side}, got {x}; pad: true fills it up")
        height, width = self.sides
        return x.but(axes=(*x.axes[:-3], Axis("height", height), Axis("width", width), x.axes[-1]))

    def place(self, xp: Any, height: Any, width: Any, draw: Any) -> tuple[Any, Any, Any, Any]:
        """Top, left, height and width of the part of a picture, as whole float64 numbers.

        `xp` is the framework's module of float64 functions, `height` and `width` are float64 scalars of it,
        `draw` float64[..., 4] or None for the centre: one formula, so that both frameworks take the same part.
        """
        zero = height * 0 if draw is None else draw[..., 0] * 0
        down, across = (zero + 0.5, zero + 0.5) if draw is None else (draw[..., 0], draw[..., 1])
        if self.where == "resized":
            tall, wide = self.part(xp, height, width, draw[..., 2], draw[..., 3])
        else:
            tall, wide = zero + self.sides[0], zero + self.sides[1]
        return xp.round(down * (height - tall + 1) - 0.5), xp.round(across * (width - wide + 1) - 0.5), tall, wide

    def part(self, xp: Any, height: Any, width: Any, u_area: Any, u_ratio: Any) -> tuple[Any, Any]:
        """Height and width of a random part."""
        area = height * width * (self.scale[0] + u_area * (self.scale[1] - self.scale[0]))
        lowest, highest = (area * 0 + math.log(r) for r in self.ratio)
        # a part of this area fits in the picture when its log-ratio is within [low, high]
        low = xp.maximum(xp.log(area / height**2), lowest)
        high = xp.minimum(xp.log(width**2 / area), highest)
        ratio = low + u_ratio * xp.maximum(high - low, area * 0)
        ratio = xp.exp(xp.minimum(xp.maximum(ratio, lowest), highest))
        area = xp.minimum(area, xp.minimum(height**2 * ratio, width**2 / ratio))
        return xp.maximum(xp.round(xp.sqrt(area / ratio)), area * 0 + 1), xp.maximum(
            xp.round(xp.sqrt(area * ratio)), area * 0 + 1
        )

    def bind_torch(self, x: Spec) -> Kernel:
        import torch
        from torch.nn import functional as F

        tall, wide = self.sides
        resize = _resize.bind_torch(x, self.method, self.antialias) if self.where == "resized" else None

        def cut(picture: torch.Tensor, box: list[int]) -> torch.Tensor:
            top, left, height, width = box
            part = picture[..., top : top + height, left : left + width]
            return part if resize is None else cast("torch.Tensor", resize(part, tall, wide))

        def kernel(pictures: torch.Tensor, draw: torch.Tensor | None = None) -> torch.Tensor:
            height, width = pictures.shape[-2:]
            if self.pad:
                down, across = max(tall - height, 0), max(wide - width, 0)
                pictures = F.pad(pictures, (across // 2, across - across // 2, down // 2, down - down // 2))
            elif resize is None and (height < tall or width < wide):
                raise RecordError(f"the picture is {height} x {width}, smaller than the crop of {tall} x {wide}")
            if not height or not width:
                raise RecordError("the picture has no pixels")
            sides = torch.tensor(pictures.shape[-2:], dtype=torch.float64)
            boxes = torch.stack(self.place(torch, sides[0], sides[1], draw), -1).long()
            if boxes.ndim == 1:
                return cut(pictures, boxes.tolist())
            rows = pictures.reshape(-1, *pictures.shape[-3:])
            parts = [cut(row, box) for row, box in zip(rows, boxes.reshape(-1, 4).tolist(), strict=True)]
            return torch.stack(parts).reshape(*pictures.shape[:-2], tall, wide)

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        tall, wide = self.sides
        resize = _resize.bind_tensorflow(x, self.method, self.antialias) if self.where == "resized" else None

        def cut(picture: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
            top, left, height, width = tf.unstack(box)
            part = picture[..., top : top + height, left : left + width, :]
            return part if resize is None else resize(part, tall, wide)

        def padded(pictures: tf.Tensor) -> tf.Tensor:
            missing = tf.maximum([tall, wide] - tf.shape(pictures)[-3:-1], 0)
            both = tf.stack([missing // 2, missing - missing // 2], 1)
            around = tf.concat([tf.zeros([len(pictures.shape) - 3, 2], tf.int32), both, [[0, 0]]], 0)
            return tf.pad(pictures, around)

        def kernel(pictures: tf.Tensor, draw: tf.Tensor | None = None) -> tf.Tensor:
            size = tf.shape(pictures)[-3:-1]
            tf.debugging.assert_positive(size, "the picture has no pixels")
            if self.pad:
                pictures = padded(pictures)
            elif resize is None:
                tf.debugging.assert_greater_equal(size, [tall, wide], "the picture is smaller than the crop")
            height, width = tf.unstack(tf.cast(tf.shape(pictures)[-3:-1], tf.float64))
            boxes = tf.cast(tf.stack(self.place(tf.math, height, width, draw), -1), tf.int32)
            if len(boxes.shape) == 1:
                parts = cut(pictures, boxes)
            else:
                shape = tf.shape(pictures)
                rows = tf.reshape(pictures, tf.concat([[-1], shape[-3:]], 0))
                one = tf.TensorSpec([tall, wide, x.size("channel")], pictures.dtype)
                parts = tf.map_fn(lambda row: cut(*row), (rows, tf.reshape(boxes, [-1, 4])), fn_output_signature=one)
                parts = tf.reshape(parts, tf.concat([shape[:-3], [tall, wide, shape[-1]]], 0))
            parts.set_shape([*pictures.shape[:-3], tall, wide, x.size("channel")])
            return parts

        return kernel
