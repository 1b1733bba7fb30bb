"""Noise."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from pipelines import draw as chance
from pipelines.image._levels import Probability, between
from pipelines.image._maths import Maths, tensorflow_maths, torch_maths
from pipelines.spec import Spec, picture
from pipelines.step import Example, Identical, Kernel, Step

Deviation = Annotated[float, Field(ge=0)]


class Noise(Step):
    """Adds normal noise to a picture, of a fixed or a random deviation.

    Takes  uint8[..., height, width, channel] or float32
    Gives  the same type; out = in + s n, where n is normal with mean 0 and deviation 1, another for each pixel and
           channel; levels are cut at the ends of their range, uint8 rounded half up

    `deviation` s, in input units, is a number, or [low, high] for one drawn evenly. The noise is expanded from two
    variates. `probability` is the share of records that get noise; serving adds none.
    Source: keras.layers.GaussianNoise; torchvision.transforms.v2 GaussianNoise.
    """

    deviation: Deviation | tuple[Deviation, Deviation]
    probability: Probability = 1.0

    agreement = Identical("the noise is made once, in NumPy; one float32 sum")
    serving = (1.0, 1.0, 0.0, 0.0)
    examples = (
        Example(picture(), {"deviation": 20}),
        Example(picture(17, 11, 1), {"deviation": [0, 90], "probability": 0.6}),
        Example(picture(9, 8, dtype="float32").but(unit="", range=(-2.0, 2.5)), {"deviation": 0.5}),
    )

    @model_validator(mode="after")
    def _consistent(self) -> Noise:
        if isinstance(self.deviation, tuple) and self.deviation[0] > self.deviation[1]:
            raise ValueError(f"deviation: expected the smaller number first, got {list(self.deviation)}")
        return self

    def variates(self) -> int:
        return len(self.serving)  # whether, how much, and the key

    def out_spec(self, x: Spec) -> Spec:
        x.need(("uint8", "float32"), last=("height", "width", "channel"))
        return x if x.unit == "level" else x.but(range=None)

    def noise(self, channels: int, height: int, width: int, draw: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """What is added, float64[..., height, width, channel]; both frameworks ask here."""
        low, high = self.deviation if isinstance(self.deviation, tuple) else (self.deviation, self.deviation)
        found = chance.normals(draw[..., 2:], int(height * width * channels))
        taken = np.where(draw[..., 0] < self.probability, between(draw[..., 1], low, high, 0.0), 0.0)
        return np.asarray((found * taken[..., None]).reshape(*draw.shape[:-1], height, width, channels))

    def bind_torch(self, x: Spec) -> Kernel:
        return self._bound(torch_maths(), x, lambda *given: np.moveaxis(self.noise(*given), -1, -3))

    def bind_tensorflow(self, x: Spec) -> Kernel:
        return self._bound(tensorflow_maths(), x, self.noise)

    def _bound(self, m: Maths, x: Spec, noise: Kernel) -> Kernel:
        out, channels = self.out_spec(x), x.size("channel") or 1

        def kernel(pictures: Any, draw: Any) -> Any:
            height, width = (m.size(pictures, axis) for axis in (m.height, m.width))
            added = m.near(m.asked(noise, pictures.shape, channels, height, width, draw), pictures)
            noisy = m.to(pictures, "float32") + m.to(added, "float32")
            if out.range and x.dtype == "float32":
                noisy = m.clip(noisy, *out.range)
            return m.shaped(m.round(noisy, x.dtype), out)

        return kernel
