"""image.normalize and image.flip against NumPy and torchvision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.errors import SpecError
from pipelines.image.flip import Flip
from pipelines.image.normalize import Normalize
from pipelines.spec import picture

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LEVELS = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, -1)


def test_every_level_is_scaled_and_centred(framework: str, run: Any) -> None:
    found = run(Normalize(mean=MEAN, std=STD), picture(), LEVELS, framework)
    exact = (LEVELS / 255 - MEAN) / STD
    np.testing.assert_allclose(found, exact, atol=5e-7)  # float32 of numbers up to 2.6
    assert found.dtype == np.float32
    scaled = run(Normalize(), picture(), LEVELS, framework)
    np.testing.assert_allclose(scaled, LEVELS / 255, atol=6e-8)
    assert (scaled.min(), scaled.max()) == (0, 1)


def test_both_frameworks_give_the_same_bits(run: Any) -> None:
    """In a graph too, where TensorFlow would turn a division by a constant into a product."""
    for step in (Normalize(), Normalize(mean=MEAN, std=STD), Normalize(mean=0.5, std=0.3)):
        np.testing.assert_array_equal(*(run(step, picture(), LEVELS, f) for f in ("torch", "tensorflow")))


def test_it_is_torchvisions(run: Any) -> None:
    import torch
    from torchvision.transforms import v2

    theirs = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])
    expected = theirs(torch.from_numpy(LEVELS).movedim(-1, 0)).movedim(0, -1).numpy()
    found = run(Normalize(mean=MEAN, std=STD), picture(), LEVELS, "torch")
    np.testing.assert_allclose(found, expected, atol=3e-7)  # a product with 1 / std against a division


def test_floats_are_taken_as_they_are(framework: str, rng: np.random.Generator, run: Any) -> None:
    spec = picture(None, None, 2, "float32")
    values = rng.random((5, 6, 2), dtype=np.float32)
    np.testing.assert_array_equal(run(Normalize(), spec, values, framework), values)
    found = run(Normalize(mean=0.5, std=(0.5, 0.25)), spec, values, framework)
    np.testing.assert_allclose(found, (values - 0.5) / [0.5, 0.25], atol=3e-7)


def test_the_seam_knows_range_and_channels() -> None:
    out = Normalize(mean=MEAN, std=STD).out_spec(picture())
    assert out.dtype == "float32"
    assert out.range == pytest.approx((-2.1179, 2.6400), abs=1e-4)
    assert Normalize().out_spec(picture()).range == (0, 1)
    with pytest.raises(SpecError, match="1 values of mean"):
        Normalize(mean=MEAN).out_spec(picture(channels=1))
    with pytest.raises(SpecError, match=r"levels in \[0, 1\]"):
        Normalize().out_spec(out)  # twice is once too often
    for wrong in ({"std": 0}, {"std": [0.5, -1]}, {"mean": []}, {"mean": "imagenet"}):
        with pytest.raises(ValidationError):
            Normalize.model_validate(wrong)


@pytest.mark.parametrize(("direction", "axis"), [("horizontal", 1), ("vertical", 0)])
def test_flip_mirrors_its_share(direction: Any, axis: int, framework: str, rng: np.random.Generator, run: Any) -> None:
    values = rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)
    mirrored = np.flip(values, axis)
    always, never = (Flip(direction=direction, probability=p) for p in (1, 0))
    np.testing.assert_array_equal(run(always, picture(), values, framework), mirrored)
    np.testing.assert_array_equal(run(never, picture(), values, framework), values)
    sometimes = Flip(direction=direction, probability=0.3)
    for u, expected in ((0.0, mirrored), (0.2999, mirrored), (0.3, values), (0.9, values)):
        np.testing.assert_array_equal(run(sometimes, picture(), values, framework, [u]), expected)
    np.testing.assert_array_equal(run(sometimes, picture(), values, framework, sometimes.serving), values)
