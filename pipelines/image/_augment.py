"""What the automatic augmentations share: the operations by name, how strong each is, and how they are done.

Every operation is one of the steps of their own, or made of the same functions. How strong one is goes from 0 to 1.
"bilinear" moves mix at float64 positions, since posterize or equalize after them make much of a level's difference.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from pipelines.image import _colour, _warp
from pipelines.image._levels import Values, need_levels, need_values
from pipelines.image._maths import Maths, tensorflow_maths, torch_maths
from pipelines.image._moves import moved, way_back
from pipelines.spec import Spec
from pipelines.step import Identical, Kernel, Step

MOVES = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
LEVELS = {
    "brightness": _colour.brightness,
    "color": _colour.saturation,
    "contrast": _colour.contrast,
    "sharpness": _colour.sharpness,
    "posterize": _colour.posterize,
    "solarize": _colour.solarize,
    "autocontrast": _colour.autocontrast,
    "equalize": _colour.equalize,
    "invert": _colour.invert,
}
NAMES = ("identity", *MOVES, *LEVELS)
NUMBERS = 6
"""Numbers that an operation is handed: a way back, or an amount and zeros."""


class Reach(NamedTuple):
    """What a strength of 1 stands for."""

    slant: float = 0.3
    share: float = 150 / 331
    """How far a picture is moved, as a share of its side; or, where that is 0, in pixels."""
    pixels: float = 0.0
    degrees: float = 30.0
    factor: float = 0.9
    bits: float = 4.0


class AugmentStep(Step):
    """A step that does some of the operations, other ones for each record."""

    method: Literal["nearest", "bilinear"] = "nearest"
    fill: Values = 0.0

    reach: ClassVar[Reach] = Reach()

    moves_pixels = True  # so that nothing can follow: which operations there were is not asked from outside
    agreement = Identical("the same float32 operations in the same order; pixels are looked up at float64 positions")

    @abstractmethod
    def chosen(self, draw: npt.NDArray[np.float64]) -> tuple[npt.NDArray[Any], ...]:
        """Operations int64[..., n], as places in NAMES, their strengths in [0, 1] and their signs, float64[..., n]."""

    @property
    @abstractmethod
    def count(self) -> int:
        """How many operations are done."""

    def out_spec(self, x: Spec) -> Spec:
        need_levels(x)
        need_values(x, "fill", self.fill)
        return x

    def plan(self, height: float, width: float, bound: float, draw: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """What is done to each record, float64[..., n, 1 + NUMBERS]; both frameworks ask here."""
        (which, strength, sign), reach = self.chosen(draw), self.reach
        signed = strength * sign

        def only(name: str, values: Any) -> Any:
            return np.where(which == NAMES.index(name), values, 0)

        slants = [only(name, reach.slant * signed) for name in ("shear_x", "shear_y")]  # about the top left corner
        farthest = (reach.share * side + reach.pixels for side in (width, height))
        right, down = (
            only(f"translate_{axis}", np.trunc(far * signed)) - slant * (other / 2)
            for axis, far, slant, other in zip("xy", farthest, slants, (height, width), strict=True)
        )
        angles = (np.degrees(np.arctan(slant)) for slant in slants)
        numbers = way_back(only("rotate", reach.degrees * signed), (right, down), 1.0, *angles)
        amount = 1 + reach.factor * signed
        amount = np.where(which == NAMES.index("posterize"), 2.0 ** (8 - np.rint(reach.bits * strength)), amount)
        amount = np.where(which == NAMES.index("solarize"), bound * (1 - strength), amount)
        place = np.maximum(which - len(MOVES) + 1, np.minimum(which, 1))  # all moves are one operation
        other = np.concatenate([amount[..., None], np.zeros((*amount.shape, NUMBERS - 1))], -1)
        return np.concatenate([place[..., None], np.where((place == 1)[..., None], numbers, other)], -1)

    def bind_torch(self, x: Spec) -> Kernel:
        return self._bound(torch_maths(), x, _warp.bind_torch)

    def bind_tensorflow(self, x: Spec) -> Kernel:
        return self._bound(tensorflow_maths(), x, _warp.bind_tensorflow)

    def _bound(self, m: Maths, x: Spec, bind: Callable[..., Kernel]) -> Kernel:
        bound, out = need_levels(x), self.out_spec(x)
        nearest, exact = (bind(x, method, self.fill) for method in ("nearest", "exact"))

        def mixed(*given: Any) -> Any:
            return m.round(exact(*given), x.dtype)

        warp = nearest if self.method == "nearest" else mixed

        def change(operation: Any, pictures: Any, numbers: Any) -> Any:
            levels = m.to(pictures, "float32")
            return m.round(operation(m, levels, m.rows(numbers[..., 0], levels), bound), x.dtype)

        operations: list[Kernel] = [
            lambda pictures, numbers: pictures,
            lambda pictures, numbers: moved(m, warp, pictures, numbers),
            *(partial(change, operation) for operation in LEVELS.values()),
        ]

        def kernel(pictures: Any, draw: Any) -> Any:
            pictures = m.need_pixels(pictures)
            height, width = (m.size(pictures, axis) for axis in (m.height, m.width))
            plan = m.asked(self.plan, [*draw.shape[:-1], self.count, 1 + NUMBERS], height, width, bound, draw)
            return m.shaped(m.choose(operations, pictures, plan), out)

        return kernel
