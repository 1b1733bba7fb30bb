"""image.crop: places against torchvision, padding, and the distribution of random-resized parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from pipelines.errors import SpecError
from pipelines.image.crop import Crop
from pipelines.image.resize import Resize
from pipelines.native import to_native
from pipelines.spec import Spec, picture

LAST = 1 - 2.0**-32  # the largest variate


def numbered(height: int, width: int) -> np.ndarray[Any, Any]:
    """A picture whose every pixel holds its own row and column."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, rows * 0 + 7], -1).astype(np.uint8)


@pytest.mark.parametrize("height", [9, 10, 11, 12, 13, 14, 15, 16, 17])
def test_the_centre_is_torchvisions(height: int, framework: str, run: Any) -> None:
    """All remainders of the room left by 4, where roundings differ."""
    import torch
    from torchvision.transforms.v2 import functional as F

    values = numbered(height, 31 - height)
    expected = F.center_crop(torch.from_numpy(values).movedim(-1, 0), [9, 6]).movedim(0, -1).numpy()
    np.testing.assert_array_equal(run(Crop(size=(9, 6)), picture(), values, framework), expected)
    serving = Crop(size=(9, 6), where="random")
    np.testing.assert_array_equal(run(serving, picture(), values, framework, serving.serving), expected)


def test_padding_has_its_fill(framework: str, rng: np.random.Generator, run: Any) -> None:
    for spec, fill in ((picture(), (9.0, 0.0, 127.5)), (picture(dtype="float32"), (0.25, 0.0, 1.0))):
        values = (rng.random((5, 20, 3)) * (spec.range or (0, 1))[1]).astype(spec.dtype)
        for where in ("centre", "random"):
            step = Crop(size=(8, 6), where=where, pad=True, fill=fill)
            draw = [0.0] * 16 if where == "random" else None
            found = run(step, spec, values, framework, draw)
            left = 0 if where == "random" else 7
            np.testing.assert_array_equal(found[1:6], values[:, left : left + 6])
            wanted = np.broadcast_to([9, 0, 128] if spec.dtype == "uint8" else fill, (3, 6, 3))
            np.testing.assert_array_equal(found[[0, 6, 7]], wanted)
    step = Crop(size=(8, 6), where="random", pad=True, fill=7)
    np.testing.assert_array_equal(run(step, picture(), values.astype(np.uint8), framework, [0.5] * 16)[-1], 7)


@pytest.mark.parametrize(("height", "width"), [(5, 9), (20, 3), (4, 4), (9, 7)])
def test_padding_is_torchvisions(height: int, width: int, framework: str, run: Any) -> None:
    import torch
    from torchvision.transforms.v2 import functional as F

    values = numbered(height, width) + 1
    expected = F.center_crop(torch.from_numpy(values).movedim(-1, 0), [9, 6]).movedim(0, -1).numpy()
    np.testing.assert_array_equal(run(Crop(size=(9, 6), pad=True), picture(), values, framework), expected)


def test_each_place_is_as_likely(framework: str, run: Any) -> None:
    """Variates in steps of 1/n give each of the n places in turn; the ends of [0, 1) are inside."""
    step, values = Crop(size=(4, 3), where="random"), numbered(9, 9)
    for places, axis in ((6, 0), (7, 1)):
        for k in range(places):
            for u in (k / places, (k + 0.999) / places):
                draw = [0.3] * step.variates()
                draw[axis] = u
                found = run(step, picture(), values, framework, draw)
                # half to even at the very edge of a place may give the one before: a set of measure 0
                assert found[0, 0, axis] in ((k, k - 1) if u == k / places else (k,))
    assert tuple(run(step, picture(), values, framework, [0.0] * 16)[0, 0, :2]) == (0, 0)
    assert tuple(run(step, picture(), values, framework, [LAST] * 16)[0, 0, :2]) == (5, 6)


def test_a_smaller_picture_fails(framework: str, run: Any) -> None:
    for step, draw in ((Crop(size=8), None), (Crop(size=8, where="random"), Crop.serving)):
        with pytest.raises(Exception, match="smaller than the crop"):
            run(step, picture(), numbered(9, 7), framework, draw)
    with pytest.raises(Exception, match="no pixels"):
        run(Crop(size=8, pad=True), picture(), np.zeros((0, 9, 3), np.uint8), framework)


