"""image.rotate against scipy, NumPy and Pillow, and across the frameworks."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from scipy import ndimage

from pipelines.errors import SpecError
from pipelines.image.rotate import Rotate
from pipelines.native import to_native, to_numpy
from pipelines.spec import Spec, picture

FLOAT = picture(None, None, 2, "float32")


def scipy_rotated(values: np.ndarray[Any, Any], degrees: float, shape: tuple[int, ...], fill: float = 0.0) -> Any:
    """Bilinear in float64, with `fill` all around the picture, as image.rotate defines it."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = np.array([[c, s], [-s, c]])  # rows first: from (dy, dx) of the output to (dy, dx) of the input
    centre, middle = (np.array(values.shape[:2]) - 1) / 2, (np.array(shape) - 1) / 2
    offset = centre - matrix @ middle
    planes = [
        ndimage.affine_transform(
            np.asarray(plane, np.float64), matrix, offset, shape, order=1, mode="grid-constant", cval=fill
        )
        for plane in np.moveaxis(values, -1, 0)
    ]
    return np.stack(planes, -1)


def test_positive_is_counter_clockwise(framework: str, run: Any) -> None:
    values = np.zeros((5, 5, 2), np.float32)
    values[0, 2] = 1  # at the top; a quarter turn counter-clockwise takes it to the left
    found = run(Rotate(degrees=90), FLOAT, values, framework)
    assert found[2, 0, 0] == pytest.approx(1, abs=1e-6)
    assert found.sum() == pytest.approx(2, abs=1e-5)


@pytest.mark.parametrize("degrees", [10.0, -33.3, 45, 90, 179, -271.5, 360])
@pytest.mark.parametrize(("height", "width"), [(31, 44), (40, 27), (17, 17)])
def test_bilinear_is_scipys(
    degrees: float, height: int, width: int, framework: str, rng: np.random.Generator, run: Any
) -> None:
    values = rng.random((height, width, 2), dtype=np.float32)
    found = run(Rotate(degrees=degrees), FLOAT, values, framework)
    # float32 positions, 2e-6 pixels here, between values up to 1 apart
    np.testing.assert_allclose(found, scipy_rotated(values, degrees, (height, width)), atol=1e-5)


def test_fill_is_blended_at_the_edge(framework: str, rng: np.random.Generator, run: Any) -> None:
    values = rng.random((30, 41, 2), dtype=np.float32)
    found = run(Rotate(degrees=25, fill=0.75), FLOAT, values, framework)
    np.testing.assert_allclose(found, scipy_rotated(values, 25, (30, 41), 0.75), atol=1e-5)
    each = run(Rotate(degrees=25, fill=(0.25, 1.0)), FLOAT, values, framework)
    assert each[0, 0].tolist() == [0.25, 1.0]
    levels = rng.integers(0, 256, (30, 41, 3), dtype=np.uint8)
    for method in ("bilinear", "nearest"):
        found = run(Rotate(degrees=25, fill=(9, 99, 200), method=method), picture(), levels, framework)
        assert found[0, 0].tolist() == found[-1, -1].tolist() == [9, 99, 200]


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
@pytest.mark.parametrize("quarters", [-4, -3, -2, -1, 0, 1, 2, 3, 4])
def test_right_angles_move_pixels(
    quarters: int, method: Any, framework: str, rng: np.random.Generator, run: Any
) -> None:
    for shape in ((13, 13, 3), (12, 20, 3), (9, 14, 3)):
        values = rng.integers(0, 256, shape, dtype=np.uint8)
        found = run(Rotate(degrees=90 * quarters, expand=True, method=method), picture(), values, framework)
        np.testing.assert_array_equal(found, np.rot90(values, quarters))
    square = rng.integers(0, 256, (14, 14, 3), dtype=np.uint8)
    found = run(Rotate(degrees=90 * quarters, method=method), picture(), square, framework)
    np.testing.assert_array_equal(found, np.rot90(square, quarters))


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
def test_halves_fall_the_same_way(method: Any, rng: np.random.Generator, run: Any) -> None:
    """A quarter turn of 60 x 81 puts every pixel between two others: all are ties."""
    values = rng.integers(0, 256, (60, 81, 3), dtype=np.uint8)
    for degrees in (90, -90, 45, 180, 270):
        a, b = (run(Rotate(degrees=degrees, method=method), picture(), values, f) for f in ("torch", "tensorflow"))
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("degrees", [0, 12.5, 45, -60, 90, 135, 180, 203, 270, 359])
def test_expanded_sizes_are_pillows(degrees: float) -> None:
    for height, width in ((60, 80), (375, 500), (33, 50), (1, 7), (224, 224)):
        pillow = Image.new("L", (width, height)).rotate(degrees, expand=True)
        step = Rotate(degrees=degrees, expand=True)
        found = step.out_spec(picture(height, width)).shape[:2]
        if degrees % 90:
            assert found == (pillow.height, pillow.width)
        else:  # exactly the turned sides
            assert found == ((width, height) if degrees % 180 else (height, width))


