"""Oracles of the image and label steps."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from oracle.base import NoOracle, Oracle
from PIL import Image, ImageOps
from scipy import ndimage

from pipelines.contract._values import Record
from pipelines.spec import Spec
from pipelines.step import Close, Identical, Levels

MOVED = Identical("values are moved, never computed")
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
WARPED = Levels(1, 0.03, real=5e-4, why="float32 positions, 6e-5 of a pixel between noise 100 levels apart, rounded")
PIL_LEVELS = Levels(
    1,
    0.3,
    real=3e-4,
    why="at 13 : 12 one sum in 16 is an exact half, which Pillow's fixed-point weights round otherwise, twice;"
    " on photos the tests of image.resize ask for less than one value in 200",
)


def _decode(step: Any, x: Spec, record: Record) -> Any:
    image = Image.open(io.BytesIO(record.value))
    if step.mode == "classes":
        return np.asarray(image).astype(np.uint8)[..., None]
    if image.mode.startswith(("I", "F")):
        return None
    if step.orientation == "apply":
        image = ImageOps.exif_transpose(image)
    if step.mode == "rgba":
        return np.asarray(image.convert("RGBA"))
    rgb = (
        image.convert("RGBA").convert("RGB")
        if "A" in image.mode or "transparency" in image.info
        else image.convert("RGB")
    )
    return np.asarray(rgb if step.mode == "rgb" else rgb.convert("L")).reshape(rgb.height, rgb.width, -1)


def _pillow_resize(values: np.ndarray[Any, Any], size: tuple[int, int], method: str, box: Any = None) -> Any:
    planes = [
        np.asarray(Image.fromarray(plane).resize(size[::-1], FILTERS[method], box=box))
        for plane in np.moveaxis(values, -1, 0)
    ]
    return np.stack(planes, -1)


def _resize(step: Any, x: Spec, record: Record) -> Any:
    if not step.antialias and step.method != "nearest":
        return None
    height, width = record.value.shape[:2]
    return _pillow_resize(record.value, step.target(height, width), step.method)


def _crop(step: Any, x: Spec, record: Record) -> Any:
    """torchvision's crop of the drawn box; the box itself is held by the tests of image.crop."""
    import torch
    from torchvision.transforms.v2 import functional as F

    values = torch.from_numpy(record.value).movedim(-1, 0)
    height, width = record.value.shape[:2]
    if step.where == "centre":
        if np.any(step.fill):
            down, across = (max(side - size, 0) for side, size in zip(step.sides, (height, width), strict=True))
            around = [across // 2, down // 2, across - across // 2, down - down // 2]
            values = F.pad(values, around, [math.floor(level + 0.5) for level in step.fill])
        return F.center_crop(values, list(step.sides)).movedim(0, -1).numpy()
    if step.pad:
        return None
    top, left, tall, wide = step.boxes(height, width, record.draw).tolist()
    if step.where == "random":
        return F.crop(values, top, left, tall, wide).movedim(0, -1).numpy()
    part = record.value[top : top + tall, left : left + wide]
    return _pillow_resize(np.ascontiguousarray(part), step.sides, step.method)


def _flip(step: Any, x: Spec, record: Record) -> Any:
    if step.variates() and record.draw is not None and record.draw[0] >= step.probability:
        return record.value
    return np.flip(record.value, 1 if step.direction == "horizontal" else 0)


def _rotate(step: Any, x: Spec, record: Record) -> Any:
    """scipy's spline interpolation of order 1 in float64, with the fill all around."""
    if step.method == "nearest":
        return None
    drawn = isinstance(step.degrees, tuple)
    degrees = step.degrees[0] + _draw(record)[0] * (step.degrees[1] - step.degrees[0]) if drawn else step.degrees
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    if not drawn and degrees % 90 == 0:
        return np.rot90(record.value, round(degrees / 90)) if step.expand else None
    shape = step.room(*record.value.shape[:2]) if step.expand else record.value.shape[:2]
    matrix = np.array([[c, s], [-s, c]])
    offset = (np.array(record.value.shape[:2]) - 1) / 2 - matrix @ ((np.array(shape) - 1) / 2)
    fills = np.broadcast_to(step.fill, record.value.shape[-1:])
    planes = [
        ndimage.affine_transform(
            p.astype(np.float64), matrix, offset, shape, order=1, mode="grid-constant", cval=float(f)
        )
        for p, f in zip(np.moveaxis(record.value, -1, 0), fills, strict=True)
    ]
    turned = np.stack(planes, -1)
    return np.floor(turned + 0.5).clip(0, 255).astype(np.uint8) if record.value.dtype == np.uint8 else turned


def _normalize(step: Any, x: Spec, record: Record) -> Any:
    levels = record.value / 255 if record.value.dtype == np.uint8 else record.value.astype(np.float64)
    return (levels - np.array(step.mean)) / np.array(step.std)


def _draw(record: Record) -> np.ndarray[Any, Any]:
    """The draw of a step that has chance."""
    assert record.draw is not None
    return record.draw


def _is_chosen(step: Any, record: Record) -> bool:
    return not step.variates() or bool(_draw(record)[0] < step.probability)


def _pillow_each(values: Any, change: Any) -> Any:
    return np.stack([np.asarray(change(Image.fromarray(p))) for p in np.moveaxis(values, -1, 0)], -1)


def _solarize(step: Any, x: Spec, record: Record) -> Any:
    if record.value.dtype != np.uint8:
        return None
    made = _pillow_each(record.value, lambda image: ImageOps.solarize(image, step.threshold))
    return made if _is_chosen(step, record) else record.value


def _invert(step: Any, x: Spec, record: Record) -> Any:
    bound = 255 if record.value.dtype == np.uint8 else np.float32(1)
    return bound - record.value if _is_chosen(step, record) else record.value


def _autocontrast(step: Any, x: Spec, record: Record) -> Any:
    if not _is_chosen(step, record):
        return record.value
    values = record.value.astype(np.float64)
    low, high = values.min((0, 1)), values.max((0, 1))
    made = (values - low) * (255 if record.value.dtype == np.uint8 else 1) / np.where(high > low, high - low, 1)
    made = np.where(high > low, made, values)
    return np.floor(made + 0.5).astype(np.uint8) if record.value.dtype == np.uint8 else made


def _equalize(step: Any, x: Spec, record: Record) -> Any:
    if record.value.dtype != np.uint8:
        return None
    return _pillow_each(record.value, ImageOps.equalize) if _is_chosen(step, record) else record.value


def _sharpness(step: Any, x: Spec, record: Record) -> Any:
    if not _is_chosen(step, record):
        return record.value
    low, high = step.factor if isinstance(step.factor, tuple) else (step.factor, step.factor)
    factor = low if low == high else low + _draw(record)[1] * (high - low)
    values, bound = record.value.astype(np.float64), 255 if record.value.dtype == np.uint8 else 1
    weights = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]])[..., None] / 13
    made, smooth = values.copy(), ndimage.correlate(values, weights)
    made[1:-1, 1:-1] = (factor * values + (1 - factor) * smooth)[1:-1, 1:-1].clip(0, bound)
    return np.floor(made + 0.5).astype(np.uint8) if record.value.dtype == np.uint8 else made


