"""Random brightness, contrast, saturation and hue."""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from pipelines.image import _colour
from pipelines.image._levels import LevelStep, Probability, between
from pipelines.image._maths import Maths
from pipelines.spec import picture
from pipelines.step import Example, Identical

Change = Annotated[float, Field(ge=0)]
Range = tuple[Change, Change]
Turn = Annotated[float, Field(ge=-0.5, le=0.5)]
OPERATIONS = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
"""The changes, and the amount of each that does nothing."""


class ColorJitter(LevelStep):
    """Changes brightness, contrast, saturation and hue of a picture by random amounts.

    Takes  uint8[..., height, width, channel] or float32 in [0, 1]   1 or 3 channels
    Gives  the same; out = f in + (1 - f) other after each of the first three, cut at the ends of the range: other is
           0 for brightness, the mean of the grey picture for contrast, the grey picture for saturation; hue turns by
           a share of the circle, keeping each pixel's largest and smallest channel. uint8 is rounded half up at the
           end, and nowhere between. A picture of one channel has no saturation and no hue.

    Each is a number s for f in [1 - s, 1 + s] (hue: a turn in [-s, s]), not below 0, or [low, high], drawn evenly.
    `order` "fixed" is that above; "drawn" is any, each as likely. `probability` is the share of records that are
    changed; below 1, serving changes none, else it takes from each range what changes least.
    Source: torchvision.transforms.v2 ColorJitter, which cuts uint8 off after each change and has other luma weights
    (see image.grayscale). tf.image.adjust_* mean other things: an offset for brightness, a mean per channel for
    contrast, a product in HSV for saturation.
    """

    brightness: Change | Range = 0.0
    contrast: Change | Range = 0.0
    saturation: Change | Range = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] | tuple[Turn, Turn] = 0.0
    order: Literal["fixed", "drawn"] = "drawn"
    probability: Probability = 1.0

    agreement = Identical("the same float32 operations in the same order; the mean is summed in whole numbers")
    serving = (1.0, 1.0, 1.0, 1.0, 0.0, 1.0)
    examples = (
        Example(picture(), {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}),
        Example(picture(), {"brightness": 0.5, "contrast": [0.2, 1.8], "order": "fixed"}),
        Example(picture(17, 11), {"hue": [-0.5, 0.5], "saturation": 0.9}),
        Example(picture(17, 11, 1), {"brightness": 0.3, "saturation": 1.5, "contrast": 0.3, "probability": 0.8}),
        Example(picture(dtype="float32"), {"brightness": 0.4, "contrast": 0.4, "saturation": [0.5, 3], "hue": 0.5}),
        Example(picture(9, 8, dtype="float32"), {"hue": 0.3, "contrast": 0.9, "order": "fixed", "probability": 0.5}),
    )

    @model_validator(mode="after")
    def _consistent(self) -> ColorJitter:
        for name in OPERATIONS:
            low, high = self.limits(name)
            if low > high:
                raise ValueError(f"{name}: expected the smaller number first, got {[low, high]}")
        if not self.changes:
            raise ValueError(f"expected at least one of {', '.join(OPERATIONS)}, got none that changes anything")
        return self

    def limits(self, name: str) -> tuple[float, float]:
        """The smallest and largest amount of a change."""
        given = getattr(self, name)
        if isinstance(given, tuple):
            return given
        return (-given, given) if name == "hue" else (max(0.0, 1 - given), 1 + given)

    @property
    def changes(self) -> tuple[str, ...]:
        """The changes that do anything."""
        return tuple(name for name, rest in OPERATIONS.items() if self.limits(name) != (rest, rest))

    def variates(self) -> int:
        return len(self.serving)

    def amounts(self, draw: Any, where: Any = np.where) -> list[Any]:
        """The drawn amounts of `changes`, float64[...] each."""
        levels = dict(zip(OPERATIONS, (draw[..., i] for i in range(len(OPERATIONS))), strict=True))
        return [between(levels[name], *self.limits(name), OPERATIONS[name], where) for name in self.changes]

    def plan(self, draw: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The drawn order of `changes` and their amounts, float64[..., place, 2]; both frameworks ask here."""
        orders = np.array(list(itertools.permutations(range(len(self.changes)))))
        order = orders[np.minimum(draw[..., 4] * len(orders), len(orders) - 1).astype(int)]
        return np.stack([order, np.take_along_axis(np.stack(self.amounts(draw), -1), order, -1)], -1)

    def change(self, m: Maths, levels: Any, draw: Any, bound: float) -> Any:
        changed = self._changed(m, levels, draw, bound)
        if self.probability == 1:
            return changed
        return m.where(m.rows(draw[..., 5], levels, "float64") < self.probability, changed, levels)

    def _changed(self, m: Maths, levels: Any, draw: Any, bound: float) -> Any:
        changes = [getattr(_colour, name) for name in self.changes]
        if self.order == "fixed" or len(changes) == 1:
            for change, amount in zip(changes, self.amounts(draw, m.where), strict=True):
                levels = change(m, levels, m.rows(amount, levels), bound)
            return levels

        def call(change: Any) -> Any:
            return lambda levels, numbers: change(m, levels, m.rows(numbers[..., 0], levels), bound)

        plan = m.asked(self.plan, [*draw.shape[:-1], len(changes), 2], draw)
        return m.choose([call(change) for change in changes], levels, plan)
