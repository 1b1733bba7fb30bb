"""Mirroring."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipelines.geometry import Motion, MovingStep, affine
from pipelines.spec import Spec, picture
from pipelines.step import Example, Identical, Kernel


class Flip(MovingStep):
    """Mirrors a picture, always or by chance.

    Takes  [..., height, width, channel]   any dtype
    Gives  the same; horizontal: out[y, x] = in[y, width - 1 - x]; vertical: out[y, x] = in[height - 1 - y, x]

    `probability` is the share of records that are mirrored. When serving, only a probability of 1 mirrors.
    Source: torchvision.transforms.v2.functional.hflip and vflip; tf.reverse.
    """

    direction: Literal["horizontal", "vertical"] = "horizontal"
    probability: Annotated[float, Field(ge=0, le=1)] = 0.5

    agreement = Identical("values are moved, never computed")
    serving = (1.0,)
    examples = (
        Example(picture()),
        Example(picture(), {"probability": 1.0, "direction": "vertical"}),
        Example(picture(17, 11, dtype="float32"), {"probability": 0.3}),
    )

    def variates(self) -> int:
        return 1 if 0 < self.probability < 1 else 0

    def out_spec(self, x: Spec) -> Spec:
        x.need(last=("height", "width", "channel"))
        return x

    def motion(self, height: int, width: int, draw: npt.NDArray[np.float64] | None) -> Motion:
        if self.probability == 0 or (draw is not None and draw[0] >= self.probability):
            return Motion(np.eye(3), height, width)
        across = self.direction == "horizontal"
        return Motion(affine(-1, 0, width, 0, 1, 0) if across else affine(1, 0, 0, 0, -1, height), height, width)

    def for_mask(self, outside: int = 0) -> Flip:
        return self

    def bind_torch(self, x: Spec) -> Kernel:
        import torch
        from torchvision.transforms.v2 import functional as F

        flip = F.hflip if self.direction == "horizontal" else F.vflip
        if not self.variates():
            return flip if self.probability == 1 else lambda picture: picture

        def kernel(pictures: torch.Tensor, draw: torch.Tensor) -> torch.Tensor:
            chosen = torch.as_tensor(draw, device=pictures.device)[..., 0, None, None, None] < self.probability
            return torch.where(chosen, flip(pictures), pictures)

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        axis = [-2 if self.direction == "horizontal" else -3]

        def flip(pictures: tf.Tensor) -> tf.Tensor:
            return tf.reverse(pictures, [a + tf.rank(pictures) for a in axis])

        if not self.variates():
            return flip if self.probability == 1 else lambda picture: picture

        def kernel(pictures: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
            chosen = draw[..., 0, None, None, None] < tf.constant(self.probability, tf.float64)
            return tf.where(chosen, flip(pictures), pictures)

        return kernel
