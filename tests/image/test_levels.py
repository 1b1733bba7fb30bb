"""image.grayscale, solarize, posterize, color_jitter and blur against Pillow, torchvision and scipy."""

from __future__ import annotations

import colorsys
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from pydantic import ValidationError
from scipy import ndimage, stats

from pipelines.errors import SpecError
from pipelines.image import (
    Autocontrast,
    Blur,
    ColorJitter,
    Equalize,
    Grayscale,
    Invert,
    Noise,
    Posterize,
    Sharpness,
    Solarize,
)
from pipelines.native import to_native, to_numpy
from pipelines.spec import Spec, picture

FLOAT = picture(dtype="float32")
ORDERS = ("fixed", "drawn")


@pytest.fixture(scope="module")
def photos(data: Path) -> list[np.ndarray[Any, Any]]:
    paths = sorted((data / "image_imagenet_sample").rglob("*.JPEG"))[:40:10]
    paths += sorted((data / "image_torchvision_assets").rglob("*.jpg"))[:2]
    assert len(paths) >= 5
    return [np.array(Image.open(path).convert("RGB").resize((150, 113))) for path in paths]


def levels_apart(a: np.ndarray[Any, Any], b: Any) -> float:
    return float(np.max(np.abs(a.astype(np.float64) - np.asarray(b)), initial=0.0))


def test_grey_is_pillows(photos: list[Any], framework: str, run: Any) -> None:
    for values in photos:
        found = run(Grayscale(channels=1), picture(), values, framework)
        np.testing.assert_array_equal(found[..., 0], np.asarray(Image.fromarray(values).convert("L")))
        same = run(Grayscale(), picture(), values, framework)
        np.testing.assert_array_equal(same, np.repeat(found, 3, -1))
        exact = run(Grayscale(channels=1), FLOAT, (values / 255).astype(np.float32), framework)
        # the weights have 16 bits, 5e-6 from those of the standard, and the sum rounds in float32
        np.testing.assert_allclose(exact[..., 0], values / 255 @ [0.299, 0.587, 0.114], atol=8e-6)


def test_solarize_and_posterize_are_pillows(photos: list[Any], framework: str, run: Any) -> None:
    for values in photos:
        image = Image.fromarray(values)
        for threshold in (0, 100, 128, 255):
            found = run(Solarize(threshold=threshold), picture(), values, framework)
            np.testing.assert_array_equal(found, np.asarray(ImageOps.solarize(image, threshold)))
        for bits in range(1, 9):
            found = run(Posterize(bits=bits), picture(), values, framework)
            np.testing.assert_array_equal(found, np.asarray(ImageOps.posterize(image, bits)))


def test_whole_pictures_are_pillows(photos: list[Any], framework: str, run: Any) -> None:
    flat = np.full((6, 7, 3), 9, np.uint8)
    for values in (*photos, flat):
        image = Image.fromarray(values)
        for step, wanted, apart in (
            (Equalize(), ImageOps.equalize(image), 0),
            (Invert(), ImageOps.invert(image), 0),
            (Autocontrast(), ImageOps.autocontrast(image), 1),  # Pillow cuts off where the step rounds
            (Sharpness(factor=2.5), ImageEnhance.Sharpness(image).enhance(2.5), 1),
            (Sharpness(factor=0), ImageEnhance.Sharpness(image).enhance(0), 1),
        ):
            assert levels_apart(run(step, picture(), values, framework), wanted) <= apart, step


def test_floats_are_torchvisions(framework: str, rng: np.random.Generator, run: Any) -> None:
    import torch
    from torchvision.transforms.v2 import functional as F

    values = rng.random((23, 31, 3), dtype=np.float32)
    values[0, 0], values[0, 1] = 0, 1
    given = torch.from_numpy(values).movedim(-1, 0)
    for step, wanted in (
        (Solarize(threshold=0.5), F.solarize(given, 0.5)),
        (Posterize(bits=3), F.posterize(given, 3)),
        (Posterize(bits=8), F.posterize(given, 8)),
        (Invert(), F.invert(given)),
    ):
        np.testing.assert_array_equal(run(step, FLOAT, values, framework), wanted.movedim(0, -1).numpy())


