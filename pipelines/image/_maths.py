"""The few operations that pixel steps are written in, under one name for both frameworks.

What a step means is then written once. All of them are exact or correctly rounded, so a step made of them gives the
same bits everywhere, but for chains of sums and chains of products: TensorFlow's graph changes their order. So no
three terms are added, but a + b - (-c), with the sign in a constant that is not 1; and no product is multiplied again.
Axes are counted from the end, and a draw's leading axes are those of the value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from pipelines.image._checks import need_pixels_tensorflow, need_pixels_torch
from pipelines.native import torch_uint8
from pipelines.spec import Spec


@dataclass(frozen=True)
class Maths:
    """The operations of one framework, and the axes of its pictures."""

    channel: int
    height: int
    width: int
    floor: Callable[[Any], Any]
    minimum: Callable[[Any, Any], Any]
    maximum: Callable[[Any, Any], Any]
    clip: Callable[[Any, float, float], Any]
    where: Callable[[Any, Any, Any], Any]
    join: Callable[[Sequence[Any], int], Any]
    spread: Callable[[Any, Any], Any]
    """The first values over the shape of the second."""
    take: Callable[[Any, Any, int], Any]
    """Values at int64[n] of an axis."""
    to: Callable[[Any, str], Any]
    size: Callable[[Any, int], Any]
    """Size of an axis: int in torch, an int64 scalar in TensorFlow."""
    pixels: Callable[[Any], Any]
    """Number of pixels, at least 1: float in torch, a float64 scalar in TensorFlow."""
    total: Callable[[Any], Any]
    """Sum over height and width, kept as axes of size 1."""
    lowest: Callable[[Any], Any]
    highest: Callable[[Any], Any]
    largest: Callable[[Any], Any]
    """Of the last axis, kept with size 1."""
    count: Callable[[Any], Any]
    """int64[..., channel, 256] of int64 levels."""
    look_up: Callable[[Any, Any], Any]
    """Each level's entry in a table [..., channel, 256] of its channel."""
    cumulate: Callable[[Any], Any]
    places: Callable[[Any, Any], Any]
    """int64[size] 0, 1, .. of an axis, on the device of the values."""
    near: Callable[[Any, Any], Any]
    """A NumPy array, or a tensor on the CPU, on the device of the values."""
    at_least_1: Callable[[Any], Any]
    shaped: Callable[[Any, Spec], Any]
    """Values whose known sizes TensorFlow is told."""
    need_pixels: Callable[[Any], Any]
    """Fails the record if the picture is empty."""
    asked: Callable[..., Any]
    """float64 that a NumPy function makes of numbers and draws: asked(function, shape, *given)."""
    reshape: Callable[[Any, Sequence[Any]], Any]
    shape: Callable[[Any], Any]
    to_int: Callable[[Any], Any]
    """A size as the framework's own operations want it."""
    choose: Callable[[Sequence[Callable[[Any, Any], Any]], Any, Any], Any]
    """Operations one after the other, other ones for each record: choose(operations, values, plan).

    The plan is float64[..., place, 1 + numbers]: which operation stands there, and the numbers that it is handed.
    """

    def part(self, values: Any, axis: int, start: Any, stop: Any) -> Any:
        """Values from `start` up to `stop` of an axis."""
        return values[(Ellipsis, slice(start, stop)) + (slice(None),) * (-axis - 1)]

    def along(self, vector: Any, axis: int) -> Any:
        """A vector laid along an axis of a picture."""
        return vector[(slice(None),) + (None,) * (-axis - 1)]

    def rows(self, amounts: Any, values: Any, dtype: str = "float32") -> Any:
        """One number per record, float64[...], to go with pictures [..., :, :, :]."""
        return self.near(self.to(amounts[..., None, None, None], dtype), values)

    def each_channel(self, numbers: Any, values: Any) -> Any:
        """One number, or one per channel, as a constant of the values' type, to go with pictures."""
        vector = self.near(np.atleast_1d(np.asarray(numbers, np.float32)), values)
        return self.along(vector, self.channel)

    def mirrored(self, places: Any, size: Any, twice: bool = False) -> Any:
        """Pixels that mirror images of an axis show at `places`; the outermost ones once, or `twice`."""
        period = size * 2 if twice else size * 2 - 2
        turned = places % self.at_least_1(period)
        return self.minimum(turned, period - turned - (1 if twice else 0))

    def round(self, values: Any, dtype: str) -> Any:
        """float32 as it came: uint8 rounded half up and cut at 0 and 255."""
        return self.to(self.clip(self.floor(values + 0.5), 0.0, 255.0), "uint8") if dtype == "uint8" else values


