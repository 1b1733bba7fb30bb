"""Contrast stretched to the whole range."""

from __future__ import annotations

from typing import Any

from pipelines.image import _colour
from pipelines.image._levels import SometimesStep
from pipelines.image._maths import Maths
from pipelines.spec import picture
from pipelines.step import Example, Identical


class Autocontrast(SometimesStep):
    """Stretches the levels of each channel over the whole range, always or by chance.

    Takes  uint8[..., height, width, channel] or float32 in [0, 1]   1 or 3 channels
    Gives  the same type and range; out[y, x, c] = (in[y, x, c] - low[c]) bound / (high[c] - low[c]), low and high the
           smallest and largest level of the channel, bound 255 or 1; a channel of one level stays; uint8 is rounded
           half up

    `probability` is the share of records that are changed; when serving, only a probability of 1 does anything. A
    picture without pixels fails its record.
    Source: Pillow's ImageOps.autocontrast, torchvision.transforms.v2.functional.autocontrast, which cut uint8 off.
    """

    agreement = Identical("the same float32 operations in the same order")
    examples = (
        Example(picture()),
        Example(picture(dtype="float32"), {"probability": 0.5}),
    )

    def always(self, m: Maths, levels: Any, bound: float) -> Any:
        return _colour.autocontrast(m, m.need_pixels(levels), None, bound)