@pytest.mark.parametrize("amount", [0.0, 0.3, 1.0, 1.7])
def test_each_change_is_pillows(amount: float, photos: list[Any], framework: str, run: Any) -> None:
    for values in photos[:3]:
        image = Image.fromarray(values)
        for name, oracle in (
            ("brightness", ImageEnhance.Brightness),
            ("contrast", ImageEnhance.Contrast),
            ("saturation", ImageEnhance.Color),
        ):
            if amount == 1.0:
                continue
            step = ColorJitter.model_validate({name: [amount, amount]})
            found = run(step, picture(), values, framework, step.serving)
            # Pillow cuts off where the step rounds, and rounds the mean and the grey picture to whole levels
            assert levels_apart(found, oracle(image).enhance(amount)) <= 1


@pytest.mark.parametrize("amount", [-0.5, -0.21, 0.1, 0.5])
def test_hue_keeps_lightness_and_saturation(amount: float, framework: str, rng: np.random.Generator, run: Any) -> None:
    values = rng.random((9, 11, 3), dtype=np.float32)
    values[0] = values[0, :, :1]  # greys
    step = ColorJitter(hue=(amount, amount))
    found = run(step, FLOAT, values, framework, step.serving)

    def turned(colour: np.ndarray[Any, Any]) -> tuple[float, ...]:
        h, s, v = colorsys.rgb_to_hsv(*map(float, colour))
        return colorsys.hsv_to_rgb((h + amount) % 1, s, v)

    wanted = np.array([[turned(colour) for colour in row] for row in values])
    np.testing.assert_allclose(found, wanted, atol=1e-6)  # a place on the circle in float32, 6e-7 at most, times 6/6


def test_jitter_is_torchvisions(photos: list[Any], framework: str, run: Any) -> None:
    """All four in a fixed order, on floats, which torchvision does not cut off."""
    import torch
    from torchvision.transforms.v2 import functional as F

    amounts = {"brightness": 1.2, "contrast": 0.7, "saturation": 1.5, "hue": -0.08}
    step = ColorJitter.model_validate({name: [a, a] for name, a in amounts.items()} | {"order": "fixed"})
    for values in photos:
        wanted = torch.from_numpy((values / 255).astype(np.float32)).movedim(-1, 0)
        for name, amount in amounts.items():
            wanted = getattr(F, f"adjust_{name}")(wanted, amount)
        found = run(step, FLOAT, (values / 255).astype(np.float32), framework, step.serving)
        # its luma weights are 0.2989, 0.587, 0.114: 1e-4 darker, and hue turns that into a little more
        np.testing.assert_allclose(found, wanted.movedim(0, -1).numpy(), atol=5e-4)


def test_every_order_is_drawn_and_done(framework: str, rng: np.random.Generator, run: Any) -> None:
    values = rng.random((5, 6, 3), dtype=np.float32)
    both = {"brightness": (1.6, 1.6), "saturation": (0.2, 0.2), "contrast": (1.9, 1.9)}
    step = ColorJitter(**both)
    seen = set()
    for level in (np.arange(6) + 0.5) / 6:
        draw = np.array([0.5, 0.5, 0.5, 0.5, level, 0.0])
        names = [step.changes[int(i)] for i in step.plan(draw)[:, 0]]
        seen.add(tuple(names))
        wanted = values
        for name in names:
            one = ColorJitter.model_validate({name: both[name]})
            wanted = run(one, FLOAT, wanted, framework, one.serving)
        np.testing.assert_array_equal(run(step, FLOAT, values, framework, draw), wanted)
    assert len(seen) == math.factorial(3)