@cache
def torch_maths() -> Maths:
    """The operations of torch, on pictures [..., channel, height, width]."""
    import torch

    def on_device(values: Any, like: torch.Tensor) -> torch.Tensor:
        found = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
        return found.to(like.device)

    def count(levels: torch.Tensor) -> torch.Tensor:
        zeros = torch.zeros((*levels.shape[:-2], 256), dtype=torch.int64, device=levels.device)
        flat = levels.flatten(-2)
        return zeros.scatter_add_(-1, flat, torch.ones_like(flat))

    def asked(function: Callable[..., Any], shape: Sequence[Any], *given: Any) -> torch.Tensor:
        plain = [g.cpu().numpy() if isinstance(g, torch.Tensor) else g for g in given]
        return torch.from_numpy(np.ascontiguousarray(function(*plain), np.float64))

    def choose(operations: Sequence[Callable[[Any, Any], Any]], values: torch.Tensor, plan: torch.Tensor) -> Any:
        if not values.numel():
            return values
        shape, plan = values.shape, plan.reshape(-1, *plan.shape[-2:])
        values = values.reshape(-1, *shape[-3:])
        for place in range(plan.shape[1]):
            which, numbers, before = plan[:, place, 0], plan[:, place, 1:], values
            for index in which.unique().int().tolist():  # every record has one, and all that have it go together
                rows = torch.nonzero(which == index)[:, 0]
                if len(rows) == len(which):
                    values = operations[index](before, numbers)
                    continue
                values = values.clone() if values is before else values
                here = rows.to(values.device)
                values[here] = operations[index](before[here], numbers[rows])
        return values.reshape(shape)

    def to(values: torch.Tensor, dtype: str) -> Any:
        cut = dtype == "uint8" and values.is_floating_point()
        return torch_uint8(values) if cut else values.to(getattr(torch, dtype))

    return Maths(
        channel=-3,
        height=-2,
        width=-1,
        floor=torch.floor,
        minimum=torch.minimum,
        maximum=torch.maximum,
        clip=torch.clamp,
        where=torch.where,
        join=lambda parts, axis: torch.cat(list(parts), axis),
        spread=lambda values, like: values.expand_as(like),
        take=lambda values, index, axis: values.index_select(axis, index),
        to=to,
        size=lambda values, axis: values.shape[axis],
        pixels=lambda values: float(max(values.shape[-2] * values.shape[-1], 1)),
        total=lambda values: values.sum((-2, -1), keepdim=True),
        lowest=lambda values: values.amin((-2, -1), keepdim=True),
        highest=lambda values: values.amax((-2, -1), keepdim=True),
        largest=lambda values: values.amax(-1, keepdim=True),
        count=count,
        look_up=lambda table, levels: table.gather(-1, levels.flatten(-2)).reshape(levels.shape),
        cumulate=lambda values: values.cumsum(-1),
        places=lambda size, like: torch.arange(size, device=like.device),
        near=on_device,
        at_least_1=lambda size: max(size, 1),
        shaped=lambda values, spec: values,
        need_pixels=need_pixels_torch,
        asked=asked,
        reshape=lambda values, shape: values.reshape(tuple(shape)),
        shape=lambda values: list(values.shape),
        to_int=int,
        choose=choose,
    )


