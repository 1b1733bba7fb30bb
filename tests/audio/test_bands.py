"""audio.normalize by bands, from `pipelines fit` to the batches: records of differing lengths, both frameworks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import pipelines
from pipelines.config import read_config
from pipelines.errors import ConfigError
from pipelines.fit import fit

CONFIG = """\
framework: torch
source:
  folder: {path: sounds, files: "*.wav"}
fields:
  levels:
    from: file
    steps:
      - audio.decode
      - audio.resample: {rate_hz: 8000}
      - audio.mel: {n_fft: 256, hop: 128, bands: 12}
      - audio.decibels
      - audio.normalize: {mode: bands, file: learnt/bands.json}
batch: {size: 3}
on_error: {at_most: 0.5}
"""


@pytest.fixture
def config(tmp_path: Path, rng: np.random.Generator) -> Path:
    (tmp_path / "sounds").mkdir()
    for number, seconds in enumerate((0.2, 1.5, 0.7, 0.05, 3.1)):
        sound = rng.normal(0, 0.05, round(8000 * seconds)).cumsum() * 0.1
        soundfile.write(tmp_path / "sounds" / f"{number}.wav", np.clip(sound, -1, 1), 8000)
    (tmp_path / "sounds" / "9.wav").write_bytes(b"no sound")
    path = tmp_path / "bands.yaml"
    path.write_text(CONFIG)
    return path


def delivered(path: Path, framework: str) -> list[np.ndarray[Any, Any]]:
    pipe = pipelines.load(path, framework=framework, device="cpu")
    return [np.asarray(record["levels"]) for each in pipe.epoch() for record in pipe.engine.unbatch(each)]


def test_what_is_learnt_makes_each_band_mean_0_and_deviation_1(config: Path, framework: str) -> None:
    with pytest.raises(ConfigError, match=r"bands\.yaml:12: audio\.normalize: .*pipelines fit"):
        pipelines.load(config, framework=framework)
    (done,) = fit(read_config(config, (), framework))
    assert (done.step, done.records) == ("audio.normalize", 5)  # without the file that is no sound
    levels = delivered(config, framework)
    assert len({values.shape for values in levels}) == 5
    frames = np.concatenate(levels, 1).astype(np.float64)
    held = json.loads((config.parent / "learnt" / "bands.json").read_text())
    assert held["frames"] == frames.shape[1]
    np.testing.assert_allclose(frames.mean(1), 0, atol=1e-5)  # of levels around -60, in float32
    np.testing.assert_allclose(frames.std(1), 1, atol=1e-5)


def test_both_frameworks_learn_the_same(config: Path) -> None:
    held = []
    for framework in ("torch", "tensorflow"):
        fit(read_config(config, (), framework), again=True)
        held.append(json.loads((config.parent / "learnt" / "bands.json").read_text()))
    assert held[0]["frames"] == held[1]["frames"]
    for name in ("mean", "deviation"):
        # quiet bands of short sounds: float32 energies of 1e-7 of the peak, in dB
        np.testing.assert_allclose(held[0][name], held[1][name], atol=1e-4)