def test_any_type_can_be_cropped(framework: str, run: Any) -> None:
    spec = Spec("int64", picture(None, None, 2).axes)
    values = np.arange(7 * 6 * 2).reshape(7, 6, 2) * 10**12
    np.testing.assert_array_equal(run(Crop(size=(3, 2)), spec, values, framework), values[2:5, 2:4])


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
def test_resized_is_a_crop_and_a_resize(method: Any, framework: str, rng: np.random.Generator, run: Any) -> None:
    step = Crop(size=(12, 9), where="resized", method=method)
    for draw in rng.random((10, step.variates())):
        values = rng.integers(0, 256, [*rng.integers(20, 60, 2).tolist(), 3], dtype=np.uint8)
        top, left, tall, wide = step.boxes(*values.shape[:2], draw).tolist()
        part = values[top : top + tall, left : left + wide]
        assert part.shape[:2] == (tall, wide)
        expected = run(Resize(size=(12, 9), method=method), picture(), part, framework)
        np.testing.assert_array_equal(run(step, picture(), values, framework, draw), expected)
        if method == "bilinear":  # nearest of exact ties is another in Pillow, see test_resize
            pillow = np.asarray(Image.fromarray(part).resize((9, 12), Image.Resampling.BILINEAR))
            assert np.max(np.abs(expected.astype(int) - pillow)) <= 1


def test_parts_lie_in_the_picture(rng: np.random.Generator) -> None:
    step = Crop(size=8, where="resized")
    draws = np.concatenate([rng.random((3000, 16)), [[0.0] * 16, [LAST] * 16, step.serving]])
    for height, width in ((375, 500), (500, 333), (31, 32), (7, 1000), (1, 1), (65_535, 65_535)):
        top, left, tall, wide = step.boxes(height, width, draws).T
        assert np.all((top >= 0) & (left >= 0) & (tall >= 1) & (wide >= 1))
        assert np.all((top + tall <= height) & (left + wide <= width))
        if min(height, width) > 300:
            # whole pixels move the ratio and the area by about a pixel in the smallest side, of 80 or more
            assert np.all((wide / tall > 0.73) & (wide / tall < 1.36))
            assert np.all(tall * wide / (height * width) > 0.075)


@pytest.mark.parametrize(("height", "width"), [(375, 500), (400, 400), (640, 400)])
def test_parts_are_distributed_as_torchvisions(height: int, width: int, rng: np.random.Generator) -> None:
    import torch
    from torchvision.transforms import RandomResizedCrop

    top, left, tall, wide = Crop(size=8, where="resized").boxes(height, width, rng.random((6000, 16))).T
    torch.manual_seed(3)
    blank = torch.zeros(1, height, width)
    theirs = np.array([RandomResizedCrop.get_params(blank, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(3000)]).T
    for name, ours, other in (
        ("area", tall * wide / (height * width), theirs[2] * theirs[3] / (height * width)),
        ("log ratio", np.log(wide / tall), np.log(theirs[3] / theirs[2])),
        ("top", top / height, theirs[0] / height),
        ("left", left / width, theirs[1] / width),
    ):
        quantiles = [np.quantile(a, [0.1, 0.3, 0.5, 0.7, 0.9]) for a in (ours, other)]
        # medians of 3000 scatter by about 0.01 of the range
        np.testing.assert_allclose(*quantiles, atol=0.04, err_msg=name)


def test_serving_takes_the_largest_square_at_the_centre() -> None:
    step = Crop(size=8, where="resized")
    assert step.boxes(30, 1000, np.array(step.serving)).tolist() == [0, 485, 30, 30]
    assert step.boxes(400, 300, np.array(step.serving)).tolist() == [50, 0, 300, 300]


def test_rows_of_a_batch_have_their_own_places(framework: str, rng: np.random.Generator) -> None:
    spec = picture(20, 18)
    values = rng.integers(0, 256, (5, 20, 18, 3), dtype=np.uint8)
    for step in (Crop(size=7, where="random"), Crop(size=7, where="resized"), Crop(size=(25, 7), pad=True)):
        draws = rng.random((5, 16))
        kernel = step.bind(framework, spec)
        given = [to_native(values, spec, framework)]
        given += [to_native(draws, Spec("float64"), framework)] * bool(step.variates())
        found = kernel(*given)
        ones = [kernel(*(g[i] for g in given)) for i in range(5)]
        for row, one in zip(found, ones, strict=True):
            np.testing.assert_array_equal(row.numpy(), one.numpy())
        assert len({np.asarray(one).tobytes() for one in ones}) == 5


def test_parameters_and_seam() -> None:
    for wrong, message in (
        ({"size": 8, "scale": [0.5, 1.0]}, "where: resized"),
        ({"size": 8, "where": "resized", "scale": [0.9, 0.1]}, "smaller number first"),
        ({"size": 8, "where": "resized", "scale": [0.0, 1.0]}, "greater than 0"),
        ({"size": 8, "where": "resized", "pad": True}, "centre or random"),
        ({"size": 8, "fill": 3}, "fill: expected only with pad: true"),
        ({"size": 0}, "greater than 0"),
        ({"size": 8, "where": "middle"}, "centre"),
    ):
        with pytest.raises(ValidationError, match=message):
            Crop.model_validate(wrong)
    with pytest.raises(SpecError, match="height of at least 8"):
        Crop(size=8).out_spec(picture(7, 9))
    assert Crop(size=8, where="resized").out_spec(picture(7, 9)).shape == (8, 8, 3)
