"""Moved pictures, in both frameworks: each output pixel is looked up where it comes from.

A way back is 6 or 8 numbers xx, xy, x0, yx, yy, y0 [, px, py], float64[rows or 1] each: what lies (dx, dy) from the
centre of the output comes from (xx dx + xy dy + x0, yx dx + yy dy + y0) / (px dx + py dy + 1) from the centre of the
input. The functions take pictures with one batch axis, the output's height and width, and the way back.

"nearest" takes the pixel at float64 positions, "bilinear" mixes four at float32 positions by the framework's own
operation, "exact" mixes four at float64 positions, slower, the same bits in both frameworks, and gives float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import numpy.typing as npt

from pipelines.native import torch_constant, torch_uint8
from pipelines.spec import Spec
from pipelines.step import Kernel

if TYPE_CHECKING:
    import tensorflow as tf
    import torch

SLACK = 2.0**-7  # levels; above the noise of float32 positions, so that an exact half rounds up in both frameworks

Way = Sequence[Any]
Method = Literal["bilinear", "nearest", "exact"]


def turn(cosine: Any, sine: Any) -> Way:
    """The way back from a turn about the centre."""
    return (cosine, -sine, sine * 0, sine, cosine, sine * 0)


def sources(way: Way, across: Any, down: Any, height: Any, width: Any) -> tuple[Any, Any]:
    """Columns and rows, float64[rows, tall, wide], that output columns `across` and rows `down` come from."""
    dx, dy = across - across[-1] / 2, down - down[-1] / 2
    xx, xy, x0, yx, yy, y0, *rest = (number[:, None] for number in way)
    # differences, since TensorFlow's graph adds up more than two terms in an order of its own
    columns = (xx * dx)[:, None, :] - ((-xy) * dy - x0)[:, :, None]
    rows = (yx * dx)[:, None, :] - ((-yy) * dy - y0)[:, :, None]
    if rest:
        px, py = rest
        depth = (px * dx)[:, None, :] - ((-py) * dy - 1)[:, :, None]
        columns, rows = columns / depth, rows / depth
    return columns + (width - 1) / 2, rows + (height - 1) / 2


def mixed(look: Callable[[int, int], Any], right: Any, below: Any) -> Any:
    """The four pixels around a place, float32, by how far `right` and `below` the first one it lies."""
    upper, lower = (start + (look(down, 1) - start) * right for down in (0, 1) for start in (look(down, 0),))
    return upper + (lower - upper) * below


def _in_type(x: Spec, fill: float | tuple[float, ...]) -> npt.NDArray[Any]:
    whole = np.array(fill) if x.dtype.startswith("float") else np.floor(np.array(fill) + 0.5)
    return np.full(x.size("channel") or 1, whole).astype(x.dtype)


def bind_torch(x: Spec, method: Method, fill: float | tuple[float, ...]) -> Kernel:
    """A function of (pictures [n, channel, height, width], tall, wide, way back)."""
    import torch
    from torch.nn import functional as F

    levels = x.dtype == "uint8"
    blend = bool(np.any(fill))
    fills = torch_constant(np.full(x.size("channel") or 1, fill, np.float32)[:, None, None])
    whole = torch_constant(_in_type(x, fill)[:, None, None])

    def places(pictures: torch.Tensor, tall: int, wide: int, way: Way) -> tuple[torch.Tensor, torch.Tensor]:
        across, down = (torch.arange(n, dtype=torch.float64, device=pictures.device) for n in (wide, tall))
        return sources([number.to(pictures.device) for number in way], across, down, *pictures.shape[-2:])

    def look(pictures: torch.Tensor, down: torch.Tensor, across: torch.Tensor, outside: torch.Tensor) -> torch.Tensor:
        count, channels, height, width = pictures.shape
        across, down = across.long(), down.long()
        inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
        index = (down.clamp(0, height - 1) * width + across.clamp(0, width - 1)).flatten(1)
        found = pictures.flatten(2).gather(2, index[:, None].expand(count, channels, -1))
        found = found.reshape(count, channels, *inside.shape[-2:]).to(outside.dtype)
        return torch.where(inside[:, None], found, outside)

    def nearest(pictures: torch.Tensor, tall: int, wide: int, way: Way) -> torch.Tensor:
        columns, rows = places(pictures, tall, wide, way)
        return look(pictures, (rows + 0.5).floor(), (columns + 0.5).floor(), whole(pictures))

    def exact(pictures: torch.Tensor, tall: int, wide: int, way: Way) -> torch.Tensor:
        columns, rows = places(pictures, tall, wide, way)
        left, top, outside = columns.floor(), rows.floor(), fills(pictures)
        right, below = (part.to(torch.float32)[:, None] for part in (columns - left, rows - top))
        return cast(
            "torch.Tensor",
            mixed(lambda down, across: look(pictures, top + down, left + across, outside), right, below),
        )

    def grid(height: int, width: int, tall: int, wide: int, way: Way, device: torch.device) -> torch.Tensor:
        """Places as grid_sample counts them, from the centre, in half widths and half heights."""
        dx = torch.arange(wide, dtype=torch.float64) - (wide - 1) / 2
        dy = torch.arange(tall, dtype=torch.float64) - (tall - 1) / 2
        xx, xy, x0, yx, yy, y0 = (number[:, None] * 2 for number in way[:6])
        parts = (xx * dx / width, (xy * dy + x0) / width, yx * dx / height, (yy * dy + y0) / height)
        x_dx, x_dy, y_dx, y_dy = (part.to(device, torch.float32) for part in parts)
        places = torch.empty(2, len(xx), tall, wide, device=device)  # a plane each, which is faster to fill and to read
        torch.add(x_dx[:, None, :], x_dy[:, :, None], out=places[0])
        torch.add(y_dx[:, None, :], y_dy[:, :, None], out=places[1])
        if len(way) == 8:
            px, py = (number[:, None] for number in way[6:])
            depth = (px * dx)[:, None, :] + (py * dy + 1)[:, :, None]
            places /= depth.to(device, torch.float32)
        return places.movedim(0, -1)

    def bilinear(pictures: torch.Tensor, tall: int, wide: int, way: Way) -> torch.Tensor:
        count, channels, height, width = pictures.shape
        values = pictures.to(torch.float32)
        if blend:
            values = torch.cat([values, torch.ones_like(values[:, :1])], 1)
        places = grid(height, width, tall, wide, way, pictures.device)
        values = F.grid_sample(values, places.expand(count, -1, -1, -1), "bilinear", "zeros", align_corners=False)
        if blend:
            values, inside = values[:, :channels], values[:, channels:]
            values = values + (1 - inside) * fills(values)
        return torch_uint8(values.add_(0.5 + SLACK)) if levels else values  # a mean of levels, cut to whole ones

    return {"nearest": nearest, "bilinear": bilinear, "exact": exact}[method]


def bind_tensorflow(x: Spec, method: Method, fill: float | tuple[float, ...]) -> Kernel:
    """A function of (pictures [n, height, width, channel], tall, wide, way back)."""
    import tensorflow as tf

    levels = x.dtype == "uint8"
    blend = bool(np.any(fill))
    fills, whole = np.full(x.size("channel") or 1, fill, np.float32), _in_type(x, fill)

    def numbers(values: Any) -> tf.Tensor:
        return tf.cast(values, tf.float64)

    def places(pictures: tf.Tensor, tall: tf.Tensor, wide: tf.Tensor, way: Way) -> Sequence[tf.Tensor]:
        ranges = (numbers(tf.range(wide)), numbers(tf.range(tall)))
        return sources(way, *ranges, *tf.unstack(numbers(tf.shape(pictures)[1:3])))

    def look(pictures: tf.Tensor, down: tf.Tensor, across: tf.Tensor, outside: Any) -> tf.Tensor:
        count, height, width, channels = tf.unstack(tf.shape(pictures))
        across, down = tf.cast(across, tf.int32), tf.cast(down, tf.int32)
        inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
        index = tf.clip_by_value(down, 0, height - 1) * width + tf.clip_by_value(across, 0, width - 1)
        index = tf.broadcast_to(index, tf.concat([[count], tf.shape(index)[1:]], 0))
        found = tf.gather(tf.reshape(pictures, [count, height * width, channels]), index, axis=1, batch_dims=1)
        return tf.where(inside[..., None], tf.cast(found, outside.dtype), outside)

    def nearest(pictures: tf.Tensor, tall: tf.Tensor, wide: tf.Tensor, way: Way) -> tf.Tensor:
        columns, rows = places(pictures, tall, wide, way)
        return look(pictures, tf.floor(rows + 0.5), tf.floor(columns + 0.5), whole)

    def exact(pictures: tf.Tensor, tall: tf.Tensor, wide: tf.Tensor, way: Way) -> tf.Tensor:
        columns, rows = places(pictures, tall, wide, way)
        left, top = tf.floor(columns), tf.floor(rows)
        right, below = (tf.cast(part, tf.float32)[..., None] for part in (columns - left, rows - top))
        return mixed(lambda down, across: look(pictures, top + down, left + across, fills), right, below)

    def transforms(shape: tf.Tensor, tall: tf.Tensor, wide: tf.Tensor, way: Way) -> tf.Tensor:
        """The way back in pixels from the first one, float32[rows, 8]."""
        cy, cx = tf.unstack(numbers(shape[1:3] - 1) / 2)
        oy, ox = numbers(tall - 1) / 2, numbers(wide - 1) / 2
        xx, xy, x0, yx, yy, y0, *rest = way
        px, py = rest or (xx * 0, xx * 0)
        one = 1 - (px * ox + py * oy)
        columns = [xx + cx * px, xy + cx * py, cx * one + x0 - (xx * ox + xy * oy)]
        rows = [yx + cy * px, yy + cy * py, cy * one + y0 - (yx * ox + yy * oy)]
        return tf.cast(tf.stack([*columns, *rows, px, py], -1) / one[:, None], tf.float32)

    def bilinear(pictures: tf.Tensor, tall: tf.Tensor, wide: tf.Tensor, way: Way) -> tf.Tensor:
        values = tf.cast(pictures, tf.float32)
        if blend:
            values = tf.concat([values, tf.ones_like(values[..., :1])], -1)
        values = tf.raw_ops.ImageProjectiveTransformV3(
            images=values,
            transforms=transforms(tf.shape(pictures), tall, wide, way),
            output_shape=tf.stack([tall, wide]),
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="CONSTANT",
        )
        if blend:
            values, inside = values[..., :-1], values[..., -1:]
            values = values + (1 - inside) * fills
        return tf.cast(values + (0.5 + SLACK), tf.uint8) if levels else values

    return {"nearest": nearest, "bilinear": bilinear, "exact": exact}[method]
