"""Levels spread evenly."""

from __future__ import annotations

from typing import Any

from pipelines.image import _colour
from pipelines.image._levels import SometimesStep
from pipelines.image._maths import Maths
from pipelines.spec import picture
from pipelines.step import Example, Identical


class Equalize(SometimesStep):
    """Spreads the levels of each channel so that they are about equally frequent, always or by chance.

    Takes  uint8[..., height, width, channel] or float32 in [0, 1]   1 or 3 channels
    Gives  the same type and range; out[y, x, c] = floor((below + floor(s / 2)) / s), at most 255, where below counts
           the channel's pixels of lower levels than in[y, x, c], and s is a 255th of all but those of its highest
           level, rounded down; a channel of which s is 0 stays. float32 is taken and given in 256 levels

    `probability` is the share of records that are changed; when serving, only a probability of 1 does anything. A
    picture without pixels fails its record.
    Source: Pillow's ImageOps.equalize, torchvision.transforms.v2.functional.equalize.
    """

    agreement = Identical("whole numbers")
    examples = (
        Example(picture()),
        Example(picture(23, 28, dtype="float32"), {"probability": 0.5}),
    )

    def always(self, m: Maths, levels: Any, bound: float) -> Any:
        return _colour.equalize(m, m.need_pixels(levels), None, bound)
