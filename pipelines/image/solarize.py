"""Bright levels turned over."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from pipelines.errors import SpecError
from pipelines.image import _colour
from pipelines.image._levels import SometimesStep, need_levels
from pipelines.image._maths import Maths
from pipelines.spec import Spec, picture
from pipelines.step import Example, Identical


class Solarize(SometimesStep):
    """Turns over the levels from a threshold on, always or by chance.

    Takes  uint8[..., height, width, channel] or float32 in [0, 1]   1 or 3 channels
    Gives  the same; out[y, x, c] = bound - in[y, x, c] where that is `threshold` or more, else in[y, x, c]; the bound
           is 255 or 1

    `threshold` is in input units. `probability` is the share of records that are changed; when serving, only a
    probability of 1 does anything.
    Source: Pillow's ImageOps.solarize, torchvision.transforms.v2.functional.solarize.
    """

    threshold: Annotated[float, Field(ge=0, le=255)]

    agreement = Identical("one subtraction")
    examples = (
        Example(picture(), {"threshold": 128}),
        Example(picture(17, 11, 1), {"threshold": 64, "probability": 0.5}),
        Example(picture(dtype="float32"), {"threshold": 0.5, "probability": 0.5}),
        Example(picture(5, 6, dtype="float32"), {"threshold": 0.25}),
    )

    def out_spec(self, x: Spec) -> Spec:
        bound = need_levels(x)
        if self.threshold > bound:
            raise SpecError(f"expected a threshold in [0, {bound:g}], got {self.threshold:g}")
        return x

    def always(self, m: Maths, levels: Any, bound: float) -> Any:
        return _colour.solarize(m, levels, self.threshold, bound)
