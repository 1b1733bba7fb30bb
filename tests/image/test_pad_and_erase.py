"""image.pad against NumPy and Pillow; image.erase against its drawn parts and noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from pydantic import ValidationError
from scipy import stats

from pipelines.draw import normals
from pipelines.errors import SpecError
from pipelines.image import Erase, Normalize, Pad
from pipelines.native import to_native, to_numpy
from pipelines.spec import Spec, picture

FLOAT = picture(dtype="float32")


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
@pytest.mark.parametrize("sides", [3, (1, 4), (0, 5, 2, 1), (40, 0, 0, 33)])
def test_pad_is_numpys(mode: Any, sides: Any, framework: str, rng: np.random.Generator, run: Any) -> None:
    four = (sides,) * 4 if isinstance(sides, int) else sides * (4 // len(sides))
    left, top, right, bottom = four
    for shape in ((7, 9, 3), (1, 1, 3), (2, 5, 3)):
        values = rng.integers(0, 256, shape, dtype=np.uint8)
        fill = {"constant_values": 9} if mode == "constant" else {}
        wanted = np.pad(values, ((top, bottom), (left, right), (0, 0)), mode=mode, **fill)
        step = Pad(sides=sides, mode=mode, fill=9 if mode == "constant" else 0)
        np.testing.assert_array_equal(run(step, picture(), values, framework), wanted)
        assert step.out_spec(picture(*shape[:2])).shape == wanted.shape


def test_pad_to_a_size(framework: str, rng: np.random.Generator, run: Any) -> None:
    values = rng.integers(0, 256, (7, 10, 3), dtype=np.uint8)
    corners = {"top_left": (0, 0), "top_right": (0, 5), "bottom_left": (5, 0), "bottom_right": (5, 5), "centre": (2, 2)}
    for place, (top, left) in corners.items():
        step = Pad(size=(12, 15), place=place, fill=(1, 2, 3))
        found = run(step, picture(), values, framework)
        assert found.shape == (12, 15, 3)
        np.testing.assert_array_equal(found[top : top + 7, left : left + 10], values)
        assert (found.reshape(-1, 3) == [1, 2, 3]).all(1).sum() == 12 * 15 - 70
    same = run(Pad(size=(7, 10), fill=5), picture(), values, framework)
    np.testing.assert_array_equal(same, values)


def test_centre_is_pillows_expand(framework: str, rng: np.random.Generator, run: Any) -> None:
    values = rng.integers(0, 256, (8, 12, 3), dtype=np.uint8)
    wanted = ImageOps.expand(Image.fromarray(values), border=4, fill=(7, 8, 9))
    found = run(Pad(size=(16, 20), fill=(7, 8, 9)), picture(), values, framework)
    np.testing.assert_array_equal(found, np.asarray(wanted))


def test_pad_refuses(framework: str, run: Any) -> None:
    for wrong, says in (
        ({}, "expected either sides or size, got none"),
        ({"sides": 1, "size": 9}, "expected either sides or size, got both"),
        ({"sides": 1, "place": "top_left"}, "place: expected size"),
        ({"sides": 1, "mode": "edge", "fill": 3}, "fill: expected mode: constant"),
        ({"sides": -1}, "greater than or equal to 0"),
    ):
        with pytest.raises(ValidationError, match=says):
            Pad.model_validate(wrong)
    with pytest.raises(SpecError, match="expected a width of at most 20"):
        Pad(size=20).out_spec(picture(10, 30))
    with pytest.raises(SpecError, match="expected 3 values of fill"):
        Pad(sides=1, fill=(1, 2)).out_spec(picture())
    with pytest.raises(Exception, match="larger than the size"):
        run(Pad(size=20), picture(), np.zeros((21, 5, 3), np.uint8), framework)
    with pytest.raises(Exception, match="no pixels"):
        run(Pad(sides=2, mode="reflect"), picture(), np.zeros((0, 5, 3), np.uint8), framework)


@pytest.mark.parametrize("shape", [(40, 31, 3), (9, 60, 3), (1, 1, 3)])
def test_a_part_is_painted_over(shape: Any, framework: str, rng: np.random.Generator, run: Any) -> None:
    values = rng.integers(0, 200, shape, dtype=np.uint8)
    step = Erase(value=(250, 251, 252), probability=0.7)
    draws = rng.random((20, step.variates()))
    draws[:, 0] = np.linspace(0, 0.99, 20)
    for draw in draws:
        found = run(step, picture(), values, framework, draw)
        top, left, tall, wide = step.boxes(*shape[:2], draw)
        wanted = values.copy()
        wanted[top : top + tall, left : left + wide] = (250, 251, 252)
        np.testing.assert_array_equal(found, wanted)
        assert (tall * wide > 0) == (draw[0] < 0.7)
        assert 0 <= top <= shape[0] - tall
        assert 0 <= left <= shape[1] - wide


def test_parts_have_the_stated_shares_and_ratios(rng: np.random.Generator) -> None:
    step = Erase(probability=1.0)
    top, left, tall, wide = step.boxes(1000, 1000, rng.random((4000, step.variates()))).T
    share, ratio = tall * wide / 1e6, wide / tall
    assert stats.kstest(share, stats.uniform(0.02, 0.31).cdf).statistic < 0.03  # even, but for rounding to pixels
    assert stats.kstest(np.log(ratio), stats.uniform(np.log(0.3), np.log(11)).cdf).statistic < 0.03
    for start, side in ((top, tall), (left, wide)):
        assert stats.kstest((start + 0.5) / (1001 - side), "uniform").statistic < 0.03


def test_noise(framework: str, rng: np.random.Generator, run: Any) -> None:
    step = Erase(value="noise", probability=1.0, scale=(0.5, 0.5))
    draw = rng.random(step.variates())
    top, left, tall, wide = step.boxes(60, 50, draw)
    part = (slice(top, top + tall), slice(left, left + wide))
    for spec, law in (
        (picture(), stats.randint(0, 256)),
        (FLOAT, stats.uniform()),
        (FLOAT.but(range=None), stats.norm()),
        (Normalize(mean=0.45, std=0.2).out_spec(picture()), stats.norm()),
    ):
        found = run(step, spec, np.zeros((60, 50, 3), spec.dtype), framework, draw)
        noise = found[part].ravel()
        assert stats.kstest(noise, law.cdf).statistic < 0.03 + (spec.dtype == "uint8") / 256
        assert np.abs(found).sum() == pytest.approx(np.abs(found[part]).sum())
        assert (
            noise[0] != run(step, spec, np.zeros((60, 50, 3), spec.dtype), framework, [*draw[:-1], 0.5])[part].flat[0]
        )
    np.testing.assert_array_equal(noise, normals(draw[-2:], noise.size).astype(np.float32))
    assert step.out_spec(spec).range is None  # normal noise has no ends


def test_rows_of_a_batch_lose_their_own_parts(framework: str, rng: np.random.Generator) -> None:
    spec, step = picture(12, 14), Erase(value="noise", probability=0.8)
    values, draws = rng.integers(0, 256, (6, 12, 14, 3), dtype=np.uint8), rng.random((6, step.variates()))
    kernel = step.bind(framework, spec)
    given = [to_native(values, spec, framework), to_native(draws, Spec("float64"), framework)]
    found = to_numpy(kernel(*given), spec)
    for row, value, draw in zip(found, given[0], given[1], strict=True):
        np.testing.assert_array_equal(row, to_numpy(kernel(value, draw), spec))
    assert len({row.tobytes() for row in found}) == 6


def test_erase_refuses() -> None:
    with pytest.raises(ValidationError, match="scale: expected the smaller number first"):
        Erase(scale=(0.5, 0.1))
    with pytest.raises(SpecError, match=r"expected value in \[0, 1\], got 128"):
        Erase(value=128).out_spec(FLOAT)
    with pytest.raises(SpecError, match="expected 3 values of value"):
        Erase(value=(1, 2)).out_spec(picture())
