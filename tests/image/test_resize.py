"""image.resize against Pillow and torchvision, and across the frameworks."""

from __future__ import annotations

import io
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from pipelines.errors import SpecError
from pipelines.image._resize import weights
from pipelines.image.resize import Resize
from pipelines.spec import picture

FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}
FRAMEWORKS = ("torch", "tensorflow")
GRAY = picture(None, None, 1, "float32")


@pytest.fixture(scope="module")
def photos(data: Path) -> list[np.ndarray[Any, Any]]:
    paths = sorted((data / "image_imagenet_sample").rglob("*.JPEG"))
    assert len(paths) >= 50
    return [np.asarray(Image.open(io.BytesIO(p.read_bytes())).convert("RGB")) for p in paths[:50:7]]


def short_side(photo: np.ndarray[Any, Any], size: int) -> tuple[int, int]:
    height, width = photo.shape[:2]
    return size * height // min(height, width), size * width // min(height, width)


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [256, 40])
def test_photos(size: int, method: Any, photos: list[Any], run: Any) -> None:
    differ, away = [], []
    for photo in photos:
        a, b = (run(Resize(size=size, method=method), picture(), photo, f) for f in FRAMEWORKS)
        height, width = short_side(photo, size)
        pillow = np.asarray(Image.fromarray(photo).resize((width, height), FILTERS[method]))
        assert a.shape == b.shape == pillow.shape
        assert a.dtype == b.dtype == np.uint8
        differ.append(np.mean(a != b))
        away.append(np.mean(a != pillow))
        # Pillow's weights have 22 bits, ours 16; where one is above 1 a level of the first axis counts for more
        assert np.max(np.abs(a.astype(int) - pillow)) <= (1 if method == "bilinear" else 2)
    assert np.mean(differ) < 1e-4, differ  # the same integer weights; summed in float32 in TensorFlow
    assert np.mean(away) < 0.005, away  # as torchvision against Pillow: 0.1 to 0.4% on photos


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.tuples(*[st.integers(1, 60)] * 4), st.sampled_from(["bilinear", "bicubic"]), st.booleans(), st.integers(0))
def test_any_size_agrees(run: Any, sizes: Any, method: Any, antialias: bool, seed: int) -> None:
    height, width, tall, wide = sizes
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    step = Resize(size=(tall, wide), method=method, antialias=antialias)
    a, b = (run(step, picture(), values, f) for f in FRAMEWORKS)
    assert a.shape == (tall, wide, 3)
    assert np.max(np.abs(a.astype(int) - b)) <= 1
    assert np.sum(a != b) <= max(1, 0.005 * a.size)


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
@pytest.mark.parametrize("sizes", [(33, 47, 20, 11), (17, 11, 40, 23), (60, 7, 9, 50)])
def test_floats_are_pillows(sizes: Any, method: Any, framework: str, rng: np.random.Generator, run: Any) -> None:
    height, width, tall, wide = sizes
    values = rng.random((height, width, 1), dtype=np.float32)
    found = run(Resize(size=(tall, wide), method=method), GRAY, values, framework)
    pillow = np.asarray(Image.fromarray(values[..., 0]).resize((wide, tall), FILTERS[method]))
    # Pillow sums in float64 and does not clip the overshoot of the cubic
    np.testing.assert_allclose(found[..., 0], np.clip(pillow, 0, 1), atol=5e-6)


def test_bilinear_without_antialias_is_interpolation(framework: str, rng: np.random.Generator, run: Any) -> None:
    values = rng.random((31, 22, 1), dtype=np.float32)
    found = run(Resize(size=(9, 40), antialias=False), GRAY, values, framework)
    lines = [np.clip((np.arange(n) + 0.5) * m / n - 0.5, 0, m - 1) for n, m in ((9, 31), (40, 22))]
    columns = np.array([np.interp(lines[1], np.arange(22), row) for row in values[..., 0].astype(np.float64)])
    expected = np.array([np.interp(lines[0], np.arange(31), column) for column in columns.T]).T
    np.testing.assert_allclose(found[..., 0], expected, atol=2e-6)  # float32 positions of torch


def test_bicubic_without_antialias_has_pillows_curve(framework: str, rng: np.random.Generator, run: Any) -> None:
    """Growing, antialias changes nothing, so that Pillow is the oracle; torch's own curve is 7 to 17 levels off."""
    values = rng.integers(0, 256, (12, 15, 3), dtype=np.uint8)
    found = run(Resize(size=(31, 33), method="bicubic", antialias=False), picture(), values, framework)
    pillow = np.asarray(Image.fromarray(values).resize((33, 31), FILTERS["bicubic"]))
    assert np.max(np.abs(found.astype(int) - pillow)) <= 1
    assert np.mean(found != pillow) < 0.02  # a small, noisy picture: 22 bits against 16


@pytest.mark.parametrize("sizes", [(33, 47, 20, 11), (17, 11, 40, 23), (64, 64, 32, 96), (3, 1, 7, 5), (50, 9, 49, 8)])
def test_nearest_is_pillows(sizes: Any, framework: str, rng: np.random.Generator, run: Any) -> None:
    """But for centres exactly between two pixels: here the second is taken, in Pillow the one rounding hits."""
    height, width, tall, wide = sizes
    values = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    found = run(Resize(size=(tall, wide), method="nearest"), picture(), values, framework)
    axes = ((tall, height), (wide, width))
    rows, columns = ([math.floor(Fraction((2 * i + 1) * m, 2 * n)) for i in range(n)] for n, m in axes)
    np.testing.assert_array_equal(found, values[rows][:, columns])
    pillow = np.asarray(Image.fromarray(values).resize((wide, tall), FILTERS["nearest"]))
    rows, columns = ([i for i in range(n) if (2 * i + 1) * m % (2 * n)] for n, m in axes)
    np.testing.assert_array_equal(found[rows][:, columns], pillow[rows][:, columns])
    assert len(rows) * len(columns) > 0 or sizes == (64, 64, 32, 96)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 600))
