"""Pixels added around a picture."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from pipelines.errors import RecordError, SpecError
from pipelines.geometry import Motion, MovingStep, affine
from pipelines.guard import after
from pipelines.image._levels import Values, need_values
from pipelines.image._maths import Maths, tensorflow_maths, torch_maths
from pipelines.image._resize import Side
from pipelines.spec import Axis, Spec, picture
from pipelines.step import Example, Identical, Kernel

Count = Annotated[int, Field(ge=0, le=10_000)]
Place = Literal["centre", "top_left", "top_right", "bottom_left", "bottom_right"]


class Pad(MovingStep):
    """Adds pixels around a picture, so many on each side or up to a size.

    Takes  [..., height, width, channel]   any dtype
    Gives  the same type and range; out[y, x] = in[y - top, x - left] inside; outside "constant" has `fill`, "edge" the
           nearest pixel, "reflect" the mirror image without the outermost pixel, "symmetric" with it, over and over

    `sides` is one number, [left and right, top and bottom] or [left, top, right, bottom]. Or `size` is the side of a
    square or [height, width], and `place` says where in it the picture stands; at the "centre", an odd pixel is
    added right or below. A picture that is larger than `size`, or that has no pixels, fails its record. `fill` is one
    number or one per channel, in input units; whole numbers are rounded half up.
    Source: numpy.pad with the same modes; torchvision.transforms.v2.functional.pad and tf.pad lack modes, refuse to
    mirror more than the picture holds, and fill with one number.
    """

    sides: Count | tuple[Count, Count] | tuple[Count, Count, Count, Count] | None = None
    size: Side | tuple[Side, Side] | None = None
    place: Place = "centre"
    mode: Literal["constant", "edge", "reflect", "symmetric"] = "constant"
    fill: Values = 0.0

    agreement = Identical("values are moved, never computed")
    examples = (
        Example(picture(), {"sides": 3, "fill": [9, 0, 200]}),
        Example(picture(), {"sides": [1, 0, 4, 2], "mode": "edge"}),
        Example(picture(17, 11, 1), {"sides": [2, 3], "mode": "reflect"}),
        Example(picture(dtype="float32"), {"sides": 4, "mode": "symmetric"}),
        Example(picture(), {"size": [64, 86], "fill": 7}),
        Example(picture(21, 18), {"size": 88, "place": "top_left"}),
        Example(picture(None, 18), {"size": [61, 82], "place": "top_right", "mode": "reflect"}),
        Example(picture(), {"size": [63, 83], "place": "bottom_left", "mode": "symmetric"}),
        Example(picture(9, 8, 4, "float32"), {"size": [64, 90], "place": "bottom_right", "mode": "edge"}),
    )

    @model_validator(mode="after")
    def _consistent(self) -> Pad:
        if (self.sides is None) == (self.size is None):
            raise ValueError(f"expected either sides or size, got {'none' if self.size is None else 'both'}")
        if self.place != "centre" and self.size is None:
            raise ValueError(f"place: expected size to be given too, got {self.place!r} with sides")
        if self.mode != "constant" and self.fill != 0:
            raise ValueError(f"fill: expected mode: constant, got {self.mode!r}")
        return self

    @property
    def target(self) -> tuple[int, int] | None:
        """Height and width to pad to, if that is asked."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    def out_spec(self, x: Spec) -> Spec:
        x.need(last=("height", "width", "channel"))
        need_values(x, "fill", self.fill)
        sides = dict.fromkeys(("height", "width"))
        for axis, name in enumerate(sides):
            found, wanted = x.size(name), self.target and self.target[axis]
            if wanted and found and found > wanted:
                raise SpecError(f"expected a {name} of at most {wanted}, got {x}; image.crop cuts it first")
            sides[name] = wanted or (None if found is None else found + sum(self.added(axis, found)))
        return x.but(axes=(*x.axes[:-3], Axis("height", sides["height"]), Axis("width", sides["width"]), x.axes[-1]))

    def added(self, axis: int, size: Any) -> tuple[Any, Any]:
        """Pixels before and after, of an axis (0 height, 1 width) of this size, a number or a tensor."""
        if self.target is None:
            given = self.sides if isinstance(self.sides, tuple) else (self.sides, self.sides)
            return given[1 - axis], given[1 - axis] if len(given) == 2 else given[3 - axis]
        missing = self.target[axis] - size
        if self.place == "centre":
            return missing // 2, missing - missing // 2
        at_start = ("top" if axis == 0 else "left") in self.place
        return (missing * 0, missing) if at_start else (missing, missing * 0)

    def motion(self, height: int, width: int, draw: npt.NDArray[np.float64] | None) -> Motion:
        (top, below), (left, right) = self.added(0, height), self.added(1, width)
        return Motion(affine(1, 0, left, 0, 1, top), top + height + below, left + width + right)

    def for_mask(self, outside: int = 0) -> Pad:
        return self.model_copy(update={"fill": float(outside)})

    def sources(self, m: Maths, places: Any, size: Any) -> Any:
        """Which pixels of an axis stand at `places`, counted from its first pixel."""
        if self.mode in ("constant", "edge"):
            return m.clip(places, 0, size - 1)
        return m.mirrored(places, size, twice=self.mode == "symmetric")

    def bind_torch(self, x: Spec) -> Kernel:
        def fitting(pictures: Any) -> Any:
            height, width = pictures.shape[-2:]
            if self.target and (height > self.target[0] or width > self.target[1]):
                tall, wide = self.target
                raise RecordError(f"the picture is {height} x {width}, larger than the size {tall} x {wide}")
            return pictures

        return self._bound(torch_maths(), x, fitting)

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        def fitting(pictures: Any) -> Any:
            if not self.target:
                return pictures
            size = tf.shape(pictures)[-3:-1]
            fits = tf.debugging.assert_less_equal(size, list(self.target), "the picture is larger than the size")
            return after([fits], pictures)

        return self._bound(tensorflow_maths(), x, fitting)

    def _bound(self, m: Maths, x: Spec, fitting: Kernel) -> Kernel:
        out = self.out_spec(x)
        fill = self.fill if x.dtype.startswith("float") else np.floor(np.array(self.fill) + 0.5)

        def kernel(pictures: Any) -> Any:
            padded = pictures = fitting(m.need_pixels(pictures))
            for number, axis in enumerate((m.height, m.width)):
                size = m.size(pictures, axis)
                before, after = self.added(number, size)
                around = (m.places(before, pictures) - before, m.places(after, pictures) + size)
                first, last = (m.take(padded, self.sources(m, places, size), axis) for places in around)
                if self.mode == "constant":
                    fills = m.to(m.each_channel(fill, padded), x.dtype)
                    first, last = m.spread(fills, first), m.spread(fills, last)
                padded = m.join([first, padded, last], axis)
            return m.shaped(padded, out)

        return kernel