@pytest.mark.parametrize("degrees", [12.5, -60.0])
def test_expanded_pictures(degrees: float, framework: str, rng: np.random.Generator, run: Any) -> None:
    values = rng.random((33, 50, 2), dtype=np.float32)
    step = Rotate(degrees=degrees, expand=True)
    found = run(step, FLOAT, values, framework)
    assert found.shape[:2] == step.out_spec(picture(33, 50)).shape[:2]
    np.testing.assert_allclose(found, scipy_rotated(values, degrees, found.shape[:2]), atol=1e-5)
    assert found.sum() == pytest.approx(values.sum(), rel=0.01)  # nothing is cut off


def test_photos(data: Path, run: Any) -> None:
    paths = sorted((data / "image_imagenet_sample").rglob("*.JPEG"))[:50:10]
    assert len(paths) == 5
    for path in paths:
        values = np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))
        a, b = (run(Rotate(degrees=(-10, 10)), picture(), values, f, [0.9]) for f in ("torch", "tensorflow"))
        # positions are float32: 3e-5 pixels at 500, which on photos moves one value in a thousand over a half
        assert np.max(np.abs(a.astype(int) - b)) <= 1
        assert np.mean(a != b) < 0.002
        pillow = np.asarray(Image.fromarray(values).rotate(8, Image.Resampling.BILINEAR))
        inside = (slice(60, -60), slice(60, -60))  # Pillow does not blend at the edge
        assert np.max(np.abs(a.astype(int) - pillow)[inside]) <= 1


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(1, 50), st.integers(1, 50), st.floats(0, 1, exclude_max=True), st.integers(0))
def test_nearest_is_the_same_bit_for_bit(run: Any, height: int, width: int, u: float, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    step = Rotate(degrees=(-180, 180), method="nearest", fill=7)
    a, b = (run(step, picture(), values, f, [u]) for f in ("torch", "tensorflow"))
    np.testing.assert_array_equal(a, b)


def test_serving_does_not_turn(framework: str, rng: np.random.Generator, run: Any) -> None:
    values = rng.integers(0, 256, (21, 34, 3), dtype=np.uint8)
    for method in ("bilinear", "nearest"):
        for degrees in ((-15, 15), (0, 360), (-10, 90)):
            step = Rotate(degrees=degrees, method=method)
            np.testing.assert_array_equal(run(step, picture(), values, framework, step.serving), values)
    least = Rotate(degrees=(20, 40))
    np.testing.assert_array_equal(run(least, picture(), values, framework, least.serving),
                                  run(Rotate(degrees=20), picture(), values, framework))  # fmt: skip


def test_rows_of_a_batch_turn_by_their_own_angles(framework: str, rng: np.random.Generator) -> None:
    spec, step = picture(24, 24), Rotate(degrees=(0, 360))
    values = rng.integers(0, 256, (4, 24, 24, 3), dtype=np.uint8)
    draws = np.array([[0.0], [0.25], [0.5], [0.75]])
    kernel = step.bind(framework, spec)
    found = kernel(to_native(values, spec, framework), to_native(draws, Spec("float64"), framework))
    for quarters, (row, value) in enumerate(zip(to_numpy(found, spec), values, strict=True)):
        np.testing.assert_array_equal(row, np.rot90(value, quarters))


def test_parameters_and_seam(framework: str, run: Any) -> None:
    for wrong, message in (
        ({"degrees": [10, -10]}, "smaller angle first"),
        ({"degrees": [0, 10], "expand": True}, "fixed angle"),
        ({"degrees": 400}, "360"),
        ({"degrees": 4, "method": "bicubic"}, "bilinear"),
    ):
        with pytest.raises(ValidationError, match=message):
            Rotate.model_validate(wrong)
    with pytest.raises(SpecError, match="3 values of fill"):
        Rotate(degrees=5, fill=(1, 2)).out_spec(picture())
    with pytest.raises(SpecError, match="fill in"):
        Rotate(degrees=5, fill=128).out_spec(FLOAT)
    with pytest.raises(Exception, match="no pixels"):
        run(Rotate(degrees=5), picture(), np.zeros((3, 0, 3), np.uint8), framework)
