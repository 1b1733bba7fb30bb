"""A random part painted over."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from pipelines import draw as chance
from pipelines.image import _parts
from pipelines.image._levels import Probability, Values, need_values
from pipelines.image._maths import Maths, tensorflow_maths, torch_maths
from pipelines.image._parts import TRIES
from pipelines.spec import Spec, picture
from pipelines.step import Example, Identical, Kernel, Step

Share = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class Erase(Step):
    """Paints over a random part of a picture, by chance.

    Takes  uint8[..., height, width, channel] or float32
    Gives  the same type and range; out[y, x] = `value` in the part, in[y, x] outside

    The part has a `scale` of the picture's area and a `ratio` of width to height (its logarithm is drawn evenly): the
    first of 7 drawn parts that fits, else the last one made smaller, at any place with the same chance. `value` is one
    number or one per channel, in input units, or "noise", expanded from two variates: of levels even over their range,
    of other numbers (after image.normalize) normal with mean 0 and deviation 1. `probability` is the share of records
    that lose a part; below 1, serving takes none away, else the smallest.
    Source: Zhong et al., "Random erasing data augmentation" (2017); torchvision.transforms.v2 RandomErasing, whose
    ratio is height to width, and which draws 10 parts and leaves the picture if none fits.
    """

    scale: tuple[Share, Share] = (0.02, 0.33)
    ratio: tuple[Positive, Positive] = (0.3, 3.3)
    value: Values | Literal["noise"] = 0.0
    probability: Probability = 0.5

    agreement = Identical("the part and the noise are made once, in NumPy")
    serving = (1.0, 0.5, 0.5, *[0.0] * TRIES, *[0.5] * TRIES, 0.0, 0.0)
    examples = (
        Example(picture(), {"probability": 1.0}),
        Example(picture(), {"value": [9, 0, 200.5], "scale": [0.3, 0.9]}),
        Example(picture(17, 11), {"value": "noise", "probability": 1.0}),
        Example(picture(dtype="float32"), {"value": "noise", "probability": 0.8}),
        Example(picture(17, 11, 1, "float32").but(range=None), {"value": "noise", "probability": 1.0, "ratio": [1, 1]}),
        Example(picture(9, 12, dtype="float32").but(unit="", range=(-2.0, 2.5)), {"value": "noise", "scale": [0.5, 1]}),
    )

    @model_validator(mode="after")
    def _consistent(self) -> Erase:
        for name, (low, high) in (("scale", self.scale), ("ratio", self.ratio)):
            if low > high:
                raise ValueError(f"{name}: expected the smaller number first, got {[low, high]}")
        return self

    def variates(self) -> int:
        return len(self.serving)

    def out_spec(self, x: Spec) -> Spec:
        x.need(("uint8", "float32"), last=("height", "width", "channel"))
        if self.value != "noise":
            need_values(x, "value", self.value)
        return x.but(range=None) if self.value == "noise" and not _even(x) else x

    def boxes(self, height: float, width: float, draw: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Top, left, height and width of the parts, int64[..., 4], without area where chance takes none."""
        boxes = _parts.drawn(height, width, draw[..., 1 : 3 + 2 * TRIES], self.scale, self.ratio)
        return boxes * (draw[..., :1] < self.probability)

    def noise(self, x: Spec, height: int, width: int, draw: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Noise in the parts and 0 elsewhere, [..., height, width, channel]; both frameworks ask here."""
        channels = x.size("channel") or 1
        found = np.zeros((draw[..., 0].size, height, width, channels))
        boxes = self.boxes(height, width, draw).reshape(-1, 4)
        for canvas, (top, left, tall, wide), key in zip(found, boxes, draw[..., -2:].reshape(-1, 2), strict=True):
            make = chance.uniforms if _even(x) else chance.normals
            values = make(key, int(tall * wide * channels))
            if _even(x) and x.range:
                low, high = x.range
                values = np.floor(values * (high + 1)) if x.dtype == "uint8" else low + values * (high - low)
            canvas[top : top + tall, left : left + wide] = values.reshape(tall, wide, channels)
        return found.reshape(*draw.shape[:-1], height, width, channels)

    def bind_torch(self, x: Spec) -> Kernel:
        return self._bound(torch_maths(), x, lambda *given: np.moveaxis(self.noise(x, *given), -1, -3))

    def bind_tensorflow(self, x: Spec) -> Kernel:
        return self._bound(tensorflow_maths(), x, lambda *given: self.noise(x, *given))

    def _bound(self, m: Maths, x: Spec, noise: Kernel) -> Kernel:
        out = self.out_spec(x)

        def kernel(pictures: Any, draw: Any) -> Any:
            pictures = m.need_pixels(pictures)
            height, width = (m.size(pictures, axis) for axis in (m.height, m.width))
            boxes = m.asked(self.boxes, [*draw.shape[:-1], 4], height, width, draw)
            top, left, tall, wide = (m.rows(boxes[..., i], pictures, "int64") for i in range(4))
            down = m.along(m.places(height, pictures), m.height)
            across = m.along(m.places(width, pictures), m.width)
            inside = (down >= top) & (down < top + tall) & (across >= left) & (across < left + wide)
            if self.value == "noise":
                painted = m.near(m.asked(noise, pictures.shape, height, width, draw), pictures)
            else:
                levels = np.floor(np.array(self.value) + 0.5) if x.dtype == "uint8" else self.value
                painted = m.each_channel(levels, pictures)
            return m.shaped(m.where(inside, m.to(painted, x.dtype), pictures), out)

        return kernel


def _even(x: Spec) -> bool:
    """Whether noise is even over the range: of levels, not of what is centred."""
    return x.unit == "level" and x.range is not None
