"""Resizing as Pillow defines it, bound in both frameworks: the width first, then the height.

An output pixel is the weighted mean of the input pixels around (i + 1/2) n_in / n_out - 1/2. The weights are a
triangle (bilinear) or Keys' cubic with a = -1/2 (bicubic), stretched by the scale where `antialias` shrinks;
pixels outside the picture have none. uint8 pictures are rounded half up to levels after each of the two axes;
others are clipped to the range they came with. Nearest takes the pixel floor((i + 1/2) n_in / n_out).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipelines.errors import RecordError
from pipelines.spec import Spec
from pipelines.step import Kernel

if TYPE_CHECKING:
    import tensorflow as tf
    import torch

Method = Literal["bilinear", "bicubic", "nearest"]
Side = Annotated[int, Field(gt=0, le=65_535)]
MOST_PIXELS = 178_956_970  # a resized picture; a strip of 1 x 20000 with the short side at 256 would have 1.3e9


def check_target(height: int, width: int) -> None:
    """Raise RecordError where the resized picture would be absurdly large."""
    if height * width > MOST_PIXELS:
        raise RecordError(f"resized it would be {height} x {width}; expected at most {MOST_PIXELS} pixels")


def bind_torch(x: Spec, method: Method, antialias: bool) -> Kernel:
    """A function of (pictures [..., channel, height, width], height, width)."""
    import torch
    from torch.nn import functional as F

    levels = x.dtype == "uint8"
    plain_cubic = method == "bicubic" and not antialias  # torch's own has a = -3/4

    def one_axis(pictures: torch.Tensor, height: int, width: int) -> torch.Tensor:
        if not plain_cubic:
            return F.interpolate(pictures, (height, width), mode=method, antialias=antialias)
        if width != pictures.shape[-1]:
            return pictures @ torch.from_numpy(cubic_weights(pictures.shape[-1], width)).to(pictures.device).T
        return torch.from_numpy(cubic_weights(pictures.shape[-2], height)).to(pictures.device) @ pictures

    def smooth(pictures: torch.Tensor, height: int, width: int) -> torch.Tensor:
        flat = pictures.reshape(-1, *pictures.shape[-3:])
        if levels and not plain_cubic and flat.device.type == "cpu":
            # called here and not through torchvision, which takes another path, with other rounding, on some CPUs
            flat = F.interpolate(flat, (height, width), mode=method, antialias=antialias)
        else:
            flat = flat.to(torch.float32)
            for size in ((flat.shape[-2], width), (height, width)):
                flat = one_axis(flat, *size)
                if levels:
                    flat = (flat + 0.5).floor().clamp(0, 255)
            flat = flat.to(torch.uint8) if levels else flat.clamp(*x.range) if x.range else flat
        return flat.reshape(*pictures.shape[:-2], height, width)

    def nearest(pictures: torch.Tensor, height: int, width: int) -> torch.Tensor:
        for axis, size in ((-2, height), (-1, width)):
            centres = 2 * torch.arange(size, device=pictures.device) + 1
            pictures = pictures.index_select(axis, centres * pictures.shape[axis] // (2 * size))
        return pictures

    return nearest if method == "nearest" else smooth


def bind_tensorflow(x: Spec, method: Method, antialias: bool) -> Kernel:
    """A function of (pictures [..., height, width, channel], height, width); sizes are int32 tensors or numbers."""
    import tensorflow as tf

    levels = x.dtype == "uint8"
    kernel_type = "triangle" if method == "bilinear" else "keyscubic"

    def rows(pictures: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        # each row as one pixel of many channels: the op's work along rows is twice as fast as along columns
        shape = tf.shape(pictures)
        rows = tf.reshape(pictures, [shape[0], shape[1], 1, shape[2] * shape[3]])
        rows = tf.raw_ops.ScaleAndTranslate(
            images=rows,
            size=tf.stack([size, 1]),
            scale=tf.stack([tf.cast(size, tf.float32) / tf.cast(shape[1], tf.float32), 1.0]),
            translation=[0.0, 0.0],
            kernel_type=kernel_type,
            antialias=antialias,
        )
        if levels:
            rows = tf.clip_by_value(tf.floor(rows + 0.5), 0.0, 255.0)
        return tf.reshape(rows, [shape[0], size, shape[2], shape[3]])

    def smooth(pictures: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        shape = tf.shape(pictures)
        flat = tf.transpose(tf.reshape(pictures, tf.concat([[-1], shape[-3:]], 0)), [0, 2, 1, 3])
        flat = rows(tf.transpose(rows(flat, width), [0, 2, 1, 3]), height)
        if levels:
            flat = tf.cast(flat, tf.uint8)
        elif x.range:
            flat = tf.clip_by_value(flat, *x.range)
        return tf.reshape(flat, tf.concat([shape[:-3], [height, width, shape[-1]]], 0))

    def nearest(pictures: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        rank = len(pictures.shape)
        for axis, size in ((rank - 3, height), (rank - 2, width)):
            centres = 2 * tf.range(tf.cast(size, tf.int64)) + 1
            length = tf.shape(pictures, tf.int64)[axis]
            pictures = tf.gather(pictures, centres * length // (2 * tf.cast(size, tf.int64)), axis=axis)
        return pictures

    return nearest if method == "nearest" else smooth


@lru_cache(maxsize=64)
def cubic_weights(n_in: int, n_out: int) -> npt.NDArray[np.float32]:
    """float32[n_out, n_in]: Keys' cubic (a = -1/2) at the output centres, not stretched; rows sum to 1."""
    centre = (np.arange(n_out) + 0.5) * n_in / n_out - 0.5
    d = np.abs(np.arange(n_in) - centre[:, None])
    near, far = (1.5 * d - 2.5) * d * d + 1, ((2.5 - 0.5 * d) * d - 4) * d + 2
    weights: npt.NDArray[Any] = np.where(d < 1, near, np.where(d < 2, far, 0.0))
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
