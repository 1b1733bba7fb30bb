"""Boxes and masks that follow their picture: torchvision's own boxes, the pixels themselves, whole runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pipelines
from pipelines.catalog import find_step, step_names
from pipelines.errors import ConfigError
from pipelines.geometry import FollowBoxes, MovingStep
from pipelines.native import to_native, to_numpy
from pipelines.spec import BOXES, picture

MOVING = [cls for cls in map(find_step, step_names()) if issubclass(cls, MovingStep)]
CASES = [(cls, n) for cls in MOVING for n in range(len(cls.examples))]


@pytest.mark.parametrize(("cls", "number"), CASES, ids=lambda v: getattr(v, "step_name", lambda: v)())
def test_motion_is_where_the_pixels_go(cls: type[MovingStep], number: int) -> None:
    """The box of what is not black after the step on a mask is the moved box, within a pixel of nearest sampling."""
    rng = np.random.default_rng(number)
    step = cls.model_validate(dict(cls.examples[number].params)).for_mask()
    assert isinstance(step, MovingStep)
    assert step.variates() == cls.model_validate(dict(cls.examples[number].params)).variates()
    spec = picture(60, 81, 1)
    kernel = step.bind_torch(spec)
    boxes = FollowBoxes(steps=(step,), size=(60, 81)).bind_numpy(BOXES)
    seen = 0
    for _ in range(20):
        draw = rng.random(step.variates()) if step.variates() else None
        mask = np.zeros((60, 81, 1), np.uint8)
        top, left = rng.integers(5, 25, 2)
        bottom, right = top + rng.integers(10, 30), left + rng.integers(10, 30)
        mask[top:bottom, left:right] = 7
        given = [to_native(mask, spec, "torch"), *([] if draw is None else [to_native(draw, spec_of(draw), "torch")])]
        after = to_numpy(kernel(*given), step.out_spec(spec))[..., 0]
        assert set(np.unique(after)) <= {0, 7}  # classes are never mixed
        moved = boxes(np.array([[left, top, right, bottom]], np.float32), draw)[0]
        rows, columns = np.nonzero(after)
        inside = moved.min() > 0 and moved[2] < after.shape[1] and moved[3] < after.shape[0]
        if rows.size and (inside or step.step_name() != "image.rotate"):  # a corner may be cut to a thin tip
            found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            # a turned corner's tip may hold no pixel's centre; a pixel grows with the picture's scale
            scale = max(after.shape[0] / 8, after.shape[1] / 8, 1) if "size" in type(step).model_fields else 1.0
            np.testing.assert_allclose(moved, found, atol=min(2.0 * scale, 6.0))
            seen += 1
    assert seen >= 5


def spec_of(draw: np.ndarray[Any, Any]) -> Any:
    from pipelines.spec import Axis, Spec

    return Spec("float64", (Axis("variate", len(draw)),))


def test_boxes_are_those_of_torchvision() -> None:
    """resize, centre crop, flip and rotate of torchvision.transforms.v2 on its own boxes, in float32."""
    import torch
    from torchvision import tv_tensors
    from torchvision.transforms.v2 import functional as F

    from pipelines.image import Crop, Flip, Resize, Rotate

    rng = np.random.default_rng(5)
    corners = rng.uniform(0, 60, (40, 2, 2))
    boxes = np.concatenate([corners.min(1), corners.max(1) + 1], 1).astype(np.float32)
    given = tv_tensors.BoundingBoxes(torch.from_numpy(boxes), format="XYXY", canvas_size=(70, 90))
    turned = F.rotate(F.horizontal_flip(F.center_crop(F.resize(given, [40, 60]), [31, 47])), 20.0)
    steps = (Resize(size=(40, 60)), Crop(size=(31, 47)), Flip(probability=1.0), Rotate(degrees=20))
    ours = FollowBoxes(steps=steps, size=(70, 90)).bind_numpy(BOXES)(boxes)
    kept = (ours[:, :2] < ours[:, 2:]).all(1)
    assert 30 < kept.sum() < 40
    # torchvision turns what it has cut to a line at the edge into a box again
    np.testing.assert_allclose(ours[kept], np.asarray(turned)[kept], atol=2e-5)


def test_a_box_that_is_left_outside_stays_outside() -> None:
    from pipelines.image import Affine, Crop, Pad, Rotate

    boxes = np.array([[0, 35, 20, 65], [45, 5, 60, 30], [90, 90, 99, 99], [40, 40, 50, 50]], np.float32)
    steps = (Crop(size=40), Rotate(degrees=45), Pad(sides=9), Affine(shear_x=20, scale=2))
    found = FollowBoxes(steps=steps, size=(100, 100)).bind_numpy(BOXES)(boxes)
    area = np.prod(found[:, 2:] - found[:, :2], axis=1)
    assert (area == 0).tolist() == [True, True, True, False]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures of different sizes with one or two coloured boxes, their masks and the boxes."""
    folder = tmp_path_factory.mktemp("scenes")
    rng = np.random.default_rng(3)
    rows = []
    for number in range(10):
        height, width = rng.integers(40, 70, 2)
        image, mask = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8)
        boxes = []
        for thing in range(1 + number % 2):
            top, left = rng.integers(2, 18, 2)
            bottom, right = top + rng.integers(12, 20), left + rng.integers(12, 20)
            image[top:bottom, left:right], mask[top:bottom, left:right] = 200 + thing, 1 + thing
            boxes.append([int(left), int(top), int(right - left), int(bottom - top)])
        if number == 7:
            mask = mask[:-1]
        Image.fromarray(image).save(folder / f"{number}.png")
        Image.fromarray(mask).save(folder / f"{number}-mask.png")
        rows.append({"picture": f"{number}.png", "mask": f"{number}-mask.png", "boxes": boxes})
    (folder / "scenes.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


STEPS = [
    "image.decode",
    {"image.resize": {"size": 38}},
    {"image.flip": {}},
    {"image.crop": {"size": 32, "where": "random"}},
]


def config(scenes: Path, framework: str, after: tuple[Any, ...] = ()) -> dict[str, Any]:
    return {
        "framework": framework,
        "seed": 4,
        "source": {"manifest": {"path": str(scenes / "scenes.jsonl"), "files": ["picture", "mask"]}},
        "fields": {
            "boxes": {"from": "boxes", "follows": "picture", "steps": [{"label.boxes": {"form": "size"}}]},
            "picture": {"from": "picture", "steps": [*STEPS, *after]},
            "mask": {"from": "mask", "follows": "picture", "steps": [{"image.decode": {"mode": "gray"}}]},
        },
        "batch": {"size": 4, "shuffle": True},
        "on_error": {"at_most": 0.2},
    }


@pytest.mark.parametrize(
    "after", [(), ({"image.rotate": {"degrees": [-30, 30]}}, "image.normalize")], ids=["cut", "turned"]
)
def test_boxes_and_masks_follow_in_a_run(scenes: Path, framework: str, after: tuple[Any, ...]) -> None:
    pipe = pipelines.load(config(scenes, framework, after), device="cpu")
    seen = 0
    for delivered in pipe.epoch():
        for record in pipe.engine.unbatch(delivered):
            seen += 1
            picture, mask = record["picture"], record["mask"][..., 0]
            assert mask.shape == (32, 32)
            if not after:
                smooth = (picture[..., 0] > 30) & (picture[..., 0] < 170)  # edges: mixed in one, hard in the other
                np.testing.assert_array_equal((mask > 0)[~smooth], (picture[..., 0] > 100)[~smooth])
            for thing, box in enumerate(record["boxes"], 1):
                rows, columns = np.nonzero(mask == thing)
                if rows.size and thing == len(record["boxes"]):  # a later box may cover an earlier one
                    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                    np.testing.assert_allclose(box, found, atol=1.0 if not after else 2.5)
    assert seen == 9
    assert [(f.field, f.step) for f in pipe.quarantine] == [("mask", "follows picture")]
    assert "its picture" in pipe.quarantine[0].reason


def test_a_mask_gets_the_class_of_what_is_outside(scenes: Path, framework: str) -> None:
    moves = (
        {"image.rotate": {"degrees": [30, 40]}},
        {"image.affine": {"translate_x": [0.1, 0.2], "probability": 0.9}},
        {"image.pad": {"sides": 3}},
        {"image.crop": {"size": 42, "pad": True, "fill": 99}},
    )
    given = config(scenes, framework, moves)
    given["fields"]["picture"]["steps"][0] = {"image.decode": {"mode": "rgba"}}  # whose alpha is 0 outside
    given["fields"]["mask"] |= {"steps": [{"image.decode": {"mode": "classes"}}], "outside": 255}
    given["fields"]["picture"]["steps"] = [s for s in given["fields"]["picture"]["steps"] if "image.resize" not in s]
    pipe = pipelines.load(given, device="cpu")
    for delivered in pipe.epoch():
        for record in pipe.engine.unbatch(delivered):
            alpha, mask = record["picture"][..., 3], record["mask"][..., 0]
            assert set(np.unique(mask)) <= {0, 1, 2, 3, 255}
            inner, rim = alpha[2:-2, 2:-2], mask[2:-2, 2:-2]
            assert (rim[inner == 0] == 255).all()  # nothing of the picture is mixed in
            assert (rim[inner == 255] != 255).all()
            assert (mask[[0, 1, -1]] == 255).all()
            assert 0.1 < np.mean(mask == 255) < 0.7


def test_both_frameworks_give_the_same_boxes_and_masks(scenes: Path) -> None:
    rotated = ({"image.rotate": {"degrees": [-30, 30]}},)
    pipes = [pipelines.load(config(scenes, framework, rotated), device="cpu") for framework in ("torch", "tensorflow")]
    for a, b in zip(*(list(pipe) for pipe in pipes), strict=True):
        for name in ("boxes", "boxes_length", "index"):
            np.testing.assert_array_equal(np.asarray(a[name]), np.asarray(b[name]))
        np.testing.assert_array_equal(np.moveaxis(np.asarray(a["mask"]), 1, -1), np.asarray(b["mask"]))


def test_apply_takes_boxes_along_and_leaves_them_out_without_a_picture(scenes: Path, framework: str) -> None:
    pipe = pipelines.load(config(scenes, framework), device="cpu")
    image, boxes = (scenes / "0.png").read_bytes(), np.array([[10, 10, 20, 20]])
    assert sorted(pipe.apply({"picture": image, "boxes": boxes})) == ["boxes", "picture"]
    with pytest.raises(pipelines.RecordError, match="expected values of"):
        pipe.apply({"boxes": boxes})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"boxes": {"from": "boxes", "follows": "picture"}}, "expected a mask, or boxes as label.boxes gives them"),
        ({"boxes": {"from": "boxes", "follows": "mask", "steps": ["label.boxes"]}}, "'mask' follows 'picture' itself"),
        ({"picture": {"from": "picture", "steps": ["image.decode"]}}, "it has none to follow"),
        (
            {"boxes": {"from": "boxes", "follows": "picture", "outside": 9, "steps": ["label.boxes"]}},
            "outside: expected a mask",
        ),
        (
            {"mask": {"from": "mask", "follows": "picture", "outside": 256, "steps": ["image.decode"]}},
            r"expected outside in \[0, 255\], got 256",
        ),
        ({"picture": {"from": "picture", "outside": 1, "steps": STEPS}}, "outside: expected only with follows"),
        (
            {"mask": {"from": "mask", "follows": "picture", "outside": True, "steps": ["image.decode"]}},
            "expected outside to be the number of a class, got true",
        ),
        (
            {"picture": {"from": "picture", "optional": True, "steps": STEPS}},
            "expected a picture that every record has",
        ),
    ],
)
def test_what_cannot_follow_is_a_fault(scenes: Path, changes: dict[str, Any], says: str) -> None:
    wrong = config(scenes, "torch")
    wrong["fields"] |= changes
    with pytest.raises(ConfigError, match=says):
        pipelines.load(wrong, device="cpu")
