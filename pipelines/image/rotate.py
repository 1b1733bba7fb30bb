"""Rotation."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from pipelines.errors import SpecError
from pipelines.native import torch_constant
from pipelines.spec import Axis, Spec, picture
from pipelines.step import Example, Kernel, Levels, Step

SLACK = 2.0**-7  # levels; above the noise of float32 positions, so that an exact half rounds up in both frameworks


class Rotate(Step):
    """Turns a picture about its centre, by a fixed or a random angle; positive is counter-clockwise.

    Takes  uint8 or float32 [..., height, width, channel]
    Gives  the same type and range; out[y, x] = in at (cos dx - sin dy, sin dx + cos dy) from its centre, where
           (dx, dy) is (x, y) from the centre of the output; `fill` outside the picture

    `degrees` is an angle, or [low, high] for one drawn evenly; serving takes the middle. "bilinear" mixes the four
    pixels around a place, blending with `fill` at the edge; uint8 is computed in float32 and rounded half up.
    "nearest" takes the pixel floor(y + 1/2), floor(x + 1/2), in float64 positions. `expand` makes the picture as
    large as the turned one needs, for a fixed angle. `fill` is one number or one per channel, in input units.
    Source: torchvision.transforms.v2 Rotate, without its uint8 fill, which is blended twice at the edge; torch's
    grid_sample; tf.raw_ops.ImageProjectiveTransformV3, on float32, since it cuts uint8 results off.
    """

    degrees: Annotated[float, Field(ge=-360, le=360)] | tuple[
        Annotated[float, Field(ge=-360, le=360)], Annotated[float, Field(ge=-360, le=360)]
    ]
    method: Literal["bilinear", "nearest"] = "bilinear"
    expand: bool = False
    fill: float | Annotated[tuple[float, ...], Field(min_length=1)] = 0.0

    agreement: ClassVar = Levels(1, 0.02, real=2e-5, why="bilinear positions are float32: 1e-5 pixels x 255 levels")
    serving: ClassVar = (0.5,)
    examples: ClassVar = (
        Example(picture(), {"degrees": [-10, 10]}),
        Example(picture(), {"degrees": 30.5, "expand": True, "fill": [255, 0, 127.5]}),
        Example(picture(), {"degrees": 90}),
        Example(picture(60, 81, 1), {"degrees": 45, "method": "nearest", "fill": 9}),
        Example(picture(17, 24), {"degrees": -90, "expand": True, "method": "nearest"}),
        Example(picture(23, 40), {"degrees": [0, 360], "method": "nearest"}),
        Example(picture(17, 11, dtype="float32"), {"degrees": [-180, 180], "fill": 0.5}),
    )

    @model_validator(mode="after")
    def _consistent(self) -> Rotate:
        if isinstance(self.degrees, tuple):
            if self.degrees[0] > self.degrees[1]:
                raise ValueError(f"degrees: expected the smaller angle first, got {list(self.degrees)}")
            if self.expand:
                raise ValueError("expand: expected a fixed angle, got a range of degrees")
        return self

    def variates(self) -> int:
        return 1 if isinstance(self.degrees, tuple) else 0

    def out_spec(self, x: Spec) -> Spec:
        x.need(("uint8", "float32"), last=("height", "width", "channel"))
        values = self.fill if isinstance(self.fill, tuple) else (self.fill,)
        if len(values) not in (1, x.size("channel")):
            raise SpecError(f"expected {x.size('channel')} values of fill, one per channel, got {len(values)}")
        if x.range and not all(x.range[0] <= value <= x.range[1] for value in values):
            raise SpecError(f"expected fill in [{x.range[0]:g}, {x.range[1]:g}], got {self.fill}")
        height, width = x.size("height"), x.size("width")
        if self.expand:
            height, width = self.room(height, width) if height and width else (None, None)
        return x.but(axes=(*x.axes[:-3], Axis("height", height), Axis("width", width), x.axes[-1]))

    @property
    def turn(self) -> tuple[float, float]:
        """Cosine and sine of the fixed angle, exact at right angles."""
        assert not isinstance(self.degrees, tuple)
        if self.degrees % 90 == 0:
            return ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[int(self.degrees // 90) % 4]
        return math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))

    def room(self, height: Any, width: Any, ceil: Any = math.ceil, floor: Any = math.floor) -> tuple[Any, Any]:
        """Height and width of the smallest grid of whole pixels that holds the turned picture."""
        cosine, sine = map(abs, self.turn)
        tall, wide = cosine * height + sine * width, sine * height + cosine * width
        around = 1e-9  # a corner that rounding puts past a pixel's edge needs no pixel
        return (
            ceil((height + tall) / 2 - around) - floor((height - tall) / 2 + around),
            ceil((width + wide) / 2 - around) - floor((width - wide) / 2 + around),
        )

    def bind_torch(self, x: Spec) -> Kernel:
        import torch
        from torch.nn import functional as F

        levels = x.dtype == "uint8"
        fill = torch_constant(np.broadcast_to(np.float32(self.fill), x.size("channel") or 1)[:, None, None])

        def positions(picture: torch.Tensor, draw: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
            """Where each output pixel comes from: columns and rows, float64[rows or 1, height, width]."""
            height, width = picture.shape[-2:]
            tall, wide = self.room(height, width) if self.expand else (height, width)
            if draw is None:
                cosine, sine = (torch.full((1, 1), v, dtype=torch.float64) for v in self.turn)
            else:
                low, high = self.degrees  # type: ignore[misc]  # a draw is given for a range alone
                angle = (low + draw.reshape(-1, 1) * (high - low)) * (math.pi / 180)
                cosine, sine = torch.cos(angle), torch.sin(angle)
            dx = torch.arange(wide, dtype=torch.float64) - (wide - 1) / 2
            dy = torch.arange(tall, dtype=torch.float64) - (tall - 1) / 2
            columns = ((cosine * dx)[:, None, :] - (sine * dy)[:, :, None]) + (width - 1) / 2
            rows = ((sine * dx)[:, None, :] + (cosine * dy)[:, :, None]) + (height - 1) / 2
            return columns.to(picture.device), rows.to(picture.device)

        def nearest(pictures: torch.Tensor, columns: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            count, channels, height, width = pictures.shape
            across, down = (columns + 0.5).floor().long(), (rows + 0.5).floor().long()
            inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
            index = (down.clamp(0, height - 1) * width + across.clamp(0, width - 1)).flatten(1)
            found = pictures.flatten(2).gather(2, index[:, None].expand(count, channels, -1))
            found = found.reshape(count, channels, *rows.shape[-2:])
            return torch.where(inside[:, None], found, fill(pictures).to(pictures.dtype))

        def bilinear(pictures: torch.Tensor, columns: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            count, channels, height, width = pictures.shape
            values = pictures.to(torch.float32)
            if self.fill:
                values = torch.cat([values, torch.ones_like(values[:, :1])], 1)
            # grid_sample counts from -1 at the picture's left edge to 1 at its right one
            grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], -1).to(torch.float32)
            grid = grid.expand(count, -1, -1, -1)
            values = F.grid_sample(values, grid, "bilinear", "zeros", align_corners=False)
            if self.fill:
                values, inside = values[:, :channels], values[:, channels:]
                values = values + (1 - inside) * fill(values)
            return (values + (0.5 + SLACK)).floor().clamp(0, 255).to(torch.uint8) if levels else values

        warp = nearest if self.method == "nearest" else bilinear

        def kernel(pictures: torch.Tensor, draw: torch.Tensor | None = None) -> torch.Tensor:
            flat = pictures.reshape(-1, *pictures.shape[-3:])
            turned = warp(flat, *positions(flat, draw))
            return turned.reshape(*pictures.shape[:-2], *turned.shape[-2:])

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        levels = x.dtype == "uint8"
        fill = np.broadcast_to(np.float32(self.fill), x.size("channel") or 1)
        sizes = self.out_spec(x).shape[-3:]

        def numbers(values: Any) -> tf.Tensor:
            return tf.cast(values, tf.float64)

        def directions(draw: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
            if draw is None:
                return tuple(tf.constant([v], tf.float64) for v in self.turn)
            low, high = (tf.constant(v, tf.float64) for v in self.degrees)  # type: ignore[union-attr]  # a range
            angle = (low + tf.reshape(draw, [-1]) * (high - low)) * tf.constant(math.pi / 180, tf.float64)
            return tf.cos(angle), tf.sin(angle)

        def nearest(pictures: tf.Tensor, size: tf.Tensor, cosine: tf.Tensor, sine: tf.Tensor) -> tf.Tensor:
            shape = tf.shape(pictures)
            height, width = shape[1], shape[2]
            cosine, sine = cosine[:, None], sine[:, None]
            dx = numbers(tf.range(size[1])) - numbers(size[1] - 1) / 2
            dy = numbers(tf.range(size[0])) - numbers(size[0] - 1) / 2
            columns = ((cosine * dx)[:, None, :] - (sine * dy)[:, :, None]) + numbers(width - 1) / 2
            rows = ((sine * dx)[:, None, :] + (cosine * dy)[:, :, None]) + numbers(height - 1) / 2
            across, down = (tf.cast(tf.floor(v + 0.5), tf.int32) for v in (columns, rows))
            inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
            index = tf.clip_by_value(down, 0, height - 1) * width + tf.clip_by_value(across, 0, width - 1)
            index = tf.broadcast_to(index, [shape[0], size[0], size[1]])
            found = tf.gather(tf.reshape(pictures, [shape[0], height * width, shape[3]]), index, axis=1, batch_dims=1)
            return tf.where(inside[..., None], found, tf.cast(fill, pictures.dtype))

        def bilinear(pictures: tf.Tensor, size: tf.Tensor, cosine: tf.Tensor, sine: tf.Tensor) -> tf.Tensor:
            values = tf.cast(pictures, tf.float32)
            if self.fill:
                values = tf.concat([values, tf.ones_like(values[..., :1])], -1)
            cy, cx = tf.unstack(numbers(tf.shape(pictures)[1:3] - 1) / 2)
            oy, ox = tf.unstack(numbers(size - 1) / 2)
            zero = tf.zeros_like(cosine)
            columns = [cosine, -sine, cx - (cosine * ox - sine * oy)]
            rows = [sine, cosine, cy - (sine * ox + cosine * oy)]
            values = tf.raw_ops.ImageProjectiveTransformV3(
                images=values,
                transforms=tf.cast(tf.stack([*columns, *rows, zero, zero], -1), tf.float32),
                output_shape=size,
                fill_value=0.0,
                interpolation="BILINEAR",
                fill_mode="CONSTANT",
            )
            if self.fill:
                values, inside = values[..., :-1], values[..., -1:]
                values = values + (1 - inside) * fill
            return tf.cast(tf.clip_by_value(tf.floor(values + (0.5 + SLACK)), 0, 255), tf.uint8) if levels else values

        warp = nearest if self.method == "nearest" else bilinear

        def kernel(pictures: tf.Tensor, draw: tf.Tensor | None = None) -> tf.Tensor:
            shape = tf.shape(pictures)
            flat = tf.reshape(pictures, tf.concat([[-1], shape[-3:]], 0))
            size = shape[-3:-1]
            if self.expand:
                size = tf.cast(tf.stack(self.room(*tf.unstack(numbers(size)), tf.math.ceil, tf.floor)), tf.int32)
            turned = warp(flat, size, *directions(draw))
            turned = tf.reshape(turned, tf.concat([shape[:-3], size, shape[-1:]], 0))
            turned.set_shape([*pictures.shape[:-3], *sizes])
            return turned

        return kernel
