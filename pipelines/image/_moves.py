"""What the steps share that look each pixel up where it comes from."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipelines.geometry import Matrix, Motion, MovingStep, affine
from pipelines.image import _warp
from pipelines.image._levels import Values, need_values
from pipelines.image._maths import Maths, tensorflow_maths, torch_maths
from pipelines.spec import Spec
from pipelines.step import Kernel, Levels

Way = npt.NDArray[np.float64]
"""float64[..., 6 or 8], as _warp has it."""

CLOSE = Levels(
    1, 0.002, real=5e-4, why="bilinear positions are float32: 1e-4 of a pixel, and of the range, at 500 pixels"
)


def forward(way: Way, height: int, width: int) -> Matrix:
    """Where the points of a picture go, in pixels from its edges, of one way back."""
    back = np.append(way, [0.0, 0.0, 1.0][len(way) - 6 :]).reshape(3, 3)
    onto = np.linalg.inv(back)
    there, here = affine(1, 0, width / 2, 0, 1, height / 2), affine(1, 0, -width / 2, 0, 1, -height / 2)
    return np.asarray(there @ (onto / onto[2, 2]) @ here)


def way_back(degrees: Any, moved: tuple[Any, Any], scale: Any, shear_x: Any, shear_y: Any) -> Way:
    """The way back from a turn, counter-clockwise, a move in pixels, a scale and slants, float64[..., 6]."""
    turn, slant_x, slant_y = (np.radians(np.asarray(a, np.float64)) for a in (-degrees, shear_x, shear_y))
    cosine, sine, tan_x, tan_y = np.cos(turn), np.sin(turn), np.tan(slant_x), np.tan(slant_y)
    # R H, whose determinant is 1
    a, c = cosine + sine * tan_y, sine - cosine * tan_y
    b, d = -(a * tan_x + sine), cosine - c * tan_x
    xx, xy, yx, yy = (np.asarray(v) / scale for v in (d, -b, -c, a))
    right, down = moved
    return np.stack(np.broadcast_arrays(xx, xy, -(xx * right + xy * down), yx, yy, -(yx * right + yy * down)), -1)


class WarpStep(MovingStep):
    """A step given by a way back for each draw; a picture that nothing moves stays as it is, bit for bit."""

    method: Literal["bilinear", "nearest"] = "bilinear"
    fill: Values = 0.0

    agreement = CLOSE

    @abstractmethod
    def ways(self, height: float, width: float, draw: npt.NDArray[np.float64]) -> Way:
        """Where the pixels of pictures of this size come from; both frameworks ask here."""

    def out_spec(self, x: Spec) -> Spec:
        x.need(("uint8", "float32"), last=("height", "width", "channel"))
        need_values(x, "fill", self.fill)
        return x

    def motion(self, height: int, width: int, draw: npt.NDArray[np.float64] | None) -> Motion:
        drawn = np.array(self.serving) if draw is None else draw
        return Motion(forward(self.ways(height, width, drawn), height, width), height, width)

    def for_mask(self, outside: int = 0) -> WarpStep:
        return self.model_copy(update={"method": "nearest", "fill": float(outside)})

    def bind_torch(self, x: Spec) -> Kernel:
        return self._bound(torch_maths(), x, _warp.bind_torch(x, self.method, self.fill))

    def bind_tensorflow(self, x: Spec) -> Kernel:
        return self._bound(tensorflow_maths(), x, _warp.bind_tensorflow(x, self.method, self.fill))

    def _bound(self, m: Maths, x: Spec, warp: Kernel) -> Kernel:
        out, fixed = self.out_spec(x), np.array(self.serving)
        numbers = self.ways(2, 2, fixed).shape[-1]

        def kernel(pictures: Any, draw: Any = None) -> Any:
            pictures = m.need_pixels(pictures)
            height, width = (m.size(pictures, axis) for axis in (m.height, m.width))
            drawn = fixed if draw is None else draw
            ways = m.asked(self.ways, [*drawn.shape[:-1], numbers], height, width, drawn)
            return m.shaped(moved(m, warp, pictures, ways), out)

        return kernel


def moved(m: Maths, warp: Kernel, pictures: Any, ways: Any) -> Any:
    """Pictures of which each is warped by its own way back, float64[..., 6 or 8], or all by one."""
    numbers = ways.shape[-1]
    height, width = (m.size(pictures, axis) for axis in (m.height, m.width))
    rows = m.reshape(pictures, [-1, *m.shape(pictures)[-3:]])
    way = [m.reshape(ways, [-1, numbers])[:, i] for i in range(numbers)]
    warped = m.reshape(warp(rows, m.to_int(height), m.to_int(width), way), m.shape(pictures))
    rest = np.array([1.0, 0, 0, 0, 1, 0, 0, 0])[:numbers]
    gap = m.largest(abs(ways - m.near(rest, ways)))[..., 0]
    return m.where(m.rows(gap, pictures, "float64") == 0, pictures, warped)
