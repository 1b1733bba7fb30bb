"""TrivialAugment."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipelines.image._augment import NAMES, AugmentStep, Reach
from pipelines.spec import picture
from pipelines.step import Example


class TrivialAugment(AugmentStep):
    """Changes a picture by one operation drawn from 14, of a drawn strength.

    Takes  uint8[..., height, width, channel] or float32 in [0, 1]   1 or 3 channels
    Gives  the same type and range, after one operation of image.rand_augment's, with a wider reach: shears by up to
           0.99, moves by up to 32 pixels, turns by up to 135 degrees, factors of 1 +- up to 0.99, posterize to 2 bits

    The strength is drawn from `bins` even steps from 0 to all of that; half of the moves and factors go the other way.
    Each operation is drawn with the same chance; serving draws identity. `method`, `fill` and rounding are as in
    image.rand_augment. A picture without pixels fails its record.
    Source: Mueller and Hutter, "TrivialAugment: tuning-free yet state-of-the-art data augmentation" (2021), its wide
    space; torchvision.transforms.v2 TrivialAugmentWide, which cuts uint8 off.
    """

    bins: Annotated[int, Field(ge=2, le=1000)] = 31

    reach = Reach(slant=0.99, share=0.0, pixels=32.0, degrees=135.0, factor=0.99, bits=6.0)
    serving = (0.0, 0.0, 0.0)
    examples = (
        Example(picture(), {"bins": 2, "fill": [255, 0, 127.5], "method": "bilinear"}),
        Example(picture(dtype="float32"), {"fill": 0.5}),
    )

    def variates(self) -> int:
        return 3

    @property
    def count(self) -> int:
        return 1

    def chosen(self, draw: npt.NDArray[np.float64]) -> tuple[npt.NDArray[Any], ...]:
        which, step = (
            np.minimum(draw[..., i : i + 1] * count, count - 1).astype(int)
            for i, count in enumerate((len(NAMES) - 1, self.bins))  # all but invert
        )
        return which, step / (self.bins - 1), np.where(draw[..., 2:] < 0.5, -1.0, 1.0)
