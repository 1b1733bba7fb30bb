"""image.rand_augment and auto_augment against torchvision's operations and Pillow's, and in a closed tf.data graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from pydantic import ValidationError

from pipelines.errors import SpecError
from pipelines.image import AutoAugment, Blur, ColorJitter, Grayscale, RandAugment, TrivialAugment
from pipelines.image._augment import NAMES
from pipelines.image.auto_augment import pairs_of
from pipelines.native import to_native, to_numpy
from pipelines.spec import Spec, picture
from pipelines.step import Step

FLOAT = picture(dtype="float32")
THEIRS = {name.replace("_", ""): name for name in NAMES}
EXACT = {
    "Identity",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Posterize",
    "Solarize",
    "Equalize",
    "Invert",
}


@pytest.fixture(scope="module")
def photos(data: Path) -> list[np.ndarray[Any, Any]]:
    paths = sorted((data / "image_imagenet_sample").rglob("*.JPEG"))[:30:10]
    return [np.array(Image.open(path).convert("RGB").resize((113, 94))) for path in paths]


def theirs(values: np.ndarray[Any, Any], name: str, magnitude: float, how: str = "nearest") -> Any:
    """torchvision's operation, on a tensor."""
    import torch
    from torchvision.transforms.v2 import InterpolationMode, RandAugment

    given = torch.from_numpy(values).movedim(-1, 0)
    apply = RandAugment()._apply_image_or_video_transform
    return apply(given, name, magnitude, InterpolationMode(how), {torch.Tensor: None}).movedim(0, -1).numpy()


def pillows(values: np.ndarray[Any, Any], name: str, magnitude: float) -> Any:
    """Pillow's operation, where it has one of that meaning."""
    image = Image.fromarray(values)
    enhance = {"Brightness": "Brightness", "Color": "Color", "Contrast": "Contrast", "Sharpness": "Sharpness"}
    if name in enhance:
        return np.asarray(getattr(ImageEnhance, name)(image).enhance(1 + magnitude))
    plain: dict[str, Any] = {
        "AutoContrast": ImageOps.autocontrast,
        "Equalize": ImageOps.equalize,
        "Invert": ImageOps.invert,
    }
    return np.asarray(plain[name](image)) if name in plain else None


def drawn(name: str, sign: float) -> np.ndarray[Any, Any]:
    draw = np.zeros(16)
    draw[0], draw[1] = (NAMES.index(THEIRS[name.lower()]) + 0.5) / (len(NAMES) - 1), 0.2 if sign < 0 else 0.8
    return draw


@pytest.mark.parametrize("magnitude", [4, 17])
def test_each_operation_is_torchvisions_and_pillows(
    magnitude: int, photos: list[Any], framework: str, run: Any
) -> None:
    from torchvision.transforms.v2 import RandAugment as Theirs

    step = RandAugment(operations=1, magnitude=magnitude)
    assert [THEIRS[name.lower()] for name in Theirs._AUGMENTATION_SPACE] == list(NAMES[:-1])
    for values in photos:
        for name, (space, signed) in Theirs._AUGMENTATION_SPACE.items():
            table = space(31, *values.shape[:2])
            for sign in (-1.0, 1.0) if signed else (1.0,):
                amount = 0.0 if table is None else float(table[magnitude]) * sign
                found = run(step, picture(), values, framework, drawn(name, sign)).astype(int)
                gap = np.abs(found - theirs(values, name, amount))
                if name in EXACT:
                    # 0.04 x 12.5 is half a pixel: such rows, one in 25, fall the other way in torchvision's float32
                    assert np.mean(gap.max(-1) > 0) < (0.05 if name.startswith("Shear") else 5e-3), name
                else:
                    # cut off where the step rounds, and other luma weights, times the factor: 1 level, or 2
                    assert gap.max() <= 2, name
                pillow = pillows(values, name, amount)
                if pillow is not None:  # Pillow cuts off too, but for equalize
                    assert np.max(np.abs(found - pillow)) <= (0 if name in EXACT else 1), name


