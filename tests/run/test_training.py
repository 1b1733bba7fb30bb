"""The training scripts, run for real on the sample set: they learn, resume within an epoch, and share ranks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pipelines
from pipelines.run import run
from pipelines.samples import make_samples

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
framework: torch
seed: 3
source:
  folder: {path: samples/sounds, files: "**/*.*"}
  split: {parts: {train: 0.8, valid: 0.2}, use: train}
fields:
  mel:
    from: file
    steps:
      - audio.decode
      - audio.resample: {rate_hz: 8000}
      - audio.fit: {seconds: 0.5}
      - audio.gain
      - audio.mel: {n_fft: 256, hop: 128, bands: 32}
      - audio.decibels: {floor: 1.0e-6}
  label:
    from: folder
    steps: [label.index: {classes: [tone, sweep, noise, chord]}]
batch: {size: 16, shuffle: true, fixed: true}
"""


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("job")
    make_samples(folder / "samples")
    (folder / "config.yaml").write_text(CONFIG)
    return folder


def call(job: Path, *arguments: object, **env: str) -> str:
    """What a script prints; runs in the job's folder, on one core, so that sums come in one order."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)} | env
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *map(str, arguments)], cwd=job, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def weights(path: Path) -> dict[str, Any]:
    import torch

    held = torch.load(path, weights_only=True)["model"]
    assert isinstance(held, dict)
    return held


@pytest.fixture(scope="module")
def features(job: Path) -> dict[str, Path]:
    """The validation part, as each framework makes it."""
    made = {}
    for framework in ("torch", "tensorflow"):
        made[framework] = job / framework
        overrides = ("source.split.use=valid",)
        valid = pipelines.load(
            job / "config.yaml", framework=framework, device="cpu", evaluate=True, overrides=overrides
        )
        run(valid, output=made[framework])
    return made


@pytest.mark.parametrize("script", ["train_torch.py", "train_keras.py"])
def test_it_learns_and_the_other_frameworks_features_serve(job: Path, features: dict[str, Path], script: str) -> None:
    told = job / f"{script}.json"
    call(job, ROOT / "scripts" / script, "config.yaml", "--epochs", 6, "--evaluate", *features.values(), "--json", told)
    found = list(json.loads(told.read_text()).values())
    assert min(found) > 0.5  # a quarter is chance
    assert abs(found[0] - found[1]) < 0.002


def test_a_job_that_is_stopped_goes_on_as_if_it_had_not_been(job: Path) -> None:
    script, options = ROOT / "scripts" / "train_torch.py", ("config.yaml", "--epochs", 2, "--save-every", 1)
    call(job, script, *options, "--output", "whole.pt")
    call(job, script, *options, "--output", "parts.pt", "--stop-after", 17)  # in the middle of the second epoch
    call(job, script, *options, "--output", "parts.pt", "--resume")
    whole, parts = weights(job / "whole.pt"), weights(job / "parts.pt")
    assert whole.keys() == parts.keys()
    assert all((whole[name] == parts[name]).all() for name in whole)


def test_two_ranks_see_every_record_once(job: Path) -> None:
    options = (
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        2,
        ROOT / "scripts" / "train_torch.py",
    )
    printed = call(job, *options, "config.yaml", "--epochs", 1, "--device", "cpu")
    (rows,) = (int(number) for number in re.findall(r"(\d+) records", printed))  # of the first rank
    records = len(pipelines.load(job / "config.yaml", device="cpu").source)
    assert rows in (records // 2, -(-records // 2))


def test_a_wrong_config_is_told_in_a_sentence(job: Path) -> None:
    (job / "wrong.yaml").write_text(CONFIG.replace("audio.gain", "audio.gian"))
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "train_torch.py", "wrong.yaml"], cwd=job, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "did you mean 'audio.gain'" in done.stderr
    assert "Traceback" not in done.stderr
