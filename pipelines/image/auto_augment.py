"""AutoAugment."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipelines.image import _policies
from pipelines.image._augment import NAMES, AugmentStep
from pipelines.spec import picture
from pipelines.step import Example


class AutoAugment(AugmentStep):
    """Changes a picture by one of the 25 pairs of operations of a learnt policy.

    Takes  uint8[..., height, width, channel] or float32 in [0, 1]   1 or 3 channels
    Gives  the same type and range, after each operation of the pair that its own chance takes; they are those of
           image.rand_augment and invert, with a strength of 0 to 9 of 9 that the policy says

    `policy` is the data set that it was learnt on. Each pair is drawn with the same chance; half of the moves and
    factors go the other way; serving does nothing. `method`, `fill` and rounding are as in image.rand_augment. A
    picture without pixels fails its record.
    Source: Cubuk et al., "AutoAugment: learning augmentation strategies from data" (2019);
    torchvision.transforms.v2 AutoAugment, which cuts uint8 off.
    """

    policy: Literal["imagenet", "cifar10", "svhn"] = "imagenet"

    serving = (0.0, 1.0, 0.0, 1.0, 0.0)
    examples = (
        Example(picture()),
        Example(picture(17, 24), {"policy": "cifar10", "fill": [255, 0, 127.5]}),
        Example(picture(None, None, 1), {"policy": "svhn", "fill": 99}),
        Example(picture(dtype="float32"), {"policy": "svhn", "fill": 0.5, "method": "bilinear"}),
    )

    def variates(self) -> int:
        return 5

    @property
    def count(self) -> int:
        return 2

    def chosen(self, draw: npt.NDArray[np.float64]) -> tuple[npt.NDArray[Any], ...]:
        pairs = pairs_of(self.policy)
        pair = pairs[np.minimum(draw[..., 0] * len(pairs), len(pairs) - 1).astype(int)]
        drawn = draw[..., 1:].reshape(*draw.shape[:-1], 2, 2)
        which = np.where(drawn[..., 0] < pair[..., 1], pair[..., 0], 0).astype(int)
        return which, pair[..., 2], np.where(drawn[..., 1] < 0.5, -1.0, 1.0)


@cache
def pairs_of(policy: str) -> npt.NDArray[np.float64]:
    """Of each pair and operation its place in NAMES, its chance and its strength, float64[25, 2, 3]."""

    def entry(text: str) -> tuple[float, float, float]:
        name, chance, *strength = text.split()
        return NAMES.index(name), float(chance), float(strength[0]) / 9 if strength else 0.0

    table = getattr(_policies, policy.upper()).strip().splitlines()
    return np.array([[entry(text) for text in line.split(",")] for line in table])
