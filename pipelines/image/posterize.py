"""Fewer levels."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from pipelines.image import _colour
from pipelines.image._levels import SometimesStep
from pipelines.image._maths import Maths
from pipelines.spec import picture
from pipelines.step import Example, Identical


class Posterize(SometimesStep):
    """Keeps the highest bits of each level, always or by chance.

    Takes  uint8[..., height, width, channel] or float32 in [0, 1]   1 or 3 channels
    Gives  the same; with n = 2^bits: uint8 floor(in n / 256) 256 / n; float32 min(floor(in n), n - 1) / n

    `probability` is the share of records that are changed; when serving, only a probability of 1 does anything.
    Source: Pillow's ImageOps.posterize, torchvision.transforms.v2.functional.posterize.
    """

    bits: Annotated[int, Field(ge=1, le=8)]

    agreement = Identical("products with powers of two")
    examples = (
        Example(picture(), {"bits": 3}),
        Example(picture(17, 11, 1), {"bits": 1, "probability": 0.5}),
        Example(picture(dtype="float32"), {"bits": 4, "probability": 0.5}),
        Example(picture(5, 6, dtype="float32"), {"bits": 8}),
    )

    def always(self, m: Maths, levels: Any, bound: float) -> Any:
        return _colour.posterize(m, levels, 2.0**self.bits, bound)
