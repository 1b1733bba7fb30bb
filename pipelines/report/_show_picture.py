"""Pictures as pixels to look at: normalised ones mapped back, boxes drawn in, batches laid out as a grid."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from pipelines.plan import Node
from pipelines.report._page import Picture, pixels_png
from pipelines.spec import Spec

Pixels = npt.NDArray[np.uint8]
LARGEST = 240
"""Pixels of the longer side that are shown; larger pictures are made smaller."""
SMALL = 96
"""Pictures with a longer side up to this are shown larger, pixel by pixel."""
PADDING = 2


@runtime_checkable
class Undone(Protocol):
    """A step that moves a picture's levels to another scale, and knows the way back."""

    def undone(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """[..., channel], the levels in [0, 1] that values came from."""


def pixels_of(value: npt.NDArray[Any], spec: Spec, nodes: Iterable[Node]) -> tuple[Pixels, str]:
    """uint8[height, width, 1, 3 or 4] of a picture, and how it was made of the values, where it is not the same.

    `nodes` are those that the picture has been through, the last one first. Levels are kept; normalised values go
    through the inverse of the step that normalised them; other floats are stretched from the least to the largest.
    """
    channels = value.shape[-1]
    if spec.unit == "class" and channels == 1:
        return class_colours(value[..., 0]), "each class number in a colour of its own"
    told = "" if channels in (1, 3, 4) else f"the first of {channels} channels"
    shown = value if channels in (1, 3, 4) else value[..., :1]
    if value.dtype == np.uint8:
        return np.ascontiguousarray(shown), told
    made = next((n.step for n in nodes if isinstance(n.step, Undone)), None)
    least, most = (float(v) for v in (np.nanmin(value), np.nanmax(value))) if value.size else (0.0, 0.0)
    span = f"values {least:.3g} to {most:.3g}"
    if made is not None and spec.range != (0.0, 1.0):
        shown, how = made.undone(value)[..., : shown.shape[-1]], f"{span}, mapped back by mean and std"
    elif spec.range == (0.0, 1.0) or (least >= 0 and most <= 1):
        how = span
    else:
        shown, how = (shown - least) / ((most - least) or 1.0), f"{span}, stretched for display"
    levels = np.nan_to_num(np.clip(np.asarray(shown, np.float64), 0, 1) * 255).round().astype(np.uint8)
    return levels, ", ".join(part for part in (told, how) if part)


def class_colours(numbers: npt.NDArray[Any]) -> Pixels:
    """uint8[height, width, 3]: black for class 0, clear colours for the others."""
    turns = (np.arange(256) * 0.618034) % 1  # the golden section keeps neighbours apart
    table = np.array([colorsys.hsv_to_rgb(turn, 0.75, 0.95) for turn in turns])
    table[0] = 0
    return np.asarray((table * 255).round().astype(np.uint8)[np.asarray(numbers, np.int64) % 256])


def with_boxes(pixels: Pixels, boxes: npt.NDArray[Any]) -> Pixels:
    """The picture in colours with the outline of each box, whose corners are in its pixels."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("RGB")
    draw = ImageDraw.Draw(image)
    for number, (left, top, right, bottom) in enumerate(np.asarray(boxes, np.float64).tolist()):
        colour = tuple(int(255 * part) for part in colorsys.hsv_to_rgb((number * 0.618034) % 1, 0.9, 1.0))
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=2)
    return np.asarray(image)


def picture_block(pixels: Pixels, alt: str, caption: str, largest: int = LARGEST) -> Picture | None:
    """The picture at a size to look at; None where it has no pixel."""
    height, width = pixels.shape[:2]
    if not pixels.size:
        return None
    longer = max(height, width)
    size = f"{height} x {width}"
    pixels = reduced(pixels, largest)
    if longer > largest and largest == LARGEST:
        size += f", shown at {pixels.shape[0]} x {pixels.shape[1]}"
    caption = "; ".join(part for part in (caption, size) if part)
    if longer <= SMALL:
        return Picture(pixels_png(pixels), alt, caption, pixelated=True, width=width * max(1, 2 * SMALL // longer))
    return Picture(pixels_png(pixels), alt, caption)


def reduced(pixels: Pixels, largest: int) -> Pixels:
    """The picture with a longer side of at most `largest`, uint8[height, width, channel]."""
    height, width = pixels.shape[:2]
    longer = max(height, width)
    if longer <= largest:
        return pixels
    from PIL import Image

    to = (max(1, round(width * largest / longer)), max(1, round(height * largest / longer)))
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    return np.asarray(image.resize(to, Image.Resampling.LANCZOS)).reshape(to[1], to[0], -1)


def grid_pixels(pictures: Sequence[Pixels], framework: str, columns: int = 8) -> Pixels:
    """uint8[height, width, 3]: the pictures of a batch side by side on white, smaller ones in the upper left corner.

    torchvision.utils.make_grid lays them out where the framework is torch; the same by NumPy otherwise.
    """
    height, width = (max(one.shape[axis] for one in pictures) for axis in (0, 1))
    stacked = np.full((len(pictures), height, width, 3), 255, np.uint8)
    for place, one in zip(stacked, pictures, strict=True):
        place[: one.shape[0], : one.shape[1]] = one[..., :3]  # one channel stands for all three
    if framework == "torch":
        import torch
        from torchvision.utils import make_grid

        made = make_grid(torch.from_numpy(stacked).movedim(-1, 1), nrow=columns, padding=PADDING, pad_value=255)
        pixels: Pixels = np.ascontiguousarray(made.movedim(0, -1).numpy())
        return pixels
    across = min(columns, len(pictures))
    down = -(-len(pictures) // across)
    if len(pictures) == 1:
        alone: Pixels = stacked[0]
        return alone  # make_grid gives one picture no frame
    grid = np.full((down * (height + PADDING) + PADDING, across * (width + PADDING) + PADDING, 3), 255, np.uint8)
    for number, one in enumerate(stacked):
        y, x = (PADDING + n * (side + PADDING) for n, side in zip(divmod(number, across), (height, width), strict=True))
        grid[y : y + height, x : x + width] = one
    return grid
