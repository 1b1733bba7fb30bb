"""Oracles of the image steps that change levels or add to a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from contract.values import Record
from oracle.base import NoOracle, Oracle
from scipy import ndimage

from pipelines.spec import Spec
from pipelines.step import Identical, Levels

ROUNDED = Levels(1, 0.001, real=8e-6, why="float32 sums against float64; the luma weights have 16 bits")


def _back(step: Any, record: Record, changed: Any) -> Any:
    """float64 as the step gives it, where chance takes the record."""
    taken = record.draw is None or record.draw[0] < step.probability
    if record.value.dtype == np.uint8:
        changed = np.floor(np.asarray(changed) + 0.5).clip(0, 255).astype(np.uint8)
    return changed if taken else record.value


def _grayscale(step: Any, x: Spec, record: Record) -> Any:
    values = record.value.astype(np.float64)
    grey = values if values.shape[-1] == 1 else values @ [[0.299], [0.587], [0.114]]
    return _back(step, record, np.repeat(grey, step.channels, -1))


def _solarize(step: Any, x: Spec, record: Record) -> Any:
    bound = 255 if record.value.dtype == np.uint8 else np.float32(1)
    return _back(step, record, np.where(record.value >= step.threshold, bound - record.value, record.value))


def _posterize(step: Any, x: Spec, record: Record) -> Any:
    if record.value.dtype == np.uint8:
        return _back(step, record, record.value & (256 - (256 >> step.bits)))
    kept = 2**step.bits
    return _back(step, record, np.minimum(np.floor(record.value * kept), kept - 1) / kept)


def _blur(step: Any, x: Spec, record: Record) -> Any:
    sizes = step.size if isinstance(step.size, tuple) else (step.size, step.size)
    sigma = step.sigma if record.draw is None else step.sigma[0] + record.draw[1] * (step.sigma[1] - step.sigma[0])
    values = record.value.astype(np.float64)
    for axis, size in enumerate(sizes):
        values = ndimage.gaussian_filter1d(values, sigma, axis, mode="mirror", radius=size // 2)
    return _back(step, record, values)


def _pad(step: Any, x: Spec, record: Record) -> Any:
    around = [step.added(axis, record.value.shape[axis]) for axis in (0, 1)]
    if step.mode != "constant":
        return np.pad(record.value, [*around, (0, 0)], mode=step.mode)
    fills = np.broadcast_to(step.fill, record.value.shape[-1:])
    planes = zip(np.moveaxis(record.value, -1, 0), fills, strict=True)
    return np.stack([np.pad(plane, around, constant_values=fill) for plane, fill in planes], -1)


ORACLES: dict[str, Oracle | NoOracle] = {
    "image.affine": NoOracle("tests/image/test_affine.py holds it against torchvision and image.rotate"),
    "image.auto_augment": NoOracle("tests/image/test_augment.py holds its policies and operations against torchvision"),
    "image.blur": Oracle("scipy.ndimage, float64", _blur, ROUNDED),
    "image.color_jitter": NoOracle("tests/image/test_levels.py holds it against Pillow, colorsys and torchvision"),
    "image.erase": NoOracle("tests/image/test_pad_and_erase.py holds its parts and noise against their laws"),
    "image.grayscale": Oracle("NumPy, float64", _grayscale, ROUNDED),
    "image.pad": Oracle("numpy.pad", _pad, Identical("values are moved, never computed")),
    "image.perspective": NoOracle("tests/image/test_affine.py holds it against torchvision and Pillow"),
    "image.posterize": Oracle("NumPy", _posterize, Identical("whole levels, and products with powers of two")),
    "image.rand_augment": NoOracle("tests/image/test_augment.py holds each operation against torchvision and Pillow"),
    "image.solarize": Oracle("NumPy", _solarize, Identical("one subtraction")),
}
