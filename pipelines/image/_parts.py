"""Random parts of a picture, which crop keeps and erase paints over."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Range = tuple[float, float]
TRIES = 7
"""Parts that are drawn until one fits; a part takes 2 + 2 TRIES variates: top, left, areas, ratios."""


def placed(height: float, width: float, tall: Numbers, wide: Numbers, draw: Numbers) -> npt.NDArray[np.int64]:
    """Top, left, height and width, int64[..., 4], of parts of a known size, each place as likely as any other."""
    top = np.rint(draw[..., 0] * (height - tall + 1) - 0.5)
    left = np.rint(draw[..., 1] * (width - wide + 1) - 0.5)
    return np.asarray(np.stack([top, left, tall, wide], -1), np.int64)


def drawn(height: float, width: float, draw: Numbers, scale: Range, ratio: Range) -> npt.NDArray[np.int64]:
    """Parts with `scale` of the picture's area and a `ratio` of width to height; see `placed`."""
    height, width = float(height), float(width)  # TensorFlow hands int32, whose product might not fit
    return placed(height, width, *_sides(height, width, draw[..., 2:], scale, ratio), draw)


def _sides(height: float, width: float, draw: Numbers, scale: Range, ratio: Range) -> tuple[Numbers, Numbers]:
    """Height and width of a random part: the first of the tries that fits, else the last one made smaller."""
    area = height * width * (scale[0] + draw[..., :TRIES] * (scale[1] - scale[0]))
    low, high = np.log(ratio)
    shape = np.exp(low + draw[..., TRIES : 2 * TRIES] * (high - low))
    room = np.minimum(height**2 * shape, width**2 / shape)[..., -1:]
    area = np.concatenate([area, np.minimum(area[..., -1:], room)], -1)
    shape = np.concatenate([shape, shape[..., -1:]], -1)
    tall, wide = np.rint(np.sqrt(area / shape)), np.rint(np.sqrt(area * shape))
    fits = (tall >= 1) & (tall <= height) & (wide >= 1) & (wide <= width)
    fits[..., -1] = True
    first = fits.argmax(-1)[..., None]
    tall, wide = (np.maximum(np.take_along_axis(side, first, -1)[..., 0], 1) for side in (tall, wide))
    return tall, wide
