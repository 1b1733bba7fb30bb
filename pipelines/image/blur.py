"""Gaussian blur."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field, model_validator

from pipelines.image._levels import LevelStep, Probability
from pipelines.image._maths import Maths
from pipelines.spec import Spec, picture
from pipelines.step import Example, Identical


def _odd(size: int) -> int:
    if size % 2 == 0:
        raise ValueError(f"expected an odd number, got {size}")
    return size


Size = Annotated[int, Field(ge=1, le=255), AfterValidator(_odd)]
Sigma = Annotated[float, Field(gt=0)]


class Blur(LevelStep):
    """Blurs a picture with a Gaussian, of a fixed or a random width.

    Takes  uint8[..., height, width, channel] or float32
    Gives  the same type and range; out[y, x] = sum_ij w[i] w[j] in[y + i, x + j], w[i] = exp(-i^2 / (2 sigma^2)) over
           its sum, i from -(size - 1) / 2 to (size - 1) / 2; outside is the mirror image without the outermost pixel.
           uint8 is computed in float32, height first, and rounded half up once

    `size` is the number of weights, odd, or [tall, wide]. `sigma` in pixels is a number, or [low, high] for one drawn
    evenly; serving takes the smallest. `probability` is the share of records that are blurred; below 1, serving blurs
    none. A picture without pixels fails its record.
    Source: torchvision.transforms.v2 GaussianBlur, scipy.ndimage.gaussian_filter(mode="mirror"). Written as weighted
    sums in one order, since the frameworks' convolutions sum in others, and torchvision's cannot mirror a picture
    smaller than the weights.
    """

    size: Size | tuple[Size, Size]
    sigma: Sigma | tuple[Sigma, Sigma] = (0.1, 2.0)
    probability: Probability = 1.0

    agreement = Identical("the same float32 operations in the same order, with weights made once in float64")
    serving = (1.0, 0.0)
    examples = (
        Example(picture(), {"size": 5}),
        Example(picture(), {"size": [3, 23], "sigma": 4.0}),
        Example(picture(17, 11, 1), {"size": 9, "sigma": [0.5, 3], "probability": 0.5}),
        Example(picture(dtype="float32"), {"size": [7, 1], "sigma": 1.5}),
        Example(picture(25, 30, 4, "float32"), {"size": 21}),
    )

    @model_validator(mode="after")
    def _consistent(self) -> Blur:
        if isinstance(self.sigma, tuple) and self.sigma[0] > self.sigma[1]:
            raise ValueError(f"sigma: expected the smaller number first, got {list(self.sigma)}")
        return self

    def variates(self) -> int:
        return 2 if isinstance(self.sigma, tuple) or self.probability < 1 else 0

    def out_spec(self, x: Spec) -> Spec:
        x.need(("uint8", "float32"), last=("height", "width", "channel"))
        return x

    def weights(self, size: int, draw: npt.NDArray[np.float64] | None = None) -> npt.NDArray[np.float64]:
        """Weights of one axis from the middle on, float64[..., (size + 1) / 2]; both frameworks ask here."""
        low, high = self.sigma if isinstance(self.sigma, tuple) else (self.sigma, self.sigma)
        sigma = np.float64(low) if draw is None else low + draw[..., 1] * (high - low)
        half = np.exp(-0.5 * (np.arange(size // 2 + 1) / np.asarray(sigma)[..., None]) ** 2)
        return np.asarray(half / (2 * half.sum(-1, keepdims=True) - 1))

    def change(self, m: Maths, levels: Any, draw: Any, bound: float) -> Any:
        levels = m.need_pixels(levels)
        blurred = levels
        sizes = self.size if isinstance(self.size, tuple) else (self.size, self.size)
        for axis, size in zip((m.height, m.width), sizes, strict=True):
            if size > 1:
                blurred = self._along(m, blurred, axis, size, draw)
        if draw is None or self.probability == 1:
            return blurred
        return m.where(m.rows(draw[..., 0], levels, "float64") < self.probability, blurred, levels)

    def _along(self, m: Maths, levels: Any, axis: int, size: int, draw: Any) -> Any:
        half, length = size // 2, m.size(levels, axis)
        if isinstance(self.sigma, tuple):
            weights = m.asked(lambda drawn: self.weights(size, drawn), [*draw.shape[:-1], half + 1], draw)
        else:
            weights = m.near(self.weights(size), levels)
        # but for the first, negative and subtracted: TensorFlow's graph adds up long sums in an order of its own
        weighed = [m.rows(-weights[..., i] if i else weights[..., i], levels) for i in range(half + 1)]
        around = (m.places(half, levels) + start for start in (-half, length))
        before, after = (m.take(levels, m.mirrored(places, length), axis) for places in around)
        wide = m.join([before, levels, after], axis)
        total = levels * weighed[0]
        for i in range(1, half + 1):
            pair = m.part(wide, axis, half - i, half - i + length) + m.part(wide, axis, half + i, half + i + length)
            total = total - pair * weighed[i]
        return total
