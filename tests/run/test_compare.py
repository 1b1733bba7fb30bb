"""`pipelines compare`: what it finds on good and on wrong pipelines, and that nothing is left behind."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipelines import cli
from pipelines.config import read_config
from pipelines.report import _compare_process as process_module
from pipelines.report import compare as compare_module
from pipelines.report._compare_wire import write
from pipelines.samples import make_samples
from pipelines.spec import FRAMEWORKS

CONFIG = """\
source:
  manifest: {path: samples/manifest.jsonl, key: id, files: [picture, sound]}
fields:
  picture:
    from: picture
    steps:
      - image.decode: {mode: rgb}
      - image.resize: {size: [24, 20]}
      - image.rotate: {degrees: [-15, 15]}
      - image.normalize: {mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
  wave:
    from: sound
    steps:
      - audio.decode: {channels: mono}
      - audio.resample: {rate_hz: 8000}
      - audio.fit: {samples: 4000}
  level:
    from: sound
    steps:
      - audio.decode: {channels: mono}
      - audio.resample: {rate_hz: 8000}
      - audio.mel: {n_fft: 256, hop: 128, bands: 8}
  caption:
    from: caption
    steps:
      - text.basic_english
      - text.vocab: {file: samples/vocabulary.txt, unknown: <unk>}
  shape:
    from: shape
    steps:
      - label.index: {classes: [circle, square, triangle, star]}
      - label.one_hot: {classes: 4}
  words:
    from: caption
  mask:
    from: picture
    follows: picture
    steps: [image.decode: {mode: gray}]
batch_steps:
  - image.mixup: {fields: [picture, shape], alpha: 0.4}
batch: {size: 14, shuffle: true}
"""
FEW = ("--limit", "40", "--records", "28", "--sample", "5", "--threads", "1", "--device", "cpu", "--json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config over the sample set, of which one of the first sounds is damaged."""
    made = tmp_path_factory.mktemp("compare")
    make_samples(made / "samples")
    (made / "all.yaml").write_text(CONFIG)
    second = json.loads((made / "samples/manifest.jsonl").read_text().splitlines()[1])
    (made / "samples" / second["sound"]).write_bytes(b"no sound at all")
    return made


@pytest.fixture
def pipelines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The command, in this process, with short measurements and temporary files of its own."""
    monkeypatch.setattr(compare_module, "WARM_SECONDS", 0.05)
    monkeypatch.setattr(compare_module, "ROUND_SECONDS", 0.05)
    monkeypatch.setattr(compare_module, "ROUNDS", 2)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pipelines", "compare", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        assert list((tmp_path / "temporary").iterdir()) == []
        return int(stopped.value.code or 0), said.out, said.err

    return call


def test_a_good_config_agrees(pipelines: Any, folder: Path) -> None:
    code, out, err = pipelines(folder / "all.yaml", *FEW)
    assert code == 0, err
    found = json.loads(out)
    assert found.keys() == {
        *("config", "records", "of", "epoch", "delivered", "sampled", "parity", "faults", "frameworks", "steps"),
        *("fields", "one_side_only", "fallbacks", "recommendation"),
    }
    assert (found["records"], found["of"], found["sampled"]) == (26, 40, 5)  # the first batch, and the short last one
    assert (found["parity"], found["faults"], found["one_side_only"]) == (True, [], [])

    failed = {side["failed"] for side in found["frameworks"].values()}
    assert found["delivered"] == 26 - failed.pop()
    assert not failed, "the same number fails on both"
    for name, side in found["frameworks"].items():
        assert side["versions"][name]
        assert len(side["rounds"]) == compare_module.ROUNDS
        assert min(side["rounds"]) <= side["records_per_second"] <= max(side["rounds"])
        assert 100 < side["peak_memory_mib"] < 10_000
        assert min(side["import_seconds"], side["bind_seconds"], side["first_batch_seconds"]) > 0

    config = read_config(folder / "all.yaml", (), "torch")
    wanted = [(field.name, use.name) for field in config.fields for use in field.steps]
    wanted += [("mask", name) for name in ("follows picture", "image.resize", "image.rotate")]
    wanted += [("picture, shape", "image.mixup")]
    assert [(one["field"], one["step"]) for one in found["steps"]] == wanted
    assert all(one["parity"] and one["records"] for one in found["steps"])
    exact = {one["field"]: one for one in found["fields"]}
    assert exact["words"].keys() == {
        *("field", "dtype", "unit", "exact", "records", "differ", "largest", "percentile_99_9", "peak"),
        *("wrong", "key", "fault"),
    }
    assert (exact["words"]["dtype"], exact["words"]["exact"], exact["words"]["largest"]) == ("text", True, None)
    assert (exact["words"]["records"], exact["words"]["differ"]) == (found["delivered"], 0)
    assert exact["caption"]["largest"] == 0
    assert 0 < exact["level"]["percentile_99_9"] <= exact["level"]["largest"] < 1e-4 * exact["level"]["peak"]
    hosts = {(one["step"], tuple(one["frameworks"])) for one in found["fallbacks"] if "on the host" in one["uses"]}
    assert ("label.index", FRAMEWORKS) in hosts
    assert found["recommendation"]["framework"] in (*FRAMEWORKS, None)
    assert "records" in found["recommendation"]["reason"]


SABOTAGE = '''
"""Makes two steps wrong on TensorFlow in every Python that starts with this folder on its path."""
from pipelines.audio.fit import Fit
from pipelines.text.basic_english import BasicEnglish

fit, english = Fit.bind_tensorflow, BasicEnglish.bind_tensorflow

def louder(self, x):
    kernel = fit(self, x)
    return lambda wave: kernel(wave) + 0.25

def choosy(self, x):
    import tensorflow as tf
    kernel = english(self, x)
    def call(text):
        with tf.control_dependencies([tf.debugging.Assert(~tf.strings.regex_full_match(text, ".*green.*"), ["green"])]):
            return kernel(tf.identity(text))
    return call

Fit.bind_tensorflow = louder
BasicEnglish.bind_tensorflow = choosy
'''


def test_a_step_that_is_wrong_on_one_side_is_found(
    pipelines: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SABOTAGE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    part = YAML(typ="safe", pure=True).load(CONFIG)
    part["fields"] = {name: part["fields"][name] for name in ("wave", "caption")}
    del part["batch_steps"]
    (folder / "part.yaml").write_text(json.dumps(part))
    code, out, err = pipelines(folder / "part.yaml", *FEW)
    assert code == 4, err
    assert "the frameworks disagree:" in err
    found = json.loads(out)
    assert not found["parity"]
    assert found["recommendation"]["framework"] is None
    assert found["recommendation"]["reason"].startswith("none while parity fails")

    wrong = {(one["field"], one["step"]): one for one in found["steps"] if not one["parity"]}
    assert ("wave", "audio.fit") in wrong
    assert wrong.keys() <= {("wave", "audio.fit"), ("caption", "text.basic_english")}
    fit = wrong["wave", "audio.fit"]
    assert fit["largest"] == pytest.approx(0.25, abs=1e-6)
    assert fit["wrong"] == fit["records"] > 0
    assert any("wave: audio.fit (step 3) is outside its agreement" in fault for fault in found["faults"])
    assert fit["key"] in err

    captions = [json.loads(line) for line in (folder / "samples/manifest.jsonl").read_text().splitlines()]
    green = {record["id"] for record in captions[:40] if "green" in record["caption"]}
    alone = {one["key"] for one in found["one_side_only"]}
    assert alone
    assert alone <= green
    for one in found["one_side_only"]:
        assert (one["framework"], one["field"], one["step"]) == ("tensorflow", "caption", "text.basic_english")
        assert any(fault.startswith(f"{one['key']} fails on tensorflow only: caption") for fault in found["faults"])


class Fake:
    """A worker that has measured nothing, and of which every record fails as `failing` says."""

    def __init__(self, framework: str, folder: Path) -> None:
        self.framework, self.file = framework, folder / framework
        self.places: list[Any] = []

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        self.send({"do": do, **request})
        return self.receive()

    def send(self, request: Mapping[str, Any]) -> None:
        self.request = request

    def receive(self) -> dict[str, Any]:
        do = self.request["do"]
        if do == "load":
            return {"versions": {self.framework: "1"}, "device": "cpu", "import_seconds": 1, "bind_seconds": 1}
        if do in ("batch", "give", "repeat"):
            write(self.file, {})
        if do == "batch":
            self.places = self.places or list(self.request["places"])
            start, stop = self.places.pop(0)
            failures = [{"position": p, "field": "wave", "step": "read", "reason": "gone"} for p in range(start, stop)]
            return {"start": start, "positions": [], "failures": failures}
        known: dict[str, dict[str, Any]] = {
            "warm": {"first_batch_seconds": 1, "rate": 1e3},
            "round": {"records": 9, "seconds": 1},
        }
        return {**known.get(do, {}), "mib": 1, "leans": [], "failures": []}


def test_nothing_delivered_is_no_parity(pipelines: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_module, "WorkerProcess", Fake)
    code, _, err = pipelines(folder / "all.yaml", "--set", "batch_steps=null", *FEW)
    assert code == 3
    assert "there is nothing to compare: no record came through; " in err
    assert "wave: read: gone" in err


@pytest.fixture
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr(compare_module, "WorkerProcess", refuse)


@pytest.mark.usefixtures("no_worker")
def test_faults_are_told_before_anything_starts(pipelines: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = pipelines(folder / "all.yaml", "--set", "batch.size=0", "--set", "batch.fixd=true")
    assert code == 2
    assert "fixd" in err
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "tensorflow", None)
        code, _, err = pipelines(folder / "all.yaml")
    assert code == 2
    assert "TensorFlow is not installed; install it with: pip install 'multimodal-pipelines[tensorflow]'" in err

    from pipelines.image.rotate import Rotate

    monkeypatch.setattr(Rotate, "frameworks", property(lambda self: ("torch",)))
    monkeypatch.setattr(Rotate, "why_one_framework", property(lambda self: "it is a test"))
    code, _, err = pipelines(folder / "all.yaml")
    assert code == 2
    assert "image.rotate runs on torch only, since it is a test, so there is nothing to compare" in err


def test_a_worker_that_crashes_gives_its_last_lines(
    pipelines: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "_START", "import sys; sys.stderr.write('one\\ntwo\\n'); sys.exit(7)")
    code, _, err = pipelines(folder / "all.yaml")
    assert code == 1
    assert "error: the torch process ended with exit code 7 in 'load'; its last lines:\n  one\n  two" in err


def test_an_interrupt_ends_the_workers(pipelines: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    class Interrupted(compare_module.WorkerProcess):
        def receive(self) -> dict[str, Any]:
            started.append(self._process.pid)
            raise KeyboardInterrupt

        def __exit__(self, *error: Any) -> None:
            started.append(self._process.pid)
            super().__exit__(*error)

    monkeypatch.setattr(process_module, "_START", "import time; time.sleep(600)")
    monkeypatch.setattr(compare_module, "WorkerProcess", Interrupted)
    code, _, err = pipelines(folder / "all.yaml")
    assert code == 130
    assert "interrupted" in err
    assert len(set(started)) == 2
    for pid in started:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
