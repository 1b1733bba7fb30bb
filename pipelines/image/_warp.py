"""Turned pictures, in both frameworks: each output pixel is looked up where it comes from.

With (dx, dy) from the centre of the output, a pixel comes from (cos dx - sin dy, sin dx + cos dy) from the
centre of the input. The functions take pictures with one batch axis, the output's height and width, and cosines
and sines, float64[rows or 1].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipelines.native import torch_constant
from pipelines.spec import Spec
from pipelines.step import Kernel

if TYPE_CHECKING:
    import tensorflow as tf
    import torch

SLACK = 2.0**-7  # levels; above the noise of float32 positions, so that an exact half rounds up in both frameworks


def sources(cosine: Any, sine: Any, across: Any, down: Any, height: Any, width: Any) -> tuple[Any, Any]:
    """Columns and rows, float64[rows, tall, wide], that output columns `across` and rows `down` come from."""
    dx, dy = across - across[-1] / 2, down - down[-1] / 2
    cosine, sine = cosine[:, None], sine[:, None]
    columns = ((cosine * dx)[:, None, :] - (sine * dy)[:, :, None]) + (width - 1) / 2
    rows = ((sine * dx)[:, None, :] + (cosine * dy)[:, :, None]) + (height - 1) / 2
    return columns, rows


def bind_torch(x: Spec, method: Literal["bilinear", "nearest"], fill: float | tuple[float, ...]) -> Kernel:
    """A function of (pictures [n, channel, height, width], tall, wide, cosine, sine)."""
    import torch
    from torch.nn import functional as F

    levels = x.dtype == "uint8"
    blend = bool(np.any(fill))
    fills = torch_constant(np.full(x.size("channel") or 1, fill, np.float32)[:, None, None])

    def nearest(pictures: torch.Tensor, tall: int, wide: int, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        count, channels, height, width = pictures.shape
        across, down = (torch.arange(n, dtype=torch.float64, device=pictures.device) for n in (wide, tall))
        columns, rows = sources(cosine.to(pictures.device), sine.to(pictures.device), across, down, height, width)
        across, down = (columns + 0.5).floor().long(), (rows + 0.5).floor().long()
        inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
        index = (down.clamp(0, height - 1) * width + across.clamp(0, width - 1)).flatten(1)
        found = pictures.flatten(2).gather(2, index[:, None].expand(count, channels, -1))
        return torch.where(inside[:, None], found.reshape(count, channels, tall, wide), fills(pictures).to(found.dtype))

    def bilinear(
        pictures: torch.Tensor, tall: int, wide: int, cosine: torch.Tensor, sine: torch.Tensor
    ) -> torch.Tensor:
        count, channels, height, width = pictures.shape
        values = pictures.to(torch.float32)
        if blend:
            values = torch.cat([values, torch.ones_like(values[:, :1])], 1)
        # grid_sample counts from the centre, in half widths and half heights
        cosine, sine = cosine[:, None] * 2, sine[:, None] * 2
        dx = torch.arange(wide, dtype=torch.float64) - (wide - 1) / 2
        dy = torch.arange(tall, dtype=torch.float64) - (tall - 1) / 2
        parts = (cosine * dx / width, sine * dy / width, sine * dx / height, cosine * dy / height)
        x_dx, x_dy, y_dx, y_dy = (part.to(pictures.device, torch.float32) for part in parts)
        grid = torch.empty(len(cosine), tall, wide, 2, device=pictures.device)
        grid[..., 0] = x_dx[:, None, :] - x_dy[:, :, None]
        grid[..., 1] = y_dx[:, None, :] + y_dy[:, :, None]
        values = F.grid_sample(values, grid.expand(count, -1, -1, -1), "bilinear", "zeros", align_corners=False)
        if blend:
            values, inside = values[:, :channels], values[:, channels:]
            values = values + (1 - inside) * fills(values)
        return (values + (0.5 + SLACK)).floor().clamp(0, 255).to(torch.uint8) if levels else values

    return nearest if method == "nearest" else bilinear


def bind_tensorflow(x: Spec, method: Literal["bilinear", "nearest"], fill: float | tuple[float, ...]) -> Kernel:
    """A function of (pictures [n, height, width, channel], tall, wide, cosine, sine)."""
    import tensorflow as tf

    levels = x.dtype == "uint8"
    blend = bool(np.any(fill))
    fills = np.full(x.size("channel") or 1, fill, np.float32)

    def numbers(values: Any) -> tf.Tensor:
        return tf.cast(values, tf.float64)

    def nearest(pictures: tf.Tensor, tall: tf.Tensor, wide: tf.Tensor, cosine: tf.Tensor, sine: tf.Tensor) -> tf.Tensor:
        count, height, width, channels = tf.unstack(tf.shape(pictures))
        ranges = (numbers(tf.range(wide)), numbers(tf.range(tall)))
        places = sources(cosine, sine, *ranges, numbers(height), numbers(width))
        across, down = (tf.cast(tf.floor(place + 0.5), tf.int32) for place in places)
        inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
        index = tf.clip_by_value(down, 0, height - 1) * width + tf.clip_by_value(across, 0, width - 1)
        index = tf.broadcast_to(index, [count, tall, wide])
        found = tf.gather(tf.reshape(pictures, [count, height * width, channels]), index, axis=1, batch_dims=1)
        return tf.where(inside[..., None], found, tf.cast(fills, pictures.dtype))

    def bilinear(
        pictures: tf.Tensor, tall: tf.Tensor, wide: tf.Tensor, cosine: tf.Tensor, sine: tf.Tensor
    ) -> tf.Tensor:
        values = tf.cast(pictures, tf.float32)
        if blend:
            values = tf.concat([values, tf.ones_like(values[..., :1])], -1)
        cy, cx = tf.unstack(numbers(tf.shape(pictures)[1:3] - 1) / 2)
        oy, ox = numbers(tall - 1) / 2, numbers(wide - 1) / 2
        columns = [cosine, -sine, cx - (cosine * ox - sine * oy)]
        rows = [sine, cosine, cy - (sine * ox + cosine * oy)]
        values = tf.raw_ops.ImageProjectiveTransformV3(
            images=values,
            transforms=tf.cast(tf.stack([*columns, *rows, sine * 0, sine * 0], -1), tf.float32),
            output_shape=tf.stack([tall, wide]),
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="CONSTANT",
        )
        if blend:
            values, inside = values[..., :-1], values[..., -1:]
            values = values + (1 - inside) * fills
        return tf.cast(tf.clip_by_value(tf.floor(values + (0.5 + SLACK)), 0, 255), tf.uint8) if levels else values

    return nearest if method == "nearest" else bilinear
