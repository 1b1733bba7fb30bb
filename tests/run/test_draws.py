"""The same augmented records in both frameworks, for any number of threads and ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pipelines

SOUND = [
    "audio.decode",  # the same bits in both; phases of quiet bins would make much of a last bit
    {"audio.time_stretch": {"rate": [0.9, 1.1], "n_fft": 256, "hop": 64}},
    {"audio.pitch_shift": {"n_fft": 256, "hop": 64, "probability": 0.5}},
    {"audio.resample": {"rate_hz": 8000}},
    {"audio.fit": {"seconds": 0.5}},
    {"audio.shift": {"share": [-0.1, 0.1]}},
    {"audio.gain": {"db": [-6, 6], "probability": 0.5}},
    {"audio.noise": {"snr_db": [0, 20]}},
    {"audio.mel": {"n_fft": 256, "hop": 128, "bands": 32}},
    {"audio.decibels": {"floor": 1e-6}},
    {"audio.spec_augment": {"frequency_width": 5, "time_width": 5}},
]
PICTURE = [
    "image.decode",
    {"image.crop": {"size": 32, "where": "resized"}},
    "image.flip",
    {"image.rotate": {"degrees": [-15, 15]}},
    {"image.affine": {"shear_x": [-10, 10], "scale": [0.8, 1.2]}},
    {"image.perspective": {"distortion": 0.3}},
    {"image.color_jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}},
    {"image.blur": {"size": 5, "probability": 0.5}},
    {"image.rand_augment": {}},
    {"image.solarize": {"threshold": 128, "probability": 0.2}},
    {"image.posterize": {"bits": 4, "probability": 0.2}},
    {"image.grayscale": {"probability": 0.2}},
    {"image.erase": {"value": "noise"}},
    "image.normalize",
]


def records(sample_set: Path, framework: str, ranks: int = 1, threads: int | None = None) -> dict[str, dict[str, Any]]:
    """The second epoch's first records, by key."""
    document = {
        "framework": framework,
        "seed": 9,
        "source": {"manifest": {"path": str(sample_set / "manifest.jsonl"), "files": ["sound", "picture"]}},
        "fields": {"mel": {"from": "sound", "steps": SOUND}, "picture": {"from": "picture", "steps": PICTURE}},
        "batch": {"size": 12 // ranks, "shuffle": True},
    }
    held: dict[str, dict[str, Any]] = {}
    for rank in range(ranks):
        pipe = pipelines.load(document, device="cpu", rank=rank, world=ranks, threads=threads, limit=36)
        pipe.start_at(1)
        for delivered in pipe.epoch():
            held |= {record["key"]: record for record in pipe.engine.unbatch(delivered)}
    assert len(held) == 36
    return held


@pytest.fixture(scope="module")
def one(sample_set: Path) -> dict[str, dict[str, Any]]:
    return records(sample_set, "torch")


@pytest.mark.parametrize(("ranks", "threads"), [(1, 3), (2, 1)])
def test_threads_and_ranks_do_not_matter(sample_set: Path, one: Any, framework: str, ranks: int, threads: int) -> None:
    other = records(sample_set, framework, ranks, threads)
    assert other.keys() == one.keys()
    for key, record in other.items():
        powers = [10 ** (mel / 10) for mel in (record["mel"], one[key]["mel"])]
        np.testing.assert_allclose(*powers, atol=1e-5 * powers[1].max())  # several float32 steps, of the peak
        # a level of one step may become another level, or another bit of it, in the next
        gap = np.abs(record["picture"] - one[key]["picture"])
        assert np.mean(gap > 1.5 / 255) < 0.02, key


def test_draws_differ_between_records_and_epochs(one: Any) -> None:
    pictures = [record["picture"] for record in one.values()]
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)
