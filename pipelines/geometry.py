"""Where the points of a picture go: what lets boxes and masks follow a picture through its steps.

Coordinates are continuous: x in [0, width] from the left edge, y in [0, height] from the top, so that
the pixel in column i covers [i, i + 1]. Everything here is NumPy, and serves both frameworks.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import InstanceOf

from pipelines.errors import RecordError, SpecError
from pipelines.guard import after
from pipelines.spec import BOXES, Spec
from pipelines.step import HostStep, Identical, Kernel, Step

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Motion:
    """Where the points of one picture go: (x, y, 1) times `matrix`, float64[3, 3], and the picture's new size."""

    matrix: Matrix
    height: int
    width: int


class MovingStep(Step):
    """A step that moves a picture's pixels, in a way that boxes and masks can follow."""

    moves_pixels = True

    @abstractmethod
    def motion(self, height: int, width: int, draw: npt.NDArray[np.float64] | None) -> Motion:
        """Where the points of a picture of this size go with the draw float64[variates] (None without chance)."""

    @property
    def cut(self) -> Callable[..., Sequence[int]] | None:
        """A function of height, width and draw, where a step gives a part of a picture as it is; None if it does more.

        It returns the part's top, left, height and width, in pixels, or raises RecordError where there is none.
        """
        return None

    @abstractmethod
    def for_mask(self, outside: int = 0) -> Step:
        """The step as a mask of class numbers takes it: values are moved, never mixed; `outside` comes in."""


def affine(xx: float, xy: float, x0: float, yx: float, yy: float, y0: float) -> Matrix:
    """The matrix of x' = xx x + xy y + x0, y' = yx x + yy y + y0."""
    return np.array([[xx, xy, x0], [yx, yy, y0], [0.0, 0.0, 1.0]])


class FollowBoxes(HostStep):
    """Boxes through the steps of their picture: each becomes the smallest around its moved corners, cut at the edge.

    Takes  float32[box, corner 4]   left, top, right, bottom in pixels, or as shares of the picture; the draw is the
           height and width of the picture before the first step, unless `size` has them, and each step's variates
    Gives  the same in pixels; a box that is left outside has no area and keeps its place, so that labels stay aligned
    """

    steps: tuple[Annotated[MovingStep, InstanceOf()], ...]
    size: tuple[int, int] | None = None

    agreement = Identical("one NumPy binding")

    def variates(self) -> int:
        return (0 if self.size else 2) + sum(step.variates() for step in self.steps)

    def out_spec(self, x: Spec) -> Spec:
        if x.dtype != "float32" or x.names != BOXES.names or x.unit not in ("pixel", "share"):
            raise SpecError(f"expected a mask, or boxes as label.boxes gives them, got {x}")
        return BOXES

    def bind_numpy(self, x: Spec) -> Kernel:
        def kernel(boxes: npt.NDArray[np.float32], draw: Any = None) -> npt.NDArray[np.float32]:
            left = np.zeros(0) if draw is None else np.asarray(draw, np.float64)
            height, width = self.size or (int(n) for n in left[:2])
            left = left[0 if self.size else 2 :]
            held = boxes.astype(np.float64)
            if x.unit == "share":
                held *= (width, height, width, height)
            for step in self.steps:
                count = step.variates()
                motion = step.motion(height, width, left[:count] if count else None)
                held, left = _moved(held, motion), left[count:]
                height, width = motion.height, motion.width
            return held.astype(np.float32)

        return kernel


def _moved(boxes: npt.NDArray[np.float64], motion: Motion) -> npt.NDArray[np.float64]:
    corners = np.stack([boxes[:, [0, 2, 2, 0]], boxes[:, [1, 1, 3, 3]], np.ones((len(boxes), 4))], -1)
    moved = corners @ motion.matrix.T
    x, y = (np.clip(moved[..., i] / moved[..., 2], 0, side) for i, side in ((0, motion.width), (1, motion.height)))
    if not len(boxes):
        return boxes
    found = np.stack([x.min(1), y.min(1), x.max(1), y.max(1)], -1)
    outside = _has_area(boxes) & ~_has_area(found)
    found[outside, 2:] = found[outside, :2]  # a point: a line at the edge would come back as a box when it is turned
    return np.asarray(found)


def _has_area(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return np.asarray((boxes[:, :2] < boxes[:, 2:]).all(1))


class SameSize(Step):
    """A mask as it is, if it is as large as its picture.

    Takes  [height, width, channel] of any type; the draw is [height, width of the picture], unless `size` has them
    Gives  the same; a mask of another size fails its record
    """

    size: tuple[int, int] | None = None

    agreement = Identical("nothing is computed")
    batches = False

    def variates(self) -> int:
        return 0 if self.size else 2

    def out_spec(self, x: Spec) -> Spec:
        x.need(last=("height", "width", "channel"))
        found = (x.size("height"), x.size("width"))
        if self.size and None not in found and found != self.size:
            raise SpecError(f"expected the size of its picture, {self.size[0]} x {self.size[1]}, got {x}")
        return x

    def bind_torch(self, x: Spec) -> Kernel:
        def kernel(mask: Any, draw: Any = None) -> Any:
            expected = tuple(self.size or (int(n) for n in draw))
            if tuple(mask.shape[-2:]) != expected:
                raise RecordError(
                    f"the mask is {mask.shape[-2]} x {mask.shape[-1]}, its picture {expected[0]} x {expected[1]}"
                )
            return mask

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        def kernel(mask: Any, draw: Any = None) -> Any:
            expected = tf.constant(self.size) if self.size else tf.cast(draw, tf.int32)
            found = tf.shape(mask)[-3:-1]
            sizes = [tf.strings.as_string(n) for n in (*tf.unstack(found), *tf.unstack(expected))]
            text = tf.strings.join(
                ["the mask is ", sizes[0], " x ", sizes[1], ", its picture ", sizes[2], " x ", sizes[3]]
            )
            return after([tf.debugging.Assert(tf.reduce_all(found == expected), [text])], mask)

        return kernel