@cache
def tensorflow_maths() -> Maths:
    """The operations of TensorFlow, on pictures [..., height, width, channel]."""
    import tensorflow as tf

    def shaped(values: tf.Tensor, spec: Spec) -> tf.Tensor:
        values.set_shape([*values.shape[:-3], *spec.shape[-3:]])
        return values

    def planes(levels: tf.Tensor) -> tf.Tensor:
        """[..., height, width, channel] as [rows x channel, pixels]."""
        size = tf.shape(levels)
        flat = tf.reshape(levels, tf.stack([-1, size[-3] * size[-2], size[-1]]))
        return tf.reshape(tf.transpose(flat, [0, 2, 1]), tf.stack([-1, size[-3] * size[-2]]))

    def count(levels: tf.Tensor) -> tf.Tensor:
        size = tf.shape(levels)
        found = tf.math.bincount(tf.cast(planes(levels), tf.int32), minlength=256, maxlength=256, axis=-1)
        return tf.reshape(tf.cast(found, tf.int64), tf.concat([size[:-3], size[-1:], [256]], 0))

    def look_up(table: tf.Tensor, levels: tf.Tensor) -> tf.Tensor:
        size = tf.shape(levels)
        found = tf.gather(tf.reshape(table, [-1, 256]), planes(levels), axis=1, batch_dims=1)
        found = tf.reshape(found, tf.stack([-1, size[-1], size[-3] * size[-2]]))
        return tf.reshape(tf.transpose(found, [0, 2, 1]), size)

    def asked(function: Callable[..., Any], shape: Sequence[Any], *given: Any) -> tf.Tensor:
        found = tf.numpy_function(lambda *a: np.asarray(function(*a), np.float64), list(given), tf.float64)
        found.set_shape(shape)
        return found

    def choose(operations: Sequence[Callable[[Any, Any], Any]], values: tf.Tensor, plan: tf.Tensor) -> Any:
        def one(value: tf.Tensor, plan: tf.Tensor) -> tf.Tensor:
            def step(place: tf.Tensor, value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                asked = tf.gather(plan, place)
                calls = [partial(operation, value, asked[1:]) for operation in operations]
                made = tf.switch_case(tf.cast(asked[0], tf.int32), calls)
                return place + 1, tf.ensure_shape(made, value.shape)

            count = plan.shape[0]  # a loop, so that the operations are traced once, not once for each place
            return tf.while_loop(lambda place, value: place < count, step, (0, value))[1]

        if values.shape.rank == 3:
            return one(values, plan)
        rows = tf.reshape(values, tf.concat([[-1], tf.shape(values)[-3:]], 0))
        plans = tf.reshape(plan, [-1, *plan.shape[-2:]])
        spec = tf.TensorSpec(values.shape[-3:], values.dtype)
        return tf.reshape(tf.map_fn(lambda row: one(*row), (rows, plans), fn_output_signature=spec), tf.shape(values))

    return Maths(
        channel=-1,
        height=-3,
        width=-2,
        floor=tf.floor,
        minimum=tf.minimum,
        maximum=tf.maximum,
        clip=tf.clip_by_value,
        where=tf.where,
        join=lambda parts, axis: tf.concat(list(parts), axis),
        spread=lambda values, like: tf.broadcast_to(values, tf.shape(like)),
        take=lambda values, index, axis: tf.gather(values, index, axis=axis),
        to=lambda values, dtype: tf.cast(values, dtype),
        size=lambda values, axis: tf.shape(values, tf.int64)[axis],
        pixels=lambda values: tf.cast(tf.maximum(tf.reduce_prod(tf.shape(values)[-3:-1]), 1), tf.float64),
        total=lambda values: tf.reduce_sum(values, [-3, -2], keepdims=True),
        lowest=lambda values: tf.reduce_min(values, [-3, -2], keepdims=True),
        highest=lambda values: tf.reduce_max(values, [-3, -2], keepdims=True),
        largest=lambda values: tf.reduce_max(values, -1, keepdims=True),
        count=count,
        look_up=look_up,
        cumulate=lambda values: tf.cumsum(values, -1),
        places=lambda size, like: tf.range(tf.cast(size, tf.int64)),
        near=lambda values, like: tf.convert_to_tensor(values),
        at_least_1=lambda size: tf.maximum(size, 1),
        shaped=shaped,
        need_pixels=need_pixels_tensorflow,
        asked=asked,
        reshape=lambda values, shape: tf.reshape(values, tf.stack([tf.cast(n, tf.int64) for n in shape])),
        shape=lambda values: tf.unstack(tf.shape(values, tf.int64)),
        to_int=lambda size: tf.cast(size, tf.int32),
        choose=choose,
    )