def test_trivial_augment_reaches_as_far_as_torchvisions(photos: list[Any], framework: str, run: Any) -> None:
    from torchvision.transforms.v2 import TrivialAugmentWide as Theirs

    step, values = TrivialAugment(), photos[1]
    assert [THEIRS[name.lower()] for name in Theirs._AUGMENTATION_SPACE] == list(NAMES[:-1])
    for place, (name, (space, signed)) in enumerate(Theirs._AUGMENTATION_SPACE.items()):
        table = space(31, *values.shape[:2])
        for level, sign in ((13, -1.0), (30, 1.0)):
            amount = 0.0 if table is None else float(table[level]) * (sign if signed else 1.0)
            draw = [(place + 0.5) / 14, (level + 0.5) / 31, 0.2 if sign < 0 else 0.8]
            gap = np.abs(run(step, picture(), values, framework, draw).astype(int) - theirs(values, name, amount))
            if name in EXACT:
                assert np.mean(gap.max(-1) > 0) < 0.01, name  # halves of a pixel fall the other way in float32
            else:
                assert gap.max() <= 2, name  # as for rand_augment


def test_bilinear_moves_are_torchvisions(photos: list[Any], framework: str, run: Any) -> None:
    step, values = RandAugment(operations=1, magnitude=17, method="bilinear"), (photos[2] / 255).astype(np.float32)
    for name, amount in (("ShearX", 0.17), ("ShearY", 0.17), ("TranslateX", 17 / 30 * 150 / 331 * 113), ("Rotate", 17)):
        found = run(step, FLOAT, values, framework, drawn(name, 1.0))
        # its positions are float32, 1e-5 pixels, between levels up to 1 apart
        np.testing.assert_allclose(found, theirs(values, name, amount, "bilinear"), atol=5e-5, err_msg=name)
        levels = run(step, picture(), photos[2], framework, drawn(name, 1.0))
        assert np.max(np.abs(levels - found * 255.0)) <= 0.5 + 1e-4, name
    edge = run(step.model_copy(update={"fill": 1.0}), FLOAT, np.zeros_like(values), framework, drawn("Rotate", 1.0))
    assert edge[0, 0].tolist() == [1, 1, 1]  # the fill is blended in, once
    inside = run(step, FLOAT, np.ones_like(values), framework, drawn("Rotate", 1.0))
    np.testing.assert_allclose(edge, 1 - inside, atol=1e-6)


def test_policies_are_torchvisions() -> None:
    from torchvision.transforms.v2 import AutoAugment as Theirs
    from torchvision.transforms.v2 import AutoAugmentPolicy

    for policy in AutoAugmentPolicy:
        pairs = [
            [(NAMES.index(THEIRS[name.lower()]), chance, (level or 0) / 9) for name, chance, level in pair]
            for pair in Theirs(policy)._policies
        ]
        np.testing.assert_array_equal(pairs_of(policy.value), pairs)


@pytest.mark.parametrize("policy", ["imagenet", "cifar10", "svhn"])
def test_a_pair_is_its_operations_in_turn(policy: Any, photos: list[Any], framework: str, run: Any) -> None:
    """Each operation alone is held to torchvision above; a pair is one after the other."""
    step, values = AutoAugment(policy=policy), photos[0]
    for number in range(0, 25, 6):
        chances = pairs_of(policy)[number, :, 1]
        first = [1.0, 0.9, *([0.0, 0.2] if chances[1] else [1.0, 0.2])]
        place = (number + 0.5) / 25
        both = run(step, picture(), values, framework, [place, 0.0 if chances[0] else 1.0, 0.9, *first[2:]])
        half = run(step, picture(), values, framework, [place, 0.0 if chances[0] else 1.0, 0.9, 1.0, 0.2])
        then = run(step, picture(), half, framework, [place, *first])
        np.testing.assert_array_equal(both, then)


