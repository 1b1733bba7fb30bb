"""Turned, moved, scaled and slanted pictures."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from pipelines.image._levels import Probability, between
from pipelines.image._moves import WarpStep, Way, way_back
from pipelines.spec import picture
from pipelines.step import Example

Angle = Annotated[float, Field(ge=-360, le=360)]
Share = Annotated[float, Field(ge=-1, le=1)]
Factor = Annotated[float, Field(gt=0, le=100)]
Slant = Annotated[float, Field(gt=-90, lt=90)]
PARTS = {"degrees": 0.0, "translate_x": 0.0, "translate_y": 0.0, "scale": 1.0, "shear_x": 0.0, "shear_y": 0.0}
"""The parts of a motion, and the amount of each that does nothing."""


class Affine(WarpStep):
    """Turns, moves, scales and slants a picture about its centre, each by a fixed or a random amount.

    Takes  uint8[..., height, width, channel] or float32
    Gives  the same type and range; what lies at p from the centre comes to R S H p + t: H = [[1, 0], [-tan shear_y, 1]]
           [[1, -tan shear_x], [0, 1]], S = `scale`, R turns counter-clockwise by `degrees`, t = (`translate_x` width,
           `translate_y` height); `fill` outside the picture

    Each is a number, or [low, high] for one drawn evenly; serving takes that which moves least, 0, or 1 for `scale`,
    where the range has it. Shears are in degrees. `probability` is the share of records that are moved; below 1,
    serving moves none. "bilinear" mixes the four pixels around a place, blending with `fill` at the edge; uint8 is
    computed in float32 and rounded half up. "nearest" takes the pixel floor(y + 1/2), floor(x + 1/2), in float64
    positions, the same in both frameworks. `fill` is one number or one per channel, in input units. A picture without
    pixels fails its record.
    Source: torchvision.transforms.v2 RandomAffine, which turns clockwise, rounds moves to whole pixels and blends a
    uint8 fill twice at the edge; torch's grid_sample; tf.raw_ops.ImageProjectiveTransformV3, as in image.rotate.
    """

    degrees: Angle | tuple[Angle, Angle] = 0.0
    translate_x: Share | tuple[Share, Share] = 0.0
    translate_y: Share | tuple[Share, Share] = 0.0
    scale: Factor | tuple[Factor, Factor] = 1.0
    shear_x: Slant | tuple[Slant, Slant] = 0.0
    shear_y: Slant | tuple[Slant, Slant] = 0.0
    probability: Probability = 1.0

    serving = (1.0,) * (len(PARTS) + 1)
    examples = (
        Example(picture(), {"degrees": [-20, 20], "translate_x": [-0.1, 0.1], "scale": [0.8, 1.2], "fill": 90}),
        Example(picture(), {"degrees": 30, "shear_x": 10, "shear_y": [-5, 5], "fill": [255, 0, 127.5]}),
        Example(picture(60, 81, 1), {"degrees": [0, 360], "method": "nearest", "fill": 9}),
        Example(picture(17, 24), {"translate_y": 0.25, "scale": 1.5, "method": "nearest"}),
        Example(picture(), {"degrees": 15, "shear_x": [5, 9], "probability": 0.5}),
        Example(picture(17, 11, dtype="float32"), {"shear_x": [-30, 30], "translate_y": [-0.2, 0.2], "fill": 0.5}),
        Example(picture(None, None, 4, "float32"), {"scale": [0.5, 2]}),
    )

    @model_validator(mode="after")
    def _consistent(self) -> Affine:
        for name in PARTS:
            low, high = self.limits(name)
            if low > high:
                raise ValueError(f"{name}: expected the smaller number first, got {[low, high]}")
        if all(self.limits(name) == (rest, rest) for name, rest in PARTS.items()):
            raise ValueError(f"expected at least one of {', '.join(PARTS)}, got none that moves anything")
        return self

    def limits(self, name: str) -> tuple[float, float]:
        """The smallest and largest amount of a part."""
        given = getattr(self, name)
        return given if isinstance(given, tuple) else (given, given)

    def variates(self) -> int:
        drawn = self.probability < 1 or any(isinstance(getattr(self, name), tuple) for name in PARTS)
        return len(self.serving) if drawn else 0

    def ways(self, height: float, width: float, draw: npt.NDArray[np.float64]) -> Way:
        taken = (draw[..., -1] < self.probability) | (self.probability == 1)
        turn, right, down, scale, slant_x, slant_y = (
            np.where(taken, between(draw[..., i], *self.limits(name), rest), rest)
            for i, (name, rest) in enumerate(PARTS.items())
        )
        return way_back(turn, (right * width, down * height), scale, slant_x, slant_y)
