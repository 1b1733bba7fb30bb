"""Resizing as Pillow defines it, bound in both frameworks: the width first, then the height.

An output pixel is the weighted mean of the input pixels around (i + 1/2) n_in / n_out - 1/2. The weights are a
triangle (bilinear) or Keys' cubic with a = -1/2 (bicubic), stretched by the scale where `antialias` shrinks;
pixels outside the picture have none. uint8 pictures are weighted with 16-bit integers, as torch does, and rounded
half up to levels after each of the two axes; others are clipped to the range they came with. Nearest takes the
pixel floor((i + 1/2) n_in / n_out).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipelines.spec import Spec
from pipelines.step import Kernel

if TYPE_CHECKING:
    import tensorflow as tf
    import torch

Box = Sequence[int]
Method = Literal["bilinear", "bicubic", "nearest"]
Side = Annotated[int, Field(gt=0, le=65_535)]


@lru_cache(maxsize=1024)
def weights(
    n_in: int, n_out: int, method: Method, antialias: bool, levels: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """One axis as a sparse matrix: the places (out, in), int64[n, 2] sorted, and the weights, float32[n].

    With `levels` they are whole multiples of the smallest power of two that leaves each in 16 bits.
    """
    scale = n_in / n_out
    stretch = max(scale, 1.0) if antialias else 1.0
    reach = (1 if method == "bilinear" else 2) * stretch
    centre = (np.arange(n_out) + 0.5) * scale
    first = np.maximum(np.floor(centre - reach + 0.5), 0).astype(np.int64)
    last = np.minimum(np.floor(centre + reach + 0.5), n_in).astype(np.int64)
    place = first[:, None] + np.arange(np.max(last - first))
    d = np.abs(place + 0.5 - centre[:, None]) / stretch
    if method == "bilinear":
        w = np.maximum(1 - d, 0)
    else:
        w = np.where(d < 1, (1.5 * d - 2.5) * d * d + 1, np.where(d < 2, ((2.5 - 0.5 * d) * d - 4) * d + 2, 0))
    w = np.where(place < last[:, None], w, 0)
    w /= w.sum(1, keepdims=True)
    if levels:
        bits = 0
        while bits < 22 and int(0.5 + w.max() * 2 ** (bits + 1)) < 2**15:
            bits += 1
        w = np.sign(w) * np.floor(np.abs(w) * 2**bits + 0.5) / 2**bits
    out, tap = np.nonzero(w)
    return np.stack([out, place[out, tap]], 1), w[out, tap].astype(np.float32)


@lru_cache(maxsize=256)
def side_by_side(
    n_in: int, n_out: int, channels: int, method: Method, antialias: bool, levels: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """`weights` for an axis that holds the channels of one pixel after the other."""
    places, values = weights(n_in, n_out, method, antialias, levels)
    each = (places[:, None] * channels + np.arange(channels)[:, None]).reshape(-1, 2)
    order = np.lexsort((each[:, 1], each[:, 0]))
    return each[order], np.repeat(values, channels)[order]


def part_of(
    table: tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]], first: int, count: int, channels: int = 1
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], int, int]:
    """The weights of some outputs alone, and where the inputs begin and end that they mix."""
    places, values = table
    begin, end = np.searchsorted(places[:, 0], (first * channels, (first + count) * channels))
    low, high = places[begin:end, 1].min() // channels, places[begin:end, 1].max() // channels + 1
    return places[begin:end] - (first * channels, low * channels), values[begin:end], low, high


def bind_torch(x: Spec, method: Method, antialias: bool) -> Kernel:
    """A function of (pictures [..., channel, height, width], height, width)."""
    import torch
    from torch.nn import functional as F

    levels = x.dtype == "uint8"
    own_cubic = method == "bicubic" and not antialias  # torch's has a = -3/4

    def matrix(n_in: int, n_out: int, device: torch.device) -> torch.Tensor:
        places, values = weights(n_in, n_out, method, antialias, levels)
        dense = torch.zeros(n_out, n_in)
        dense[places[:, 0], places[:, 1]] = torch.tensor(values)
        return dense.to(device)

    def rounded(pictures: torch.Tensor) -> torch.Tensor:
        return (pictures + 0.5).floor().clamp(0, 255) if levels else pictures

    def smooth(pictures: torch.Tensor, height: int, width: int) -> torch.Tensor:
        dot = height == width == 1  # torch 2.3 fails an assertion on three levels in one pixel
        if not own_cubic and not dot and (not levels or pictures.device.type == "cpu"):
            # called here and not through torchvision, which on some CPUs rounds uint8 only once
            flat = pictures.reshape(-1, *pictures.shape[-3:])
            resized: torch.Tensor = F.interpolate(flat, (height, width), mode=method, antialias=antialias)
            resized = resized.reshape(*pictures.shape[:-2], height, width)
        else:
            wide = pictures.to(torch.float32) @ matrix(pictures.shape[-1], width, pictures.device).T
            resized = rounded(matrix(pictures.shape[-2], height, pictures.device) @ rounded(wide)).to(pictures.dtype)
        return resized.clamp(*x.range) if x.range and not levels else resized

    def nearest(pictures: torch.Tensor, height: int, width: int) -> torch.Tensor:
        for axis, size in ((-2, height), (-1, width)):
            centres = 2 * torch.arange(size, device=pictures.device) + 1
            pictures = pictures.index_select(axis, centres * pictures.shape[axis] // (2 * size))
        return pictures

    return nearest if method == "nearest" else smooth


def bind_tensorflow(x: Spec, method: Method, antialias: bool, cut: Callable[..., Box] | None = None) -> Kernel:
    """A function of (pictures [..., height, width, channel], height, width); sizes are int32 tensors or numbers.

    With `cut` it is also handed what that takes behind the new height and width, and makes only that part of the new
    pictures (top, left, height, width), of the input that this part needs; never by "nearest".
    """
    import tensorflow as tf

    levels = x.dtype == "uint8"

    def host_weights(height: Any, width: Any, channels: Any, tall: Any, wide: Any, *rest: Any) -> Any:
        height, width, channels, tall, wide = map(int, (height, width, channels, tall, wide))
        across: Any = side_by_side(width, wide, channels, method, antialias, levels)
        down: Any = weights(height, tall, method, antialias, levels)
        needed, made = (0, height, 0, width), [tall, wide]
        if cut:
            top, left, *made = cut(tall, wide, *rest)
            *across, first, last = part_of(across, left, made[1], channels)
            *down, upper, lower = part_of(down, top, made[0])
            needed = upper, lower, first, last
        return *across, *down, np.array(needed, np.int32), np.array(made, np.int32)

    def weighted(values: tf.Tensor, size: tf.Tensor, places: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
        """[rows, n] as [size, n], of whole levels if the picture has levels; half rounds up."""
        places.set_shape([None, 2])
        found.set_shape([None])
        matrix = tf.SparseTensor(places, found, tf.cast(tf.stack([size, tf.shape(values)[0]]), tf.int64))
        values = tf.sparse.sparse_dense_matmul(matrix, tf.cast(values, tf.float32))
        if levels and method == "bicubic":
            values = tf.clip_by_value(tf.floor(values + 0.5), 0.0, 255.0)
        elif levels:  # a mean of levels is one
            values = values + 0.5
        return tf.cast(values, tf.uint8) if levels else values

    def smooth(pictures: tf.Tensor, height: tf.Tensor, width: tf.Tensor, *rest: tf.Tensor) -> tf.Tensor:
        asked = [*tf.unstack(tf.shape(pictures)[-3:]), height, width, *rest]
        kinds = [*[tf.int64, tf.float32] * 2, tf.int32, tf.int32]
        *across, down, amounts, needed, made = tf.numpy_function(host_weights, asked, kinds)
        upper, lower, first, last = tf.unstack(tf.ensure_shape(needed, [4]))
        height, width = tf.unstack(tf.ensure_shape(made, [2]))
        pictures = pictures[..., upper:lower, first:last, :]
        shape = tf.shape(pictures)
        tall, wide, channels = tf.unstack(shape[-3:])
        flat = tf.transpose(tf.reshape(pictures, tf.stack([-1, wide * channels])))  # two axes are turned fast
        flat = tf.transpose(weighted(flat, width * channels, *across))
        one = pictures.shape.rank == 3  # whose rows lie as the product wants them
        if not one:
            many = tf.reshape(flat, tf.stack([-1, tall, width * channels]))
            flat = tf.reshape(tf.transpose(many, [1, 0, 2]), tf.stack([tall, -1]))
        flat = weighted(flat, height, down, amounts)
        if not one:
            flat = tf.transpose(tf.reshape(flat, tf.stack([height, -1, width * channels])), [1, 0, 2])
        if x.range and not levels:
            flat = tf.clip_by_value(flat, *x.range)
        return tf.reshape(flat, tf.concat([shape[:-3], [height, width, channels]], 0))

    def nearest(pictures: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        rank = len(pictures.shape)
        for axis, size in ((rank - 3, height), (rank - 2, width)):
            centres = 2 * tf.range(tf.cast(size, tf.int64)) + 1
            length = tf.shape(pictures, tf.int64)[axis]
            pictures = tf.gather(pictures, centres * length // (2 * tf.cast(size, tf.int64)), axis=axis)
        return pictures

    return nearest if method == "nearest" else smooth
