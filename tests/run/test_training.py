"""The training scripts, run for real on the sample set: they learn, resume within an epoch, and share ranks."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import pipelines
from pipelines.errors import UserError
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


OTHERS = {
    "image": """
framework: torch
seed: 3
source:
  manifest: {path: samples/manifest.jsonl, key: id, files: [picture]}
  split: {parts: {train: 0.8, valid: 0.2}, use: train}
fields:
  picture:
    from: picture
    steps:
      - image.decode
      - image.resize: {size: [16, 16]}
      - image.flip
      - image.normalize: {mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
  label:
    from: colour
    steps: [label.index: {classes: [blue, green, red, yellow]}]
batch: {size: 16, shuffle: true, fixed: true}
""",
    "text": """
framework: torch
seed: 3
source:
  manifest: {path: samples/manifest.jsonl, key: id}
  split: {parts: {train: 0.8, valid: 0.2}, use: train}
fields:
  ids:
    from: caption
    steps:
      - text.basic_english
      - text.vocab: {file: samples/vocabulary.txt}
      - text.truncate: {length: 24}
      - text.pad: {length: 24}
  label:
    from: shape
    steps: [label.index: {classes: [circle, square, triangle, star]}]
batch: {size: 16, shuffle: true, fixed: true}
""",
}


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


def script(name: str) -> Any:
    """A script as a module."""
    found = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def train(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: object) -> None:
    """Runs a script in this process; torch on one core, since the test processes beside it want theirs."""
    import torch

    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert script(name).main() == 0
    finally:
        torch.set_num_threads(threads)


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


@pytest.mark.parametrize("name", ["train_torch", "train_keras"])
def test_it_learns_and_the_other_frameworks_features_serve(
    job: Path, features: dict[str, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(job)
    told = f"{name}.json"
    train(monkeypatch, name, "config.yaml", "--epochs", 6, "--evaluate", *features.values(), "--json", told)
    found = list(json.loads(Path(told).read_text()).values())
    assert min(found) > 0.5  # a quarter is chance
    assert abs(found[0] - found[1]) < 0.002


@pytest.mark.parametrize("modality", list(OTHERS))
@pytest.mark.parametrize("name", ["train_torch", "train_keras"])
def test_it_learns_from_pictures_and_texts(
    job: Path, name: str, modality: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(job)
    config, valid = Path(f"{modality}.yaml"), Path(f"{modality}_{name}")
    config.write_text(OTHERS[modality])
    pipe = pipelines.load(config, device="cpu", evaluate=True, overrides=("source.split.use=valid",))
    run(pipe, output=valid)
    told = f"{modality}_{name}.json"
    train(monkeypatch, name, config, "--epochs", 8, "--evaluate", valid, "--json", told)
    (found,) = json.loads(Path(told).read_text()).values()
    assert found > 0.5  # a quarter is chance
    assert "accuracy" in capsys.readouterr().out


SEVERAL_RUNS = """
import json, runpy, sys
for argv in json.loads(sys.argv[1]):
    sys.argv = argv
    assert runpy.run_path(argv[0])["main"]() == 0
"""


def held_in(path: Path) -> dict[str, Any]:
    """The values of a checkpoint by name, the optimizer's too, and the place."""
    if path.suffix == ".pt":
        import torch

        held = torch.load(path, weights_only=True)
        moments = held["optimizer"]["state"]
        values = held["model"] | {f"{i} {name}": value for i, one in moments.items() for name, value in one.items()}
        return values | {"state": json.loads(held["state"])}
    found: dict[str, Any] = {}
    with h5py.File(path) as file:
        file.visititems(lambda at, item: found.update({at: item[()]}) if isinstance(item, h5py.Dataset) else None)
        return found | {"state": json.loads(file.attrs["state"])}


@pytest.mark.parametrize(("name", "ending"), [("train_torch", "pt"), ("train_keras", "weights.h5")])
def test_a_job_that_is_stopped_goes_on_as_if_it_had_not_been(job: Path, name: str, ending: str) -> None:
    text = OTHERS["image"].replace("size: 16, shuffle: true, fixed: true", "size: 48, shuffle: true")
    (job / "stopped.yaml").write_text(text)  # four batches an epoch, of which fit does not know
    options = [str(ROOT / "scripts" / f"{name}.py"), "stopped.yaml", "--epochs", "3", "--save-every", "1", "--output"]
    whole, parts = job / f"whole.{ending}", job / f"parts.{ending}"
    stopped = [*options, str(parts), "--stop-after"]
    runs = [
        [*options, str(whole)],
        [*stopped, "2"],
        [*stopped, "6", "--resume"],  # the end of the second epoch
        [*options, str(parts), "--resume"],
    ]
    threads = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    call(job, "-c", SEVERAL_RUNS, json.dumps(runs), **threads)
    expected, found = held_in(whole), held_in(parts)
    if name == "train_keras":
        assert expected["optimizer/vars/0"] == 12  # a step for each batch
    assert found.pop("state") == expected.pop("state")
    assert found.keys() == expected.keys()
    for value in expected:
        np.testing.assert_array_equal(found[value], expected[value], err_msg=value)


def test_keras_uses_every_batch_of_epochs_that_differ_in_length(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(job)
    head, rest = OTHERS["text"].split("      - text.basic_english")
    text = head + "      - text.utf8\n" + rest[rest.index("  label:") :]
    batch = "tokens: 500, shuffle: true, bucket: {window: 32}"
    Path("budget.yaml").write_text(text.replace("size: 16, shuffle: true, fixed: true", batch))
    train(monkeypatch, "train_keras", "budget.yaml", "--epochs", 4, "--output", "budget.weights.h5")
    pipe = pipelines.load("budget.yaml", framework="tensorflow", device="cpu")
    batches = [pipe.grid.batches(epoch) for epoch in range(4)]
    assert len(set(batches)) > 1
    held = held_in(job / "budget.weights.h5")
    assert held["optimizer/vars/0"] == sum(batches)
    assert (held["state"]["epoch"], held["state"]["position"]) == (3, len(pipe.source))


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


def test_a_keras_checkpoint_holds_model_optimizer_and_place(tmp_path: Path) -> None:
    import keras

    keras_script = script("train_keras")
    rng = np.random.default_rng(0)
    rows, labels = rng.random((64, 5), np.float32), rng.integers(0, 3, 64)

    def made() -> Any:
        keras.utils.set_random_seed(0)
        given = keras.Input((5,))
        model = keras.Model(given, keras.layers.Dense(3)(given))
        model.compile(keras.optimizers.AdamW(2e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    def train(model: Any, *watch: Any) -> Any:
        model.fit(rows, labels, verbose=0, shuffle=False, callbacks=list(watch))
        return model

    path = tmp_path / "held.weights.h5"
    place = types.SimpleNamespace(state=lambda batches=None: {"epoch": 3})
    whole = train(train(made(), keras_script.Checkpoint(place, path)))
    parts = made()
    assert keras_script.restore(parts, path) == {"epoch": 3}
    assert list(tmp_path.iterdir()) == [path]
    for a, b in zip(whole.get_weights(), train(parts).get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["train_torch", "train_keras"])
def test_a_field_that_is_not_there_is_told_in_a_sentence(job: Path, name: str) -> None:
    pipe = pipelines.load(job / "config.yaml", framework="torch", device="cpu")
    assert script(name).features_of(pipe, "label") == ("mel", 4)
    with pytest.raises(
        UserError, match=r"expected a field 'digit' \(--label names another\), the config has mel, label"
    ):
        script(name).features_of(pipe, "digit")


def test_a_wrong_config_is_told_in_a_sentence(job: Path) -> None:
    (job / "wrong.yaml").write_text(CONFIG.replace("audio.gain", "audio.gian"))
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "train_torch.py", "wrong.yaml"], cwd=job, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "did you mean 'audio.gain'" in done.stderr
    assert "Traceback" not in done.stderr