def _posterize(step: Any, x: Spec, record: Record) -> Any:
    if record.value.dtype != np.uint8:
        return None
    made = _pillow_each(record.value, lambda image: ImageOps.posterize(image, step.bits))
    return made if _is_chosen(step, record) else record.value


def _grayscale(step: Any, x: Spec, record: Record) -> Any:
    if record.value.dtype != np.uint8 or record.value.shape[-1] != 3:
        return None
    grey = np.asarray(Image.fromarray(record.value).convert("L"))[..., None]
    return np.repeat(grey, step.channels, -1) if _is_chosen(step, record) else record.value


def _pad(step: Any, x: Spec, record: Record) -> Any:
    import torch
    from torchvision.transforms.v2 import functional as F

    if step.sides is None:
        return None
    sides = list(step.sides) if isinstance(step.sides, tuple) else [step.sides]
    fill = list(step.fill) if isinstance(step.fill, tuple) else step.fill
    values = torch.from_numpy(record.value).movedim(-1, 0)
    return F.pad(values, sides, fill if step.mode == "constant" else None, step.mode).movedim(0, -1).numpy()


def _blur(step: Any, x: Spec, record: Record) -> Any:
    if not _is_chosen(step, record):
        return record.value
    low, high = step.sigma if isinstance(step.sigma, tuple) else (step.sigma, step.sigma)
    sigma = low if low == high else low + _draw(record)[1] * (high - low)
    made = record.value.astype(np.float64)
    for axis, size in enumerate(step.size if isinstance(step.size, tuple) else (step.size, step.size)):
        weights = np.exp(-(np.arange(-(size // 2), size // 2 + 1) ** 2) / (2 * sigma**2))
        made = ndimage.correlate1d(made, weights / weights.sum(), axis, mode="mirror")
    return np.floor(made + 0.5).astype(np.uint8) if record.value.dtype == np.uint8 else made


def _warped(step: Any, x: Spec, record: Record) -> Any:
    """scipy's interpolation of order 1 at the step's own places, which its tests hold to torchvision."""
    height, width = record.value.shape[:2]
    draw = record.draw if step.variates() else None
    back = np.linalg.inv(step.motion(height, width, draw).matrix)
    if step.method == "nearest" or np.allclose(back, np.eye(3)):
        return None
    rows, columns = np.mgrid[:height, :width] + 0.5
    places = np.stack([columns, rows, np.ones_like(rows)], -1) @ back.T
    at = [places[..., 1] / places[..., 2] - 0.5, places[..., 0] / places[..., 2] - 0.5]
    fills = np.broadcast_to(step.fill, record.value.shape[-1:])
    planes = [
        ndimage.map_coordinates(p.astype(np.float64), at, order=1, mode="grid-constant", cval=float(f))
        for p, f in zip(np.moveaxis(record.value, -1, 0), fills, strict=True)
    ]
    made = np.stack(planes, -1)
    return np.floor(made + 0.5).clip(0, 255).astype(np.uint8) if record.value.dtype == np.uint8 else made


def _index(step: Any, x: Spec, record: Record) -> Any:
    if x.axes:
        return np.array([step.classes.index(name) for name in record.value], np.int64)
    return step.classes.index(record.value)


def _multi_hot(step: Any, x: Spec, record: Record) -> Any:
    return np.isin(np.arange(step.classes), record.value).astype(np.float32)


def _one_hot(step: Any, x: Spec, record: Record) -> Any:
    return np.eye(step.classes, dtype=np.float32)[record.value]


ORACLES: dict[str, Oracle | NoOracle] = {
    "image.decode": Oracle("Pillow", _decode, Identical("the same libjpeg arithmetic")),
    "image.resize": Oracle("Pillow", _resize, PIL_LEVELS),
    "image.crop": Oracle("torchvision, Pillow", _crop, PIL_LEVELS),
    "image.flip": Oracle("NumPy", _flip, MOVED),
    "image.rotate": Oracle(
        "scipy.ndimage, float64",
        _rotate,
        WARPED,
    ),
    "image.normalize": Oracle("NumPy, float64", _normalize, Close(of_peak=3e-7, why="three float32 operations")),
    "image.affine": Oracle("scipy.ndimage, float64", _warped, WARPED),
    "image.auto_augment": NoOracle("made of the other steps; its tests hold each operation to Pillow and torchvision"),
    "image.autocontrast": Oracle(
        "NumPy, float64", _autocontrast, Levels(1, 0.01, real=3e-7, why="three float32 operations; ties of rounding")
    ),
    "image.equalize": Oracle("Pillow", _equalize, MOVED),
    "image.invert": Oracle("NumPy", _invert, MOVED),
    "image.sharpness": Oracle(
        "scipy.ndimage, float64", _sharpness, Levels(1, 0.01, real=3e-7, why="float32 sums; ties of rounding")
    ),
    "image.blur": Oracle(
        "scipy.ndimage, float64", _blur, Levels(1, 0.01, real=1e-6, why="float32 sums; ties of rounding on noise")
    ),
    "image.color_jitter": NoOracle("tests/image/test_levels.py holds each change to Pillow and torchvision"),
    "image.embed": NoOracle("tests/image/test_embed.py holds it to torchvision's and Keras' own models"),
    "image.erase": NoOracle("no library draws so; tests/image/test_pad_and_erase.py computes parts by hand"),
    "image.grayscale": Oracle("Pillow", _grayscale, MOVED),
    "image.pad": Oracle("torchvision", _pad, MOVED),
    "image.noise": NoOracle("no library draws so; tests/image/test_levels.py looks at the noise itself"),
    "image.perspective": Oracle("scipy.ndimage, float64", _warped, WARPED),
    "image.posterize": Oracle("Pillow", _posterize, MOVED),
    "image.rand_augment": NoOracle("made of the other steps; its tests hold each operation to Pillow and torchvision"),
    "image.trivial_augment": NoOracle(
        "made of the other steps; its tests hold each operation to Pillow and torchvision"
    ),
    "image.solarize": Oracle("Pillow", _solarize, MOVED),
    "label.boxes": NoOracle("tests/image/test_follows.py and test_labels.py hold it against torchvision"),
    "label.index": Oracle("list.index", _index, MOVED),
    "label.multi_hot": Oracle("NumPy", _multi_hot, MOVED),
    "label.one_hot": Oracle("numpy.eye", _one_hot, MOVED),
}