def test_amounts_are_even_over_their_range(rng: np.random.Generator) -> None:
    draws = rng.random((4000, 6))
    bright, turn = ColorJitter(brightness=0.4, hue=(-0.1, 0.3)).amounts(draws)
    assert (bright.min(), bright.max()) == pytest.approx((0.6, 1.4), abs=1e-3)
    assert (turn.min(), turn.max(), turn.mean()) == pytest.approx((-0.1, 0.3, 0.1), abs=5e-3)
    assert ColorJitter(brightness=2).limits("brightness") == (0, 3)


def test_serving_takes_what_changes_least() -> None:
    step = ColorJitter(brightness=(0.2, 0.7), contrast=(1.5, 2), saturation=1.8, hue=(0.1, 0.2))
    assert [float(amount) for amount in step.amounts(np.array(step.serving))] == [0.7, 1.5, 1.0, 0.1]


@pytest.mark.parametrize("order", ORDERS)
def test_jitter_changes_its_share_of_the_records(order: Any, framework: str, rng: np.random.Generator) -> None:
    spec, step = picture(4, 5), ColorJitter(brightness=(0.5, 0.6), contrast=0.2, order=order, probability=0.3)
    values, draws = rng.integers(9, 256, (20, 4, 5, 3), dtype=np.uint8), rng.random((20, step.variates()))
    draws[:, 5] = np.arange(20) / 20
    kernel = step.bind(framework, spec)
    found = to_numpy(kernel(to_native(values, spec, framework), to_native(draws, Spec("float64"), framework)), spec)
    assert [not np.array_equal(a, b) for a, b in zip(found, values, strict=True)] == [True] * 6 + [False] * 14


def test_serving_changes_nothing(framework: str, rng: np.random.Generator, run: Any) -> None:
    values = rng.random((9, 8, 3), dtype=np.float32)
    for step in (
        *(ColorJitter(brightness=0.4, contrast=1.4, saturation=(0.9, 3), hue=(-0.3, 0.1), order=o) for o in ORDERS),
        ColorJitter(brightness=(3, 4), probability=0.9),
        *(Grayscale(probability=0.9), Solarize(threshold=0.1, probability=0.9), Posterize(bits=1, probability=0.9)),
        Blur(size=5, probability=0.9),
        Noise(deviation=9),
        *(Sharpness(factor=(0, 9)), Sharpness(factor=3, probability=0.9)),
        *(cls(probability=0.9) for cls in (Invert, Autocontrast, Equalize)),
    ):
        np.testing.assert_array_equal(run(step, FLOAT, values, framework, step.serving[: step.variates()]), values)


def test_noise_is_normal_and_levels_end(framework: str, rng: np.random.Generator, run: Any) -> None:
    centred, draw = FLOAT.but(unit="", range=None), [0.0, 0.25, *rng.random(2)]
    noise = run(Noise(deviation=(1, 3)), centred, np.zeros((40, 50, 3), np.float32), framework, draw)
    assert stats.kstest(noise.ravel() / 1.5, "norm").pvalue > 1e-6
    assert abs(np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1]) < 0.05
    other = run(Noise(deviation=(1, 3)), centred, np.zeros((40, 50, 3), np.float32), framework, [*draw[:3], 0.5])
    assert np.abs(noise - other).mean() > 1
    values = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    levels = run(Noise(deviation=(1, 3)), picture(), values, framework, draw)
    np.testing.assert_array_equal(levels, np.floor(values + noise + 0.5).clip(0, 255))
    floats = run(Noise(deviation=(1, 3)), FLOAT, np.full((40, 50, 3), 0.5, np.float32), framework, draw)
    np.testing.assert_array_equal(floats, (noise + np.float32(0.5)).clip(0, 1))


