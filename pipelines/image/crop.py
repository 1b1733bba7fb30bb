"""Cutting a part out of a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, cast

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from pipelines.errors import RecordError, SpecError
from pipelines.geometry import Motion, MovingStep, affine
from pipelines.guard import after
from pipelines.image import _parts, _resize
from pipelines.image._checks import need_pixels_tensorflow, need_pixels_torch
from pipelines.image._levels import Values, need_values
from pipelines.image._parts import TRIES
from pipelines.image._resize import Method, Side
from pipelines.native import torch_constant
from pipelines.spec import Axis, Spec, picture
from pipelines.step import Example, Kernel, Levels

Share = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class Crop(MovingStep):
    """Cuts a part out of a picture: its centre, a random place, or a random part scaled to size.

    Takes  [..., height, width, channel]   any dtype; uint8 or float32 for "resized"
    Gives  the same type and range; out[y, x] = in[top + y, left + x]

    `size` is the side of a square or [height, width]. "centre": top = (in_height - height) / 2, rounded half to
    even. "random": top = u (in_height - height + 1) - 1/2, rounded, each place as likely as any other; serving
    takes the centre. A smaller picture fails its record, or with `pad` gets `fill`, one number or one per channel in
    input units, evenly on both sides, an odd pixel right or below; whole numbers are rounded half up.
    "resized": a part with `scale` of the picture's area and a `ratio` of width to height (its logarithm is drawn
    evenly) is scaled to `size` as image.resize does: the first of 7 drawn parts that fits, else the last one made
    smaller. Serving takes the largest part of the middle ratio at the centre.
    Source: torchvision.transforms.v2 CenterCrop, RandomCrop, RandomResizedCrop, which draws 10 times and then
    takes the centre; tf.image.crop_to_bounding_box.
    """

    size: Side | tuple[Side, Side]
    where: Literal["centre", "random", "resized"] = "centre"
    pad: bool = False
    fill: Values = 0.0
    scale: tuple[Share, Share] = (0.08, 1.0)
    ratio: tuple[Positive, Positive] = (3 / 4, 4 / 3)
    method: Method = "bilinear"
    antialias: bool = True

    agreement = Levels(1, 0.005, real=5e-5, why='"resized" is as close as image.resize; else values move')
    serving = (0.5, 0.5, *[1.0] * TRIES, *[0.5] * TRIES)
    examples = (
        Example(picture(), {"size": [9, 7]}),
        Example(picture(), {"size": [20, 24], "pad": True}),
        Example(picture(), {"size": 10, "where": "random"}),
        Example(picture(17, 14, 1), {"size": [20, 9], "where": "random", "pad": True}),
        Example(picture(), {"size": [15, 13], "where": "resized"}),
        Example(picture(23, 31, dtype="float32"), {"size": 12, "where": "resized", "method": "bicubic"}),
        Example(picture(19, 40), {"size": 12, "where": "resized", "method": "nearest", "scale": [0.5, 1.0]}),
        Example(picture(), {"size": [20, 24], "pad": True, "fill": [9, 0, 127.5]}),
    )

    @model_validator(mode="after")
    def _consistent(self) -> Crop:
        for name in ("scale", "ratio", "method", "antialias"):
            if self.where != "resized" and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name}: expected only with where: resized, got {self.where!r}")
        if self.pad and self.where == "resized":
            raise ValueError("pad: expected only with where: centre or random, got 'resized'")
        if self.fill != 0 and not self.pad:
            raise ValueError("fill: expected only with pad: true")
        for name, (low, high) in (("scale", self.scale), ("ratio", self.ratio)):
            if low > high:
                raise ValueError(f"{name}: expected the smaller number first, got [{low}, {high}]")
        return self

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of what is given."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    @property
    def _smaller(self) -> str:
        return f"smaller than the crop of {self.sides[0]} x {self.sides[1]}"

    def variates(self) -> int:
        # top, left, an area and a ratio for each try; "random" leaves those alone, so that one `serving` does
        return 0 if self.where == "centre" else 2 + 2 * TRIES

    def out_spec(self, x: Spec) -> Spec:
        resized = self.where == "resized"
        x.need(("uint8", "float32") if resized else (), last=("height", "width", "channel"))
        need_values(x, "fill", self.fill)
        for name, side in zip(("height", "width"), self.sides, strict=True):
            found = x.size(name)
            if found is not None and found < side and not (self.pad or resized):
                raise SpecError(f"expected a {name} of at least {side}, got {x}; pad: true fills it up")
        height, width = self.sides
        return x.but(axes=(*x.axes[:-3], Axis("height", height), Axis("width", width), x.axes[-1]))

    def boxes(self, height: float, width: float, draw: npt.NDArray[np.float64] | None = None) -> npt.NDArray[np.int64]:
        """Top, left, height and width of the part to take, int64[..., 4], of a picture; both frameworks ask here."""
        rows = np.full(2, 0.5) if draw is None else draw
        if self.where == "resized":
            return _parts.drawn(height, width, rows, self.scale, self.ratio)
        tall, wide = (np.full(rows.shape[:-1], float(side)) for side in self.sides)
        return _parts.placed(float(height), float(width), tall, wide, rows)

    @property
    def cut(self) -> Callable[..., Sequence[int]] | None:
        return None if self.where == "resized" or self.pad else self._part

    def _part(self, height: int, width: int, draw: npt.NDArray[np.float64] | None = None) -> list[int]:
        tall, wide = self.sides
        if height < tall or width < wide:
            raise RecordError(f"the picture is {height} x {width}, {self._smaller}")
        return [int(number) for number in self.boxes(height, width, draw)]

    def motion(self, height: int, width: int, draw: npt.NDArray[np.float64] | None) -> Motion:
        tall, wide = self.sides
        down, across = (max(tall - height, 0), max(wide - width, 0)) if self.pad else (0, 0)
        top, left, high, broad = self.boxes(height + down, width + across, draw).tolist()
        y, x = (tall / high, wide / broad) if self.where == "resized" else (1, 1)
        return Motion(affine(x, 0, x * (across // 2 - left), 0, y, y * (down // 2 - top)), tall, wide)

    def for_mask(self, outside: int = 0) -> Crop:
        if self.where == "resized":
            return self.model_copy(update={"method": "nearest"})
        return self.model_copy(update={"fill": float(outside)}) if self.pad else self

    def fills(self, x: Spec) -> npt.NDArray[Any] | None:
        """What pads each channel, in the picture's type; None for zeros."""
        if not np.any(self.fill):
            return None
        whole = np.array(self.fill) if x.dtype.startswith("float") else np.floor(np.array(self.fill) + 0.5)
        return np.full(x.size("channel") or 1, whole).astype(x.dtype)

    def bind_torch(self, x: Spec) -> Kernel:
        import torch
        from torch.nn import functional as F

        tall, wide = self.sides
        resize = _resize.bind_torch(x, self.method, self.antialias) if self.where == "resized" else None
        fills = self.fills(x)
        filled = None if fills is None else torch_constant(fills[:, None, None])

        def cut(picture: torch.Tensor, box: list[int]) -> torch.Tensor:
            top, left, height, width = box
            part = picture[..., top : top + height, left : left + width]
            return part if resize is None else cast("torch.Tensor", resize(part, tall, wide))

        def kernel(pictures: torch.Tensor, draw: torch.Tensor | None = None) -> torch.Tensor:
            height, width = need_pixels_torch(pictures).shape[-2:]
            if self.pad:
                down, across = max(tall - height, 0), max(wide - width, 0)
                around = (across // 2, across - across // 2, down // 2, down - down // 2)
                pictures = F.pad(pictures, around)
                if filled is not None:
                    inside = F.pad(torch.ones(height, width, dtype=torch.bool, device=pictures.device), around)
                    pictures = torch.where(inside, pictures, filled(pictures))
            elif resize is None and (height < tall or width < wide):
                raise RecordError(f"the picture is {height} x {width}, {self._smaller}")
            height, width = pictures.shape[-2:]
            boxes = self.boxes(height, width, None if draw is None else draw.numpy())
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
        fills = self.fills(x)

        def cut(picture: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
            top, left, height, width = tf.unstack(box)
            part = picture[..., top : top + height, left : left + width, :]
            return part if resize is None else resize(part, tall, wide)

        def padded(pictures: tf.Tensor) -> tf.Tensor:
            missing = tf.maximum([tall, wide] - tf.shape(pictures)[-3:-1], 0)
            both = tf.stack([missing // 2, missing - missing // 2], 1)
            around = tf.concat([tf.zeros([len(pictures.shape) - 3, 2], tf.int32), both, [[0, 0]]], 0)
            found = tf.pad(pictures, around)
            if fills is None:
                return found
            inside = tf.pad(tf.ones(tf.shape(pictures)[-3:-1], tf.bool), both)
            return tf.where(inside[..., None], found, fills)

        def kernel(pictures: tf.Tensor, draw: tf.Tensor | None = None) -> tf.Tensor:
            pictures = need_pixels_tensorflow(pictures)
            if self.pad:
                pictures = padded(pictures)
            elif resize is None:
                size = tf.shape(pictures)[-3:-1]
                height, width = tf.unstack(tf.strings.as_string(size))
                smaller = tf.strings.join(["the picture is ", height, " x ", width, f", {self._smaller}"])
                fits = tf.debugging.Assert(tf.reduce_all(size >= [tall, wide]), [smaller])
                pictures = after([fits], pictures)
            shape = tf.shape(pictures)
            if draw is None:  # as `boxes` has it, without asking Python
                corner = tf.cast(tf.round((shape[-3:-1] - [tall, wide]) / 2), tf.int32)
                cropped = pictures[..., corner[0] : corner[0] + tall, corner[1] : corner[1] + wide, :]
                return tf.ensure_shape(cropped, [*pictures.shape[:-3], tall, wide, x.size("channel")])
            boxes = tf.numpy_function(self.boxes, [shape[-3], shape[-2], draw], tf.int64)
            boxes.set_shape([*draw.shape[:-1], 4])
            boxes = tf.cast(boxes, tf.int32)
            if len(boxes.shape) == 1:
                parts = cut(pictures, boxes)
            else:
                rows = tf.reshape(pictures, tf.concat([[-1], shape[-3:]], 0))
                one = tf.TensorSpec([tall, wide, x.size("channel")], pictures.dtype)
                parts = tf.map_fn(lambda row: cut(*row), (rows, tf.reshape(boxes, [-1, 4])), fn_output_signature=one)
                parts = tf.reshape(parts, tf.concat([shape[:-3], [tall, wide, shape[-1]]], 0))
            parts.set_shape([*pictures.shape[:-3], tall, wide, x.size("channel")])
            return parts

        return kernel
