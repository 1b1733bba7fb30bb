"""Levels turned over."""

from __future__ import annotations

from typing import Any

from pipelines.image import _colour
from pipelines.image._levels import SometimesStep
from pipelines.image._maths import Maths
from pipelines.spec import picture
from pipelines.step import Example, Identical


class Invert(SometimesStep):
    """Turns over all levels, always or by chance.

    Takes  uint8[..., height, width, channel] or float32 in [0, 1]   1 or 3 channels
    Gives  the same; out[y, x, c] = bound - in[y, x, c]; the bound is 255 or 1

    `probability` is the share of records that are changed; when serving, only a probability of 1 does anything.
    Source: Pillow's ImageOps.invert, torchvision.transforms.v2.functional.invert.
    """

    agreement = Identical("one subtraction")
    examples = (
        Example(picture()),
        Example(picture(dtype="float32"), {"probability": 0.5}),
    )

    def always(self, m: Maths, levels: Any, bound: float) -> Any:
        return _colour.invert(m, levels, None, bound)
