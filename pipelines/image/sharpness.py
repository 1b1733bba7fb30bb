"""Sharper or softer pictures."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from pipelines.image import _colour
from pipelines.image._levels import LevelStep, Probability, between
from pipelines.image._maths import Maths
from pipelines.spec import picture
from pipelines.step import Example, Identical

Factor = Annotated[float, Field(ge=0)]


class Sharpness(LevelStep):
    """Makes a picture sharper or softer, by a fixed or a random factor.

    Takes  uint8[..., height, width, channel] or float32 in [0, 1]   1 or 3 channels
    Gives  the same type and range; out = f in + (1 - f) smooth, cut at the ends of the range, where smooth is in
           weighted by [[1, 1, 1], [1, 5, 1], [1, 1, 1]] / 13; the outermost pixels stay; uint8 is rounded half up

    `factor` f is 0 for the smooth picture, 1 for the picture itself, more for a sharper one; or [low, high] for one
    drawn evenly. `probability` is the share of records that are changed; below 1, serving changes none, else it takes
    the factor nearest to 1. A picture without pixels fails its record.
    Source: Pillow's ImageEnhance.Sharpness; torchvision.transforms.v2.functional.adjust_sharpness, which cut uint8 off.
    """

    factor: Factor | tuple[Factor, Factor]
    probability: Probability = 1.0

    agreement = Identical("the same float32 operations in the same order")
    serving = (1.0, 1.0)
    examples = (
        Example(picture(), {"factor": 2}),
        Example(picture(17, 11, 1, "float32"), {"factor": [0, 3], "probability": 0.6}),
        Example(picture(2, 5), {"factor": 0}),
    )

    @model_validator(mode="after")
    def _consistent(self) -> Sharpness:
        if isinstance(self.factor, tuple) and self.factor[0] > self.factor[1]:
            raise ValueError(f"factor: expected the smaller number first, got {list(self.factor)}")
        return self

    def variates(self) -> int:
        return 2 if isinstance(self.factor, tuple) or self.probability < 1 else 0

    def change(self, m: Maths, levels: Any, draw: Any, bound: float) -> Any:
        levels = m.need_pixels(levels)
        low, high = self.factor if isinstance(self.factor, tuple) else (self.factor, self.factor)
        if draw is None:
            return _colour.sharpness(m, levels, np.float32(low), bound)
        factor = m.rows(between(draw[..., 1], low, high, 1.0, m.where), levels)
        changed = _colour.sharpness(m, levels, factor, bound)
        taken = m.rows(draw[..., 0], levels, "float64") < self.probability
        return changed if self.probability == 1 else m.where(taken, changed, levels)
