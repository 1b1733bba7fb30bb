"""How batches and pipelines print themselves, and that a batch stays the dict that frameworks know."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

import pipelines
from pipelines.batch import Batch
from pipelines.native import to_numpy

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Four records with a sound, a picture, and a text that would be markup."""
    folder: Path = tmp_path_factory.mktemp("notebook")
    rng = np.random.default_rng(0)
    rows = ["sound,picture,words"]
    for number in range(4):
        wavfile.write(folder / f"{number}.wav", 8000, (rng.random(800) * 20000).astype(np.int16))
        Image.fromarray(rng.integers(0, 256, (6, 9, 3), np.uint8)).save(folder / f"{number}.png")
        rows.append(f"{number}.wav,{number}.png,{EVIL} {number}")
    (folder / "table.csv").write_text("\n".join(rows))
    return {
        "framework": "torch",
        "source": {"manifest": {"path": str(folder / "table.csv"), "files": ["sound", "picture"]}},
        "fields": {
            "wave": {"from": "sound", "steps": ["audio.decode", {"audio.resample": {"rate_hz": 8000}}]},
            "mel": {
                "from": "sound",
                "steps": [
                    "audio.decode",
                    {"audio.resample": {"rate_hz": 8000}},
                    {"audio.fit": {"seconds": 0.1}},
                    {"audio.mel": {"n_fft": 256, "hop": 128, "bands": 16}},
                ],
            },
            "view": {"from": "picture", "steps": ["image.decode"]},
            "words": {"from": "words"},
        },
        "batch": {"size": 4},
    }


def only(config: dict[str, Any], framework: str) -> tuple[pipelines.Pipeline, Batch]:
    pipe = pipelines.load(config, framework=framework, device="cpu")
    (batch,) = pipe
    assert isinstance(batch, Batch)
    return pipe, batch


def test_a_batch_tells_what_it_holds(config: dict[str, Any], framework: str) -> None:
    pipe, batch = only(config, framework)
    lines = {line.split()[0]: line for line in repr(batch).splitlines()[1:]}
    assert lines.keys() == {"name", *batch}
    wave = to_numpy(batch["wave"], pipe.plan.specs["wave"])
    for part in ("float32", "[rows 4, ", "time 800]", "amplitude", f"{wave.min():.6g} .. {wave.max():.6g}", "cpu"):
        assert part in lines["wave"]
    order = "channel 3, height 6, width 9" if framework == "torch" else "height 6, width 9, channel 3"
    view = to_numpy(batch["view"], pipe.plan.specs["view"])
    assert f"  [rows 4, {order}]  " in lines["view"]
    assert f"{view.min()} .. {view.max()}" in lines["view"]
    assert max(map(len, lines.values())) < 200


def test_text_of_the_data_is_no_markup(config: dict[str, Any], framework: str) -> None:
    pipe, batch = only(config, framework)
    page = batch._repr_html_()
    assert "<script" not in page + pipe._repr_html_()
    assert "&lt;script&gt;" in page
    assert page.count("data:audio/wav") == 4
    assert page.count("data:image/png") == 1 + 4  # a grid, and a spectrogram of each row


def test_a_pipeline_tells_what_it_runs(config: dict[str, Any], framework: str) -> None:
    pipe = pipelines.load(config, framework=framework, device="cpu")
    for told in (repr(pipe), pipe._repr_html_()):
        for part in (framework, "cpu", "seed 0", "epoch 0", *pipe.plan.specs, str(pipe.plan.specs["mel"])):
            assert part in told
    assert "audio.resample" in pipe._repr_html_()


def test_a_batch_stays_a_dict(config: dict[str, Any]) -> None:
    import tensorflow as tf
    import torch
    from torch.utils.data import DataLoader, default_collate, default_convert

    pipe, batch = only(config, "torch")
    assert type(dict(batch)) is dict
    assert dict(**batch).keys() == batch.keys()
    for same in (copy.copy(batch), copy.deepcopy(batch), pickle.loads(pickle.dumps(batch)), batch.copy()):
        assert isinstance(same, Batch)
        assert repr(same) == repr(batch)
    assert repr(default_convert(batch)) == repr(batch)
    assert default_collate([batch, batch])["view"].shape == (2, *batch["view"].shape)
    (loaded,) = DataLoader(pipe.torch_dataset(), batch_size=None)
    assert isinstance(loaded, Batch)
    assert torch.equal(loaded["view"], batch["view"])
    (mapped,) = only(config, "tensorflow")[1:]
    assert tf.nest.map_structure(tf.shape, dict(mapped)).keys() == tf.nest.map_structure(tf.shape, mapped).keys()


def test_what_no_pipeline_made_prints_too() -> None:
    held = Batch({"a": np.array([1.5, np.nan]), "none": np.zeros((0, 2)), "on": np.array([True, False])})
    assert [row[4] for row in held.table()] == ["1.5 .. 1.5, 1 not finite", "none", "1 of 2 true"]