def test_the_short_side_is_torchvisions(height: int, width: int, size: int) -> None:
    import torch
    from torchvision.transforms.v2 import functional as F

    found = Resize(size=size).target(height, width)
    if height * width * 4 < 1e6 and found[0] * found[1] < 1e6:
        assert found == tuple(F.resize(torch.zeros(1, height, width), [size]).shape[-2:])
    assert min(found) == size
    spec = Resize(size=size).out_spec(picture(height, width))
    assert spec.shape[:2] == found


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 600), st.integers(1, 600), st.integers(1, 300), st.integers(1, 200))
def test_sizes_that_keep_the_proportions(height: int, width: int, tall: int, wide: int) -> None:
    import torch
    from PIL import ImageOps
    from torchvision.transforms.v2 import functional as F

    image = Image.new("1", (width, height))
    for fit, theirs in (("cover", ImageOps.cover), ("inside", ImageOps.contain)):
        found = Resize(size=(tall, wide), fit=fit).target(height, width)
        pillow = theirs(image, (wide, tall)) if min(found) > 1 else None  # Pillow may come to no pixels at all
        if pillow is not None:
            # Pillow rounds the side that does not decide where this, as torchvision, cuts it off
            assert 0 <= pillow.height - found[0] <= 1
            assert 0 <= pillow.width - found[1] <= 1
        if fit == "inside":
            assert max(found[0] - tall, found[1] - wide) == 0
        else:
            assert min(found[0] - tall, found[1] - wide) == 0
        assert found == Resize(size=(tall, wide), fit=fit).out_spec(picture(height, width)).shape[:2]
    long = Resize(size=tall, fit="inside").target(height, width)
    assert max(long) == tall
    size, most = min(tall, wide), max(tall, wide) + 1
    found = Resize(size=size, max_side=most).target(height, width)
    if most * min(height, width) >= max(height, width) and max(height, width) * size < 1e6:
        given = torch.zeros(1, height, width, dtype=torch.uint8)
        assert found == tuple(F.resize(given, [size], max_size=most, interpolation=0).shape[-2:])


def test_sizes_in_a_graph_are_those_of_python(run: Any) -> None:
    for step in (
        Resize(size=20, fit="inside"),
        Resize(size=(20, 9), fit="cover", max_side=31),
        Resize(size=8, max_side=9),
        Resize(size=(5, 30), fit="inside", method="nearest"),
    ):
        for shape in ((40, 9, 3), (9, 40, 3), (20, 20, 3), (1, 90, 3), (300, 1, 3)):
            values = np.zeros(shape, np.uint8)
            sizes = {run(step, picture(), values, f).shape[:2] for f in FRAMEWORKS}
            assert sizes == {step.target(*shape[:2])}


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from(["bilinear", "bicubic"]), st.booleans(), st.booleans())
def test_weights_are_means(n_in: int, n_out: int, method: Any, antialias: bool, levels: bool) -> None:
    """Each output's weights sum to 1, or, in 16 bits, to as near 1 as their number allows."""
    places, values = weights(n_in, n_out, method, antialias, levels)
    sums = np.bincount(places[:, 0], values.astype(np.float64), n_out)
    taps = np.bincount(places[:, 0]).max()
    np.testing.assert_allclose(sums, 1, atol=taps * 2**-15 if levels else taps * 6e-8)
    assert places[:, 1].min() >= 0
    assert places[:, 1].max() < n_in


def test_a_flat_picture_stays_flat(framework: str, run: Any) -> None:
    for level in (0, 1, 127, 254, 255):
        for method in FILTERS:
            found = run(
                Resize(size=(13, 31), method=method), picture(), np.full((40, 9, 3), level, np.uint8), framework
            )
            assert np.all(found == level)


def test_what_cannot_be_resized_fails(framework: str, run: Any) -> None:
    with pytest.raises(Exception, match="no pixels"):
        run(Resize(size=8), picture(), np.zeros((0, 5, 3), np.uint8), framework)
    strip = np.zeros((1, 20_000, 3), np.uint8)  # the long side would be 5,120,000
    with pytest.raises(Exception, match="resized it would"):
        run(Resize(size=256), picture(), strip, framework)


def test_parameters_and_seam() -> None:
    for wrong, says in (
        ({"size": [8, 9], "max_side": 20}, "max_side: expected the proportions to be kept"),
        ({"size": 8, "max_side": 7}, "max_side: expected at least the size, 8, got 7"),
    ):
        with pytest.raises(ValidationError, match=says):
            Resize.model_validate(wrong)
    for wrong in ({"size": 0}, {"size": [8, -1]}, {"size": [8, 8, 8]}, {"size": 8, "method": "lanczos"}, {}):
        with pytest.raises(ValidationError):
            Resize.model_validate(wrong)
    with pytest.raises(SpecError, match="expected uint8 or float32"):
        Resize(size=8).out_spec(picture(dtype="int64"))
    assert Resize(size=(8, 9)).out_spec(picture()).shape == (8, 9, 3)
    assert Resize(size=8).out_spec(picture()).shape == (None, None, 3)