def test_chances_are_kept(rng: np.random.Generator) -> None:
    step = AutoAugment(policy="cifar10")
    draws = rng.random((50_000, 5))
    which, strength, sign = step.chosen(draws)
    pairs = pairs_of("cifar10")
    assert np.mean(which > 0) == pytest.approx(pairs[..., 1].mean(), abs=0.01)
    assert np.mean(sign) == pytest.approx(0, abs=0.02)
    assert set(np.unique(np.rint(strength * 9))) <= set(range(10))
    rand = RandAugment(operations=3)
    which, strength, _ = rand.chosen(rng.random((50_000, 16)))
    assert which.shape == (50_000, 3)
    assert np.bincount(which.ravel()) / which.size == pytest.approx(np.full(14, 1 / 14), abs=0.005)
    assert (strength == 0.3).all()
    which, strength, sign = TrivialAugment(bins=11).chosen(rng.random((50_000, 3)))
    assert which.shape == strength.shape == sign.shape == (50_000, 1)
    assert np.bincount(np.rint(strength.ravel() * 10).astype(int)) / 50_000 == pytest.approx(1 / 11, abs=0.005)


def test_serving_changes_nothing(framework: str, photos: list[Any], run: Any) -> None:
    for step in (RandAugment(operations=2, magnitude=30), AutoAugment(), TrivialAugment(method="bilinear")):
        np.testing.assert_array_equal(run(step, picture(), photos[0], framework, step.serving), photos[0])


CASES: tuple[Step, ...] = (
    RandAugment(operations=2, magnitude=20, fill=(9, 0, 77)),
    RandAugment(operations=3, magnitude=30, fill=(9, 0, 77), method="bilinear"),
    *(ColorJitter(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.3, order=order) for order in ("fixed", "drawn")),
    ColorJitter(brightness=(0.7, 0.7), contrast=(1.3, 1.3), hue=(0.2, 0.2), order="fixed"),
    *(Blur(size=23, sigma=4.0), Blur(size=(5, 31), sigma=(1, 9)), Grayscale()),
)


@pytest.mark.parametrize(
    ("step", "dtype"),
    [(step, dtype) for step in CASES for dtype in ("uint8", "float32")]
    # their graphs are those of rand_augment, but for the constants and the number of operations
    + [(TrivialAugment(), "uint8"), (AutoAugment(policy="cifar10"), "float32")],
    ids=str,
)
def test_bit_for_bit_in_a_closed_graph(step: Step, dtype: str, rng: np.random.Generator) -> None:
    """With all sizes known TensorFlow rewrites sums and products the most; a row and a batch are still torch's."""
    import tensorflow as tf

    spec = picture(40, 33, dtype=dtype)
    if dtype == "float32" and isinstance(step, RandAugment):
        step = step.model_copy(update={"fill": 0.25})
    values = rng.integers(0, 256, (12, 40, 33, 3), dtype=np.uint8)
    given = values if dtype == "uint8" else (values / 255).astype(np.float32)
    chance = [rng.random((12, step.variates()))] * bool(step.variates())
    kernel, native = step.bind_torch(spec), to_native(given, spec, "torch")
    wanted = to_numpy(kernel(native, *(to_native(draws, Spec("float64"), "torch") for draws in chance)), spec)
    rows = tf.data.Dataset.from_tensor_slices((given, *chance))
    kernel = step.bind("tensorflow", spec)
    one = np.stack(list(rows.map(kernel).as_numpy_iterator()))
    np.testing.assert_array_equal(one, wanted)
    batches = rows.batch(12, drop_remainder=True).map(kernel)
    np.testing.assert_array_equal(next(iter(batches.as_numpy_iterator())), wanted)


def test_parameters_and_seam(framework: str, run: Any) -> None:
    with pytest.raises(ValidationError, match="magnitude: expected less than bins, 10, got 10"):
        RandAugment(magnitude=10, bins=10)
    with pytest.raises(ValidationError, match="'imagenet', 'cifar10' or 'svhn'"):
        AutoAugment.model_validate({"policy": "mnist"})
    with pytest.raises(SpecError, match=r"expected fill in \[0, 1\]"):
        RandAugment(fill=128).out_spec(FLOAT)
    with pytest.raises(Exception, match="no pixels"):
        run(RandAugment(), picture(), np.zeros((3, 0, 3), np.uint8), framework, RandAugment.serving)
