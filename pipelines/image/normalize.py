"""Levels to centred numbers."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from pipelines.errors import SpecError
from pipelines.native import torch_constant
from pipelines.spec import Spec, picture
from pipelines.step import Example, Identical, Kernel, Step


class Normalize(Step):
    """Brings levels to [0, 1], subtracts a mean and divides by a deviation.

    Takes  uint8[..., height, width, channel] in [0, 255], or float32 in [0, 1]
    Gives  float32, the same axes; out[y, x, c] = (in[y, x, c] - mean[c]) / std[c], uint8 first times 1/255

    `mean` and `std` are on the scale of [0, 1], one number or one per channel; left out, levels are only scaled.
    ImageNet's are [0.485, 0.456, 0.406] and [0.229, 0.224, 0.225].
    Source: torchvision.transforms.v2 ToDtype(scale=True) and Normalize; tf.image.convert_image_dtype.
    """

    mean: float | Annotated[tuple[float, ...], Field(min_length=1)] = 0.0
    std: Annotated[float, Field(gt=0)] | Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = 1.0

    agreement = Identical("the same float32 operations in the same order")
    examples = (
        Example(picture()),
        Example(picture(17, 11), {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}),
        Example(picture(None, None, 1), {"mean": 0.5, "std": 0.5}),
        Example(picture(5, 8, 4, "float32"), {"mean": 0.25, "std": [0.5, 1.0, 2.0, 4.0]}),
    )

    def out_spec(self, x: Spec) -> Spec:
        x.need(("uint8", "float32"), last=("height", "width", "channel"))
        if x.dtype == "float32" and x.range not in (None, (0.0, 1.0)):
            raise SpecError(f"expected levels in [0, 1], got {x}")
        channels = x.size("channel")
        for name, given in (("mean", self.mean), ("std", self.std)):
            if isinstance(given, tuple) and len(given) != channels:
                raise SpecError(f"expected {channels} values of {name}, one per channel, got {len(given)}")
        mean, inverse = self.constants(channels or 1)
        ends = (np.array([[0.0], [1.0]], np.float32) - mean) * inverse
        limits = None if x.dtype == "float32" and x.range is None else (float(ends.min()), float(ends.max()))
        return x.but(dtype="float32", unit=x.unit if self.only_scales else "", range=limits)

    @property
    def only_scales(self) -> bool:
        """Whether there is nothing to subtract and to divide by."""
        return not np.any(self.mean) and bool(np.all(np.equal(self.std, 1)))

    def constants(self, channels: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.float32]], ...]:
        """Mean and 1 / deviation, float32[channel]. Graphs multiply by a constant's inverse, so all do."""
        return tuple(np.full(channels, v, np.float32) for v in (self.mean, 1 / np.array(self.std)))

    def undone(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """[..., channel], the levels in [0, 1] that normalised values came from."""
        mean, inverse = self.constants(values.shape[-1])
        return np.asarray(values / inverse + mean)

    def bind_torch(self, x: Spec) -> Kernel:
        import torch
        from torchvision.transforms.v2 import functional as F

        mean, inverse = (torch_constant(v[:, None, None]) for v in self.constants(x.size("channel") or 1))

        def kernel(pictures: torch.Tensor) -> torch.Tensor:
            levels: torch.Tensor = F.to_dtype(pictures, torch.float32, scale=True)
            if self.only_scales:
                return levels
            centred = levels.sub(mean(levels)) if levels is pictures else levels.sub_(mean(levels))
            return centred.mul_(inverse(levels))

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        width, channels = x.size("width"), x.size("channel") or 1
        # one constant a row: an axis of 3 to spread over costs four times as much
        mean, inverse = (np.tile(constant, width or 1) for constant in self.constants(channels))

        def kernel(pictures: tf.Tensor) -> tf.Tensor:
            levels = tf.image.convert_image_dtype(pictures, tf.float32)
            if self.only_scales:
                return levels
            shape = tf.shape(levels)
            rows = levels if width is None else tf.reshape(levels, tf.concat([shape[:-2], [width * channels]], 0))
            return tf.ensure_shape(tf.reshape((rows - mean) * inverse, shape), pictures.shape)

        return kernel
