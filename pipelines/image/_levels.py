"""What the steps share that change levels and leave every pixel in its place."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from pipelines.errors import SpecError
from pipelines.image._maths import Maths, tensorflow_maths, torch_maths
from pipelines.spec import Spec
from pipelines.step import Kernel, Step

Probability = Annotated[float, Field(ge=0, le=1)]


def need_levels(x: Spec) -> float:
    """The largest level, 255 or 1, of a picture of 1 or 3 channels; SpecError for anything else."""
    x.need(("uint8", "float32"), last=("height", "width", "channel"))
    if x.size("channel") not in (1, 3):
        raise SpecError(f"expected 1 or 3 channels, got {x}")
    if x.dtype == "float32" and x.range != (0.0, 1.0):
        raise SpecError(f"expected levels in [0, 1], got {x}")
    return 255.0 if x.dtype == "uint8" else 1.0


Values = float | Annotated[tuple[float, ...], Field(min_length=1)]
"""One number for all channels, or one for each, in input units."""


def need_values(x: Spec, name: str, given: Values) -> None:
    """SpecError unless there is one value, or one per channel, in the range of the picture."""
    values = given if isinstance(given, tuple) else (given,)
    if len(values) not in (1, x.size("channel")):
        raise SpecError(f"expected {x.size('channel')} values of {name}, one per channel, got {len(values)}")
    if x.range and not all(x.range[0] <= value <= x.range[1] for value in values):
        raise SpecError(f"expected {name} in [{x.range[0]:g}, {x.range[1]:g}], got {given}")


def between(level: Any, low: float, high: float, rest: float, where: Callable[..., Any] = np.where) -> Any:
    """An amount from `low` to `high`, float64 like the variate `level`.

    1, which is never drawn but stands in `serving`, is the amount nearest to `rest`, which does nothing.
    """
    return where(level < 1, low + level * (high - low), min(max(rest, low), high))


class LevelStep(Step):
    """A step whose kernel is `change`, written once for both frameworks: in float32, uint8 rounded half up."""

    def out_spec(self, x: Spec) -> Spec:
        need_levels(x)
        return x

    @abstractmethod
    def change(self, m: Maths, levels: Any, draw: Any, bound: float) -> Any:
        """float32 levels in [0, bound] to the same, not yet rounded; `draw` is None without chance."""

    def bind_torch(self, x: Spec) -> Kernel:
        return self._bound(torch_maths(), x)

    def bind_tensorflow(self, x: Spec) -> Kernel:
        return self._bound(tensorflow_maths(), x)

    def _bound(self, m: Maths, x: Spec) -> Kernel:
        bound, out = 255.0 if x.dtype == "uint8" else 1.0, self.out_spec(x)

        def kernel(pictures: Any, draw: Any = None) -> Any:
            return m.shaped(m.round(self.change(m, m.to(pictures, "float32"), draw, bound), x.dtype), out)

        return kernel


class SometimesStep(LevelStep):
    """A level step that leaves a record as it is with 1 - `probability`."""

    probability: Probability = 1.0

    serving = (1.0,)

    def variates(self) -> int:
        return 1 if 0 < self.probability < 1 else 0

    @abstractmethod
    def always(self, m: Maths, levels: Any, bound: float) -> Any:
        """What the step does to the records that chance takes."""

    def change(self, m: Maths, levels: Any, draw: Any, bound: float) -> Any:
        if self.probability == 0:
            return levels
        changed = self.always(m, levels, bound)
        return (
            changed
            if draw is None
            else m.where(m.rows(draw[..., 0], levels, "float64") < self.probability, changed, levels)
        )
