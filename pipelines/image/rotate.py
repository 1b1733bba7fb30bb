"""Rotation."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, cast

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from pipelines.geometry import Motion, MovingStep, affine
from pipelines.image import _warp
from pipelines.image._checks import need_pixels_tensorflow, need_pixels_torch
from pipelines.image._levels import Values, between, need_values
from pipelines.spec import Axis, Spec, picture
from pipelines.step import Example, Kernel, Levels


class Rotate(MovingStep):
    """Turns a picture about its centre, by a fixed or a random angle; positive is counter-clockwise.

    Takes  uint8 or float32 [..., height, width, channel]
    Gives  the same type and range; out[y, x] = in at (cos dx - sin dy, sin dx + cos dy) from its centre, where
           (dx, dy) is (x, y) from the centre of the output; `fill` outside the picture

    `degrees` is an angle, or [low, high] for one drawn evenly; serving takes the one nearest to 0. "bilinear" mixes the
    four pixels around a place, blending with `fill` at the edge; uint8 is computed in float32 and rounded half up.
    "nearest" takes the pixel floor(y + 1/2), floor(x + 1/2), in float64 positions. `expand` makes the picture as
    large as the turned one needs, for a fixed angle. `fill` is one number or one per channel, in input units.
    Source: torchvision.transforms.v2 Rotate, without its uint8 fill, which is blended twice at the edge; torch's
    grid_sample; tf.raw_ops.ImageProjectiveTransformV3, on float32, since it cuts uint8 results off.
    """

    degrees: (
        Annotated[float, Field(ge=-360, le=360)]
        | tuple[Annotated[float, Field(ge=-360, le=360)], Annotated[float, Field(ge=-360, le=360)]]
    )
    method: Literal["bilinear", "nearest"] = "bilinear"
    expand: bool = False
    fill: Values = 0.0

    agreement = Levels(
        1, 0.002, real=5e-4, why="bilinear positions are float32: 6e-5 of a pixel, and 1e-4 of the range, at 500 pixels"
    )
    serving = (1.0,)
    examples = (
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
        need_values(x, "fill", self.fill)
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

    def radians(self, draw: Any, where: Any = np.where) -> Any:
        """The drawn angles."""
        assert isinstance(self.degrees, tuple)
        return between(draw, *self.degrees, 0.0, where) * (math.pi / 180)

    def room(self, height: Any, width: Any, ceil: Any = math.ceil, floor: Any = math.floor) -> tuple[Any, Any]:
        """Height and width of the smallest grid of whole pixels that holds the turned picture."""
        cosine, sine = map(abs, self.turn)
        tall, wide = cosine * height + sine * width, sine * height + cosine * width
        if 0 in self.turn:  # a right angle, where alone they are exact
            return ceil(tall), ceil(wide)
        around = 1e-9  # a corner that rounding puts past a pixel's edge needs no pixel
        return (
            ceil((height + tall) / 2 - around) - floor((height - tall) / 2 + around),
            ceil((width + wide) / 2 - around) - floor((width - wide) / 2 + around),
        )

    def motion(self, height: int, width: int, draw: npt.NDArray[np.float64] | None) -> Motion:
        tall, wide = self.room(height, width) if self.expand else (height, width)
        angle = None if draw is None else self.radians(float(draw[0]))
        c, s = self.turn if angle is None else (math.cos(angle), math.sin(angle))
        x0, y0 = wide / 2 - (c * width / 2 + s * height / 2), tall / 2 - (-s * width / 2 + c * height / 2)
        return Motion(affine(c, s, x0, -s, c, y0), tall, wide)

    def for_mask(self, outside: int = 0) -> Rotate:
        return self.model_copy(update={"method": "nearest", "fill": float(outside)})

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        warp = _warp.bind_torch(x, self.method, self.fill)

        def kernel(pictures: torch.Tensor, draw: torch.Tensor | None = None) -> torch.Tensor:
            height, width = need_pixels_torch(pictures).shape[-2:]
            tall, wide = self.room(height, width) if self.expand else (height, width)
            if draw is None:
                cosine, sine = torch.tensor(self.turn, dtype=torch.float64)[:, None]
            else:
                angle = self.radians(draw.reshape(-1), torch.where)
                cosine, sine = torch.cos(angle), torch.sin(angle)
            turned = warp(pictures.reshape(-1, *pictures.shape[-3:]), tall, wide, _warp.turn(cosine, sine))
            return cast("torch.Tensor", turned.reshape(*pictures.shape[:-2], tall, wide))

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        warp = _warp.bind_tensorflow(x, self.method, self.fill)
        sizes = self.out_spec(x).shape[-3:]

        def kernel(pictures: tf.Tensor, draw: tf.Tensor | None = None) -> tf.Tensor:
            pictures = need_pixels_tensorflow(pictures)
            shape = tf.shape(pictures)
            size = shape[-3:-1]
            if self.expand:
                height, width = tf.unstack(tf.cast(size, tf.float64))
                size = tf.cast(tf.stack(self.room(height, width, tf.math.ceil, tf.floor)), tf.int32)
            if draw is None:
                cosine, sine = (tf.constant([v], tf.float64) for v in self.turn)
            else:
                angle = self.radians(tf.reshape(draw, [-1]), tf.where)
                cosine, sine = tf.cos(angle), tf.sin(angle)
            rows = tf.reshape(pictures, tf.concat([[-1], shape[-3:]], 0))
            turned = warp(rows, size[0], size[1], _warp.turn(cosine, sine))
            turned = tf.reshape(turned, tf.concat([shape[:-3], size, shape[-1:]], 0))
            turned.set_shape([*pictures.shape[:-3], *sizes])
            return turned

        return kernel
