"""Resizing with a crop behind it, which TensorFlow makes together: the same pixels as one after the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pipelines
from pipelines.image.crop import Crop
from pipelines.image.flip import Flip
from pipelines.image.resize import Resize
from pipelines.spec import picture

SIZES = [(375, 500), (500, 375), (64, 64), (65, 31), (200, 1000), (30, 47)]
PAIRS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"size": 64}, {"size": 56}),
    ({"size": 64}, {"size": [64, 17], "where": "random"}),
    ({"size": [60, 71], "method": "bicubic"}, {"size": [59, 70]}),
    ({"size": [60, 71], "antialias": False}, {"size": [1, 71], "where": "random"}),
    ({"size": 90, "fit": "inside", "method": "bicubic", "antialias": False}, {"size": [8, 9], "where": "random"}),
]


@pytest.mark.parametrize("x", [picture(), picture(None, None, 1), picture(None, None, 4, "float32")], ids=str)
@pytest.mark.parametrize(("resize", "crop"), PAIRS)
def test_together_is_one_after_the_other_to_the_bit(resize: dict[str, Any], crop: dict[str, Any], x: Any) -> None:
    import tensorflow as tf

    first, second = Resize(**resize), Crop(**crop)
    together = first.bind_with(second, "tensorflow", x)
    assert together is not None
    one, other = first.bind("tensorflow", x), second.bind("tensorflow", first.out_spec(x))
    rng = np.random.default_rng(0)
    for height, width in SIZES:
        shape = (height, width, x.size("channel"))
        made = rng.random(shape, np.float32) if x.dtype == "float32" else rng.integers(0, 256, shape, dtype=np.uint8)
        drawn = [[0.0] * second.variates(), [1 - 2**-53] * second.variates(), rng.random(second.variates())]
        for draw in drawn if second.variates() else [None]:
            given = [] if draw is None else [tf.constant(draw, tf.float64)]
            found = together(tf.constant(made), *given)
            np.testing.assert_array_equal(found, other(one(tf.constant(made)), *given))
            assert found.shape == second.out_spec(first.out_spec(x)).shape


@pytest.mark.parametrize(
    ("resize", "following"),
    [
        ({"size": 64, "method": "nearest"}, Crop(size=56)),
        ({"size": 64}, Crop(size=56, where="resized")),
        ({"size": 64}, Crop(size=56, pad=True)),
        ({"size": 64}, Flip()),
    ],
)
def test_what_is_not_made_together(resize: dict[str, Any], following: Any) -> None:
    assert Resize(**resize).bind_with(following, "tensorflow", picture()) is None
    assert Resize(size=64).bind_with(Crop(size=56), "torch", picture()) is None


def test_pictures_too_small_for_the_crop_fail_in_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for number, (height, width) in enumerate([(40, 60), (40, 200), (80, 90), (200, 40)]):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    steps: list[Any] = ["image.decode", {"image.resize": {"size": 60, "fit": "inside"}}, {"image.crop": {"size": 32}}]
    config = {
        "source": {"folder": {"path": str(tmp_path), "files": "*.png"}},
        "fields": {"picture": {"from": "file", "steps": steps}},
        "batch": {"size": 4},
        "on_error": {"at_most": 1.0},
    }
    failures = {}
    for framework in ("tensorflow", "torch"):
        pipe = pipelines.load(config | {"framework": framework}, device="cpu")
        (batch,) = pipe
        assert np.asarray(batch["index"]).tolist() == [0, 2]
        failures[framework] = [(f.key, f.step, f.reason) for f in pipe.quarantine]
    assert failures["tensorflow"] == failures["torch"]
    assert {step for _, step, _ in failures["torch"]} == {"image.crop"}
    assert "the picture is 12 x 60, smaller than the crop of 32 x 32" in failures["torch"][0][2]


RESIZE, CUT = {"image.resize": {"size": 40}}, {"image.crop": {"size": 32, "where": "random"}}


@pytest.mark.parametrize(
    ("steps", "together"),
    [
        ([RESIZE, CUT], {1}),
        ([RESIZE, CUT, "image.normalize"], {1}),
        ([RESIZE, RESIZE, CUT], {2}),
        ([RESIZE, "image.flip", CUT], set()),
        ([CUT, RESIZE], set()),
        ([{"image.resize": {"size": [40, 44]}}, CUT], set()),  # stacked between them
    ],
)
def test_the_engine_makes_them_together_and_gives_what_torch_gives(
    tmp_path: Path, steps: list[Any], together: set[int]
) -> None:
    rng = np.random.default_rng(1)
    rows = []
    for number in range(7):
        height, width = rng.integers(45, 70, 2)
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        image.save(tmp_path / f"{number}.png")
        rows.append({"picture": f"{number}.png", "boxes": [[3, 4, 30, 35]]})
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found: dict[str, list[Any]] = {}
    for framework in ("tensorflow", "torch"):
        config = {
            "framework": framework,
            "source": {"manifest": {"path": str(tmp_path / "rows.jsonl"), "files": ["picture"]}},
            "fields": {
                "boxes": {"from": "boxes", "follows": "picture", "steps": ["label.boxes"]},
                "picture": {"from": "picture", "steps": ["image.decode", *steps]},
            },
            "batch": {"size": 3, "shuffle": True},
        }
        pipe = pipelines.load(config, device="cpu")
        pairs = pipe.engine.chains["picture"]._pairs
        assert set(pairs) == (together if framework == "tensorflow" else set())
        records = [record for delivered in pipe.epoch() for record in pipe.engine.unbatch(delivered)]
        found[framework] = sorted(records, key=lambda record: record["index"])
    assert len(found["torch"]) == 7
    for one, other in zip(found["tensorflow"], found["torch"], strict=True):
        np.testing.assert_array_equal(one["boxes"], other["boxes"])
        far = np.abs(one["picture"].astype(float) - other["picture"])
        assert far.max() <= (0.02 if one["picture"].dtype == np.float32 else 2)  # a level a step, 1/255 of the range
        assert np.mean(far > 0) < 0.02
