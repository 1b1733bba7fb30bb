"""RandAugment."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from pipelines.image._augment import NAMES, AugmentStep
from pipelines.spec import picture
from pipelines.step import Example

MOST = 8


class RandAugment(AugmentStep):
    """Changes a picture by some operations drawn from 14, all of one strength.

    Takes  uint8[..., height, width, channel] or float32 in [0, 1]   1 or 3 channels
    Gives  the same type and range, after `operations` of: identity; shear_x, shear_y by up to 0.3; translate_x,
           translate_y by up to 150 / 331 of the side, cut off to whole pixels; rotate by up to 30 degrees; brightness,
           color, contrast, sharpness by factors of 1 +- up to 0.9; posterize, from 8 to 4 bits; solarize, from the
           threshold 1 to 0; autocontrast; equalize

    The strength is `magnitude` of the `bins` - 1 that "up to" stands for; half of the moves and factors go the other
    way. Each operation is drawn with the same chance; serving draws identity. Moves take the "nearest" pixel, or mix
    the four around a place, "bilinear", and have `fill` outside, in input units; uint8 is rounded half up after each
    operation. A picture without pixels fails its record.
    Source: Cubuk et al., "RandAugment: practical automated data augmentation with a reduced search space" (2020);
    torchvision.transforms.v2 RandAugment, which cuts uint8 off. See image.color_jitter, image.affine, image.solarize
    and image.posterize for what the operations mean; the others are Pillow's.
    """

    operations: Annotated[int, Field(ge=1, le=MOST)] = 2
    magnitude: Annotated[int, Field(ge=0)] = 9
    bins: Annotated[int, Field(ge=2, le=1000)] = 31

    serving = (0.0,) * (2 * MOST)
    examples = (
        Example(picture()),
        Example(picture(17, 24), {"operations": 8, "magnitude": 20, "fill": [255, 0, 127.5], "method": "bilinear"}),
        Example(picture(None, None, 1), {"operations": 5, "magnitude": 9, "bins": 10}),
        Example(picture(dtype="float32"), {"operations": 8, "magnitude": 5, "bins": 11, "fill": 0.5}),
    )

    @model_validator(mode="after")
    def _consistent(self) -> RandAugment:
        if self.magnitude >= self.bins:
            raise ValueError(f"magnitude: expected less than bins, {self.bins}, got {self.magnitude}")
        return self

    def variates(self) -> int:
        return 2 * MOST

    @property
    def count(self) -> int:
        return self.operations

    def chosen(self, draw: npt.NDArray[np.float64]) -> tuple[npt.NDArray[Any], ...]:
        choices = len(NAMES) - 1  # all but invert
        drawn = draw[..., : 2 * self.operations].reshape(*draw.shape[:-1], self.operations, 2)
        which = np.minimum(drawn[..., 0] * choices, choices - 1).astype(int)
        return which, np.full(which.shape, self.magnitude / (self.bins - 1)), np.where(drawn[..., 1] < 0.5, -1.0, 1.0)