@pytest.mark.parametrize(("size", "sigma"), [(5, 1.0), ((3, 31), 4.5), (23, 0.3), (1, 2.0)])
def test_blur_is_scipys(size: Any, sigma: float, framework: str, rng: np.random.Generator, run: Any) -> None:
    sizes = size if isinstance(size, tuple) else (size, size)
    for shape in ((19, 26, 3), (1, 7, 3), (2, 3, 3)):
        values = rng.random(shape, dtype=np.float32)
        wanted = values.astype(np.float64)
        for axis in (0, 1):
            wanted = ndimage.gaussian_filter1d(wanted, sigma, axis, mode="mirror", radius=sizes[axis] // 2)
        found = run(Blur(size=size, sigma=sigma), FLOAT, values, framework)
        np.testing.assert_allclose(found, wanted, atol=1e-6)  # 32 float32 sums of values below 1


def test_blur_is_torchvisions(photos: list[Any], framework: str, run: Any) -> None:
    import torch
    from torchvision.transforms.v2 import functional as F

    for values in photos:
        wanted = F.gaussian_blur(torch.from_numpy(values).movedim(-1, 0), [23, 23], [1.7, 1.7]).movedim(0, -1).numpy()
        found = run(Blur(size=23, sigma=(0.4, 3.0)), picture(), values, framework, [0.5, 0.5])
        assert levels_apart(found, wanted) <= 1
        assert np.mean(found != wanted) < 1e-3  # it rounds exact halves to even


def test_rows_of_a_batch_are_changed_by_their_own_draws(framework: str, rng: np.random.Generator) -> None:
    spec = picture(8, 9)
    values = rng.integers(0, 256, (5, 8, 9, 3), dtype=np.uint8)
    for step in (ColorJitter(brightness=0.4, hue=0.4, contrast=0.3), Blur(size=5, sigma=(0.3, 4), probability=0.6)):
        kernel, draws = step.bind(framework, spec), rng.random((5, step.variates()))
        given = [
            to_native(values, spec, framework),
            to_native(draws, picture().but(dtype="float64", axes=()), framework),
        ]
        together = np.asarray(kernel(*given))
        for row, value, draw in zip(together, given[0], given[1], strict=True):
            np.testing.assert_array_equal(row, np.asarray(kernel(value, draw)))


@pytest.mark.parametrize(
    ("cls", "params", "says"),
    [
        (ColorJitter, {}, "expected at least one of brightness"),
        (ColorJitter, {"brightness": [1, 1]}, "none that changes anything"),
        (ColorJitter, {"contrast": [1.5, 0.5]}, "contrast: expected the smaller number first"),
        (ColorJitter, {"hue": 0.6}, "0.5"),
        (ColorJitter, {"saturation": -0.1}, "greater than or equal to 0"),
        (Blur, {"size": 4}, "expected an odd number, got 4"),
        (Blur, {"size": 3, "sigma": [2, 1]}, "sigma: expected the smaller number first"),
        (Blur, {"size": 3, "sigma": 0}, "greater than 0"),
        (Grayscale, {"channels": 2}, "1 or 3"),
        (Posterize, {"bits": 0}, "greater than or equal to 1"),
    ],
)
def test_parameters(cls: Any, params: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        cls.model_validate(params)


def test_what_they_cannot_take(framework: str, run: Any) -> None:
    with pytest.raises(SpecError, match=r"expected a threshold in \[0, 1\], got 128"):
        Solarize(threshold=128).out_spec(FLOAT)
    with pytest.raises(SpecError, match="1 or 3 channels"):
        Posterize(bits=2).out_spec(picture(None, None, 4))
    with pytest.raises(SpecError, match="probability below 1: expected channels: 3, got 1"):
        Grayscale(channels=1, probability=0.5).out_spec(picture())
    with pytest.raises(SpecError, match=r"expected levels in \[0, 1\]"):
        ColorJitter(brightness=0.1).out_spec(FLOAT.but(range=None))
    for step in (Equalize(), Autocontrast()):
        with pytest.raises(Exception, match="no pixels"):
            run(step, picture(), np.zeros((0, 4, 3), np.uint8), framework)
    with pytest.raises(Exception, match="no pixels"):
        run(Blur(size=3, sigma=1), picture(), np.zeros((0, 4, 3), np.uint8), framework)
