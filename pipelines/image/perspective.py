"""Pictures seen from aside."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipelines.image._levels import Probability
from pipelines.image._moves import WarpStep, Way
from pipelines.spec import picture
from pipelines.step import Example

CORNERS = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


class Perspective(WarpStep):
    """Draws the corners of a picture inwards by chance, as if it were seen from aside.

    Takes  uint8[..., height, width, channel] or float32
    Gives  the same type and range; the picture's corners come to rest u w `distortion` / 2 from the left or right and
           v h `distortion` / 2 from the top or bottom, u and v drawn for each; straight lines stay straight; `fill`
           outside

    `distortion` is below 2/3, beyond which a corner may pass the line between its neighbours and fold the picture.
    `probability` is the share of records that are changed; serving changes none. `method` and `fill` are as in
    image.affine. A picture without pixels fails its record.
    Source: torchvision.transforms.v2 RandomPerspective, which rounds corners to whole pixels, solves for the numbers in
    float32 and blends a fill twice at the edge; torch's grid_sample; tf.raw_ops.ImageProjectiveTransformV3.
    """

    distortion: Annotated[float, Field(gt=0, lt=2 / 3)] = 0.5
    probability: Probability = 0.5

    serving = (1.0, *[0.0] * 8)
    examples = (
        Example(picture(), {"probability": 1.0}),
        Example(picture(), {"distortion": 0.6, "fill": [255, 0, 127.5]}),
        Example(picture(60, 81, 1), {"method": "nearest", "fill": 9, "probability": 1.0}),
        Example(picture(17, 11, dtype="float32"), {"distortion": 0.3, "probability": 0.8}),
    )

    def variates(self) -> int:
        return len(self.serving)

    def corners(self, height: float, width: float, draw: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Where top left, top right, bottom right and bottom left come to rest, x and y from the centre."""
        inwards = draw[..., 1:].reshape(*draw.shape[:-1], 4, 2) * self.distortion
        taken = (draw[..., 0] < self.probability)[..., None, None]
        return np.asarray(CORNERS * (1 - np.where(taken, inwards, 0)) * (width / 2, height / 2))

    def ways(self, height: float, width: float, draw: npt.NDArray[np.float64]) -> Way:
        there = self.corners(height, width, draw)
        back = np.broadcast_to(CORNERS * (width / 2, height / 2), there.shape)
        one, none = np.ones(there.shape[:-1]), np.zeros(there.shape[:-1])
        x, y = there[..., 0], there[..., 1]
        # back = (xx x + xy y + x0, yx x + yy y + y0) / (px x + py y + 1), twice at each corner
        first = np.stack([x, y, one, none, none, none, -x * back[..., 0], -y * back[..., 0]], -1)
        second = np.stack([none, none, none, x, y, one, -x * back[..., 1], -y * back[..., 1]], -1)
        sides = np.concatenate([first, second], -2)
        found = np.linalg.solve(sides, np.concatenate([back[..., 0], back[..., 1]], -1)[..., None])[..., 0]
        same = (draw[..., 0] >= self.probability) | (draw[..., 1:] == 0).all(-1)
        return np.where(same[..., None], [1.0, 0, 0, 0, 1, 0, 0, 0], found)
