"""image.affine and image.perspective against torchvision, Pillow and image.rotate, and across the frameworks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from pipelines.errors import SpecError
from pipelines.image import Affine, Perspective, Rotate
from pipelines.image._moves import WarpStep
from pipelines.native import to_native, to_numpy
from pipelines.spec import Spec, picture

FLOAT = picture(dtype="float32")


@pytest.fixture(scope="module")
def photos(data: Path) -> list[np.ndarray[Any, Any]]:
    paths = sorted((data / "image_imagenet_sample").rglob("*.JPEG"))[:50:10]
    assert len(paths) == 5
    return [np.array(Image.open(path).convert("RGB")) for path in paths]


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
@pytest.mark.parametrize(
    ("degrees", "right", "down", "scale", "slants"),
    [(30.0, 0.0, 0.0, 1.0, (0.0, 0.0)), (0.0, 0.1, -0.2, 1.0, (0.0, 0.0)), (-75.0, 0.1, 0.3, 0.7, (20.0, -13.0))],
)
def test_affine_is_torchvisions(
    *, degrees: float, right: float, down: float, scale: float, slants: Any, method: Any, framework: str, run: Any
) -> None:
    import torch
    from torchvision.transforms.v2 import functional as F

    values = np.random.default_rng(4).random((40, 50, 3), dtype=np.float32)
    step = Affine(
        degrees=degrees,
        translate_x=right,
        translate_y=down,
        scale=scale,
        shear_x=slants[0],
        shear_y=slants[1],
        method=method,
    )
    found = run(step, FLOAT, values, framework)
    wanted = F.affine(
        torch.from_numpy(values).movedim(-1, 0).double(),
        -degrees,  # it turns clockwise
        [right * 50, down * 40],
        scale,
        list(slants),
        interpolation=F.InterpolationMode(method),
    )
    wanted = wanted.movedim(0, -1).numpy()
    if method == "bilinear":
        np.testing.assert_allclose(found, wanted, atol=5e-5)  # float32 positions, 1e-5 pixels here, on noise
    else:
        assert np.mean(found != wanted) < 2e-3  # exact halves may fall the other way


def test_affine_turns_as_rotate_does(framework: str, rng: np.random.Generator, run: Any) -> None:
    values = rng.integers(0, 256, (33, 47, 3), dtype=np.uint8)
    for method in ("bilinear", "nearest"):
        a, b = (cls(degrees=33.3, method=method, fill=50) for cls in (Affine, Rotate))
        np.testing.assert_array_equal(run(a, picture(), values, framework), run(b, picture(), values, framework))


@pytest.mark.parametrize("distortion", [0.2, 0.5, 0.66])
def test_perspective_is_torchvisions(distortion: float, framework: str, rng: np.random.Generator, run: Any) -> None:
    import torch
    from torchvision.transforms.v2 import functional as F

    values = rng.random((40, 50, 3), dtype=np.float32)
    step = Perspective(distortion=distortion, probability=1.0)
    for draw in rng.random((6, step.variates())):
        corners = step.corners(40, 50, draw) + np.array([25, 20])
        edges = [[0, 0], [50, 0], [50, 40], [0, 40]]
        image = torch.from_numpy(values).movedim(-1, 0)
        wanted = F.perspective(image, edges, corners.tolist()).movedim(0, -1).numpy()
        found = run(step, FLOAT, values, framework, draw)
        # it solves for the numbers in float32: up to 1e-4 pixels between values up to 1 apart
        assert np.max(np.abs(found - wanted)) < 2e-3


def test_perspective_is_pillows(photos: list[Any], run: Any) -> None:
    step = Perspective(probability=1.0)
    for values in photos:
        height, width = values.shape[:2]
        draw = np.random.default_rng(width).random(step.variates())
        a, b = (run(step, picture(), values, f, draw) for f in ("torch", "tensorflow"))
        assert np.max(np.abs(a.astype(int) - b)) <= 1
        assert np.mean(a != b) < 0.002
        there = np.linalg.inv(step.motion(height, width, draw).matrix)
        data = tuple((there / there[2, 2]).ravel()[:8])
        image = Image.fromarray(values)
        pillow = image.transform(image.size, Image.Transform.PERSPECTIVE, data, Image.Resampling.BILINEAR)
        white = Image.new("L", image.size, 255).transform(image.size, Image.Transform.PERSPECTIVE, data)
        inside = np.asarray(Image.fromarray(np.asarray(white)).resize(image.size)) == 255
        for shift in ((2, 0), (-2, 0), (0, 2), (0, -2)):  # Pillow does not blend at the edge
            inside &= np.roll(inside, shift, (0, 1))
        inside[:3] = inside[-3:] = inside[:, :3] = inside[:, -3:] = False
        assert inside.mean() > 0.3
        assert np.max(np.abs(a.astype(int) - np.asarray(pillow))[inside]) <= 1


def test_affine_on_photos(photos: list[Any], run: Any) -> None:
    step = Affine(degrees=(-20, 20), scale=(0.8, 1.3), shear_x=(-15, 15), translate_y=(-0.2, 0.2), fill=(9, 99, 200))
    for values, draw in zip(photos, np.random.default_rng(1).random((5, 7)), strict=True):
        a, b = (run(step, picture(), values, f, draw) for f in ("torch", "tensorflow"))
        # positions are float32: 3e-5 pixels at 500, which moves one value in five thousand over a half
        assert np.max(np.abs(a.astype(int) - b)) <= 1
        assert np.mean(a != b) < 0.002


STEPS = (Affine(degrees=(-180, 180), scale=(0.5, 2), shear_y=(-40, 40), translate_x=(-1, 1), method="nearest", fill=7),
         Perspective(probability=0.9, distortion=0.66, method="nearest", fill=7))  # fmt: skip


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.sampled_from(STEPS), st.integers(1, 50), st.integers(1, 50), st.integers(0))
def test_nearest_is_the_same_bit_for_bit(run: Any, step: WarpStep, height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, draw = rng.integers(0, 256, (height, width, 3), dtype=np.uint8), rng.random(step.variates())
    a, b = (run(step, picture(), values, f, draw) for f in ("torch", "tensorflow"))
    np.testing.assert_array_equal(a, b)


def test_serving_and_chance(framework: str, rng: np.random.Generator, run: Any) -> None:
    values = rng.random((21, 34, 3), dtype=np.float32)
    for step in (
        Affine(degrees=(-15, 15), scale=(0.5, 4)),
        Affine(degrees=(0, 360), translate_x=(-0.5, 0.1)),
        Affine(degrees=45, probability=0.99),
        Perspective(probability=0.99),
        Perspective(probability=1.0),
    ):
        np.testing.assert_array_equal(run(step, FLOAT, values, framework, step.serving), values)
    for half, chance in ((Perspective(probability=0.5), 0), (Affine(degrees=45, probability=0.5), 6)):
        draws = np.full((20, half.variates()), 0.7)
        draws[:, chance] = np.linspace(0.01, 0.99, 20)
        changed = [not np.array_equal(run(half, FLOAT, values, framework, draw), values) for draw in draws]
        assert changed == [True] * 10 + [False] * 10
    least = Affine(degrees=(10, 30), scale=(0.5, 0.8), shear_x=7)
    fixed = Affine(degrees=10, scale=0.8, shear_x=7)
    np.testing.assert_array_equal(
        run(least, FLOAT, values, framework, least.serving), run(fixed, FLOAT, values, framework)
    )


def test_a_fill_is_rounded_half_up(framework: str, run: Any) -> None:
    for method in ("nearest", "bilinear"):
        for cls in (Affine, Rotate):
            found = run(
                cls(degrees=45, method=method, fill=127.5), picture(), np.zeros((20, 20, 3), np.uint8), framework
            )
            assert found[0, 0].tolist() == [128, 128, 128]


def test_corners_go_where_they_are_drawn(rng: np.random.Generator) -> None:
    step = Perspective(distortion=0.6, probability=1.0)
    draws, middle = rng.random((200, step.variates())), np.array([20, 15])
    for draw in draws:
        motion = step.motion(30, 40, draw)
        corners = np.array([[0, 0, 1], [40, 0, 1], [40, 30, 1], [0, 30, 1.0]]) @ motion.matrix.T
        np.testing.assert_allclose(corners[:, :2] / corners[:, 2:], step.corners(30, 40, draw) + middle, atol=1e-9)
    inwards = step.corners(30, 40, draws)[:, 0] + middle
    assert (inwards >= 0).all()
    assert (inwards <= (12, 9)).all()
    assert inwards.mean(0) == pytest.approx((6, 4.5), abs=0.5)


def test_rows_of_a_batch_move_by_their_own_draws(framework: str, rng: np.random.Generator) -> None:
    spec = picture(24, 24)
    values = rng.integers(0, 256, (4, 24, 24, 3), dtype=np.uint8)
    for step in (*STEPS, Affine(translate_x=0.25, method="nearest")):
        draws = rng.random((4, step.variates()))
        kernel = step.bind(framework, spec)
        rows = to_native(values, spec, framework)
        chance = [to_native(draws, Spec("float64"), framework)] if step.variates() else []
        found = to_numpy(kernel(rows, *chance), spec)
        for i, row in enumerate(found):
            np.testing.assert_array_equal(row, to_numpy(kernel(rows[i], *[c[i] for c in chance]), spec))
    np.testing.assert_array_equal(found[:, :, 6:], values[:, :, :-6])
    assert not found[:, :, :6].any()


@pytest.mark.parametrize(
    ("cls", "params", "says"),
    [
        (Affine, {}, "expected at least one of degrees"),
        (Affine, {"scale": [1, 1]}, "none that moves anything"),
        (Affine, {"degrees": [5, -5]}, "degrees: expected the smaller number first"),
        (Affine, {"scale": 0}, "greater than 0"),
        (Affine, {"shear_x": 90}, "less than 90"),
        (Perspective, {"distortion": 0.7}, "less than 0.66"),
    ],
)
def test_parameters(cls: Any, params: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        cls.model_validate(params)


def test_what_they_cannot_take(framework: str, run: Any) -> None:
    with pytest.raises(SpecError, match="3 values of fill"):
        Affine(degrees=5, fill=(1, 2)).out_spec(picture())
    with pytest.raises(SpecError, match="fill in"):
        Perspective(fill=128).out_spec(FLOAT)
    with pytest.raises(Exception, match="no pixels"):
        run(Affine(degrees=5), picture(), np.zeros((3, 0, 3), np.uint8), framework)
