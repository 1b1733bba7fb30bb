"""Steps on the finished batch in whole runs: failures, ranks, filler rows, resume, both frameworks, serving."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run.fakes import CLASSES, FakeSource, epoch_of, fake, fake_config

import pipelines
from pipelines.errors import ConfigError
from pipelines.pipeline import Pipeline
from pipelines.plan import compile_plan
from pipelines.spec import FRAMEWORKS

FIELDS: dict[str, Any] = {
    "picture": {"from": "picture", "steps": ["image.flip", "image.normalize"]},
    "class": {"from": "label", "steps": [{"label.index": CLASSES}, {"label.one_hot": {"classes": 2}}]},
    "number": {"from": "number"},
}
MIXUP = {"image.mixup": {"fields": ["picture", "class"], "alpha": 0.4}}
CUTMIX = {"image.cutmix": {"fields": ["class", "picture"], "probability": 0.5}}


def mixed(framework: str, **changes: Any) -> Pipeline:
    return fake(framework, **({"fields": FIELDS, "batch_steps": [MIXUP, CUTMIX], "lost": (7, 9)} | changes))


def test_the_frameworks_mix_the_same(framework: str) -> None:
    epochs = [[epoch_of(pipe) for _ in range(2)] for pipe in map(mixed, FRAMEWORKS)]
    assert epochs[0] == epochs[1]
    assert epochs[0][0] != epochs[0][1]


def test_rows_are_mixed_with_the_row_before(framework: str) -> None:
    plain, pipe = fake(framework, fields=FIELDS, lost=(7, 9)), mixed(framework, batch_steps=[MIXUP])
    differing = 0
    for a, b in zip(plain, pipe, strict=True):
        before, after = (np.asarray(batch["picture"]) for batch in (a, b))
        np.testing.assert_array_equal(np.asarray(a["index"]), np.asarray(b["index"]))
        share = np.asarray(b["class"]).max(1)  # of the rows whose neighbour is of the other class
        own = np.asarray(a["class"]).argmax(1)
        other = own != np.roll(own, 1)
        if not other.any():
            continue
        row = int(np.flatnonzero(other)[0])
        share = np.asarray(b["class"])[row, own[row]]
        np.testing.assert_allclose(after, share * before + (1 - share) * np.roll(before, 1, 0), atol=1e-6)
        differing += share < 1
    assert differing >= 5


def test_filler_rows_take_no_part(framework: str) -> None:
    short, filled = (mixed(framework, batch={"size": 8, "fixed": fixed, "shuffle": True}) for fixed in (False, True))
    for a, b in zip(short, filled, strict=True):
        rows = int(np.asarray(b["_valid"]).sum())
        assert len(b["key"]) == 8
        for name in ("picture", "class"):
            np.testing.assert_array_equal(np.asarray(a[name]), np.asarray(b[name])[:rows])
            assert not np.asarray(b[name])[rows:].any()


def test_every_rank_has_the_draw_of_its_global_batch(framework: str) -> None:
    """With the same rows in both halves of a batch, both ranks would mix them alike: the draw is the grid's."""
    pipes = [Pipeline(fake_config(framework, fields=FIELDS, batch_steps=[MIXUP]), rank=r, world=2) for r in (0, 1)]
    for a, b in zip(*(pipe.grid.chunks(0, pipe.plan.streams) for pipe in pipes), strict=True):
        assert {n: d.tolist() for n, d in a.batch_draws.items()} == {n: d.tolist() for n, d in b.batch_draws.items()}


def test_a_resumed_run_mixes_as_it_would_have(framework: str) -> None:
    whole = epoch_of(mixed(framework))
    pipe = mixed(framework)
    batches = iter(pipe)
    for _ in range(5):
        next(batches)
    state = pipe.state()
    again = mixed(framework)
    again.resume(state)
    assert epoch_of(again) == whole[5:]
    with pytest.raises(pipelines.PipelineError, match="batch_steps changed"):
        mixed(framework, batch_steps=[CUTMIX]).resume(state)


def test_apply_leaves_batch_steps_out(framework: str) -> None:
    raw = FakeSource(5, ()).read(3, ["picture", "label"])
    with_steps, without = (p.apply(raw) for p in (mixed(framework), fake(framework, fields=FIELDS)))
    for name in ("picture", "class"):
        np.testing.assert_array_equal(np.asarray(with_steps[name]), np.asarray(without[name]))


def test_output_holds_what_was_delivered(framework: str, tmp_path: Path) -> None:
    config = replace(fake_config(framework, fields=FIELDS, batch_steps=[CUTMIX]))
    pipelines.run(Pipeline(config, device="cpu"), output=tmp_path / "out")
    expected = {r["key"]: r["class"] for _, _, rows in epoch_of(Pipeline(config, device="cpu")) for r in rows}
    written = pipelines.load(
        {
            "framework": framework,
            "source": {"shards": {"path": str(tmp_path / "out")}},
            "fields": {"class": {"from": "class"}},
        }
    )
    found = {k: c for b in written for k, c in zip(_texts(b["key"]), np.asarray(b["class"]).tolist(), strict=True)}
    assert found == expected


def _texts(keys: Any) -> list[str]:
    return [
        k if isinstance(k, str) else k.decode() for k in (keys.numpy().tolist() if hasattr(keys, "numpy") else keys)
    ]


Change = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([{"image.mixup": {"fields": ["pictur"]}}], "image.mixup: there is no field 'pictur'; did you mean 'picture'?"),
        ([{"image.mixup": {"fields": ["number"]}}], "number: expected float32, which can be mixed, got int64"),
        ([{"image.mixup": {"fields": ["wave"]}}], "wave: expected values of one known shape in every record"),
        ([{"image.mixup": {"fields": ["sometimes"]}}], "which is optional"),
        ([{"image.cutmix": {"fields": ["class"]}}], "expected a picture among fields"),
        ([{"image.mixup": {"fields": ["class", "class"]}}], "each field may be named once"),
        ([{"image.mixup": {"fields": ["class"], "alpha": 0}}], "alpha=0 must be > 0"),
        ([{"image.flip": {}}], "image.flip works on one record, not on a batch"),
    ],
)
def test_faults(steps: list[Any], says: str) -> None:
    fields = FIELDS | {
        "wave": {"from": "wave"},
        "sometimes": {"from": "sometimes", "optional": True, "steps": [{"label.index": CLASSES}]},
    }
    with pytest.raises(ConfigError, match=says):
        compile_plan(fake_config("torch", fields=fields, batch_steps=steps))


def test_a_batch_step_in_a_field_is_a_fault() -> None:
    fields = FIELDS | {
        "picture": {"from": "picture", "steps": ["image.normalize", {"image.mixup": {"fields": ["picture"]}}]}
    }
    with pytest.raises(ConfigError, match="image\\.mixup works on the finished batch; put it under batch_steps"):
        compile_plan(fake_config("torch", fields=fields))
