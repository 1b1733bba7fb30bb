"""Batches made in processes: the same as in threads, and nothing is left behind however a run ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from run.fakes import FIELDS, FakeSource, fake_config

from pipelines.errors import PipelineError, UserError
from pipelines.pipeline import Pipeline
from pipelines.runtime._engine import Delivered
from pipelines.samples import make_samples
from pipelines.sources._base import Source, SourceConfig

CHANGES: dict[str, Any] = {
    # without the picture, whose steps would have each process load torchvision
    "fields": {name: field for name, field in FIELDS.items() if name != "picture"}
    | {"loud": {"from": "wave", "steps": ["audio.gain"]}},
    "batch": {"size": 4, "shuffle": True, "floats": "bfloat16"},
}
KILLED = 21


def pipeline(workers: str, **changes: Any) -> Pipeline:
    return Pipeline(fake_config("torch", **CHANGES | changes), device="cpu", threads=2, workers=workers)


def assert_same(a: Delivered, b: Delivered) -> None:
    """Bit for bit, also in what failed."""
    assert (a.chunk.start, a.positions.tolist(), a.failures) == (b.chunk.start, b.positions.tolist(), b.failures)
    assert (a.batch is None) == (b.batch is None)
    if a.batch is not None and b.batch is not None:
        assert list(a.batch) == list(b.batch)
        for name, value in a.batch.items():
            if isinstance(value, torch.Tensor):
                assert value.dtype == b.batch[name].dtype
                assert torch.equal(value, b.batch[name]), name
            else:
                assert value == b.batch[name]


def test_batches_failures_and_states_are_those_of_threads() -> None:
    """Two epochs of one pool; then an epoch that is left, resumed from its state; and no process is left."""
    threads, processes = pipeline("threads"), pipeline("processes")
    for _ in range(2):
        for a, b in zip(threads.epoch(), processes.epoch(), strict=True):
            assert_same(a, b)
        assert threads.counts == processes.counts
        assert threads.counts.quarantined > 0
        assert threads.state() == processes.state()
    for number, _ in enumerate(processes):
        if number == 2:
            break
    assert multiprocessing.active_children() == []
    processes.engine.threads = 1  # another number of workers
    threads.resume(processes.state())
    rest = processes.epoch()
    processes.resume(threads.state())
    for a, b in zip(threads.epoch(), rest, strict=True):
        assert_same(a, b)
    del rest, processes
    assert multiprocessing.active_children() == []


def test_batches_of_like_length_under_a_budget_are_those_of_threads() -> None:
    batch = {"tokens": 24, "shuffle": True, "bucket": {"by": "wave", "window": 20}}
    threads, processes = (pipeline(workers, batch=batch) for workers in ("threads", "processes"))
    for a, b in zip(threads.epoch(), processes.epoch(), strict=True):
        assert_same(a, b)
    assert threads.counts == processes.counts
    assert threads.counts.quarantined > 0
    assert threads.state() == processes.state()
    del processes
    assert multiprocessing.active_children() == []


class _Fatal(FakeSource):
    def read(self, index: int, names: Collection[str]) -> dict[str, Any]:
        if index == KILLED and multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(index, names)


class _FatalConfig(SourceConfig):
    records: int

    def open(self) -> Source:
        return _Fatal(self.records)


def test_the_end_of_a_process_is_told_with_its_batch() -> None:
    config = replace(fake_config("torch", **CHANGES | {"batch": {"size": 4}}), source=_FatalConfig(records=40))
    pipe = Pipeline(config, device="cpu", threads=1, workers="processes")
    says = r"was ended by SIGKILL .* the batch of positions 20 to 23 of epoch 0, of the records 'rëcord 00020', 'rëcord"
    with pytest.raises(PipelineError, match=says):
        list(pipe.epoch())
    assert pipe.state()["position"] == pipe.counts.read <= 20  # what was handed over; a resumed run goes on there
    assert multiprocessing.active_children() == []


def test_where_processes_are_refused() -> None:
    with pytest.raises(UserError, match=r"processes make batches on torch only, .* expected threads on tensorflow"):
        Pipeline(fake_config("tensorflow"), workers="processes")
    with pytest.raises(UserError, match="expected threads or processes, got 'process'; did you mean 'processes'"):
        Pipeline(fake_config("torch"), workers="process")
    two: dict[str, Any] = {"workers": 2}
    with pytest.raises(UserError, match="expected threads or processes, got 2; threads: 2 says how many"):
        Pipeline(fake_config("torch"), **two)


CONFIG = """
framework: torch
source: {folder: {path: PLACE, files: "*.wav"}}
fields: {wave: {from: file, steps: [audio.decode, audio.resample: {rate_hz: 8000}, audio.fit: {seconds: 1}]}}
batch: {size: 2}
"""


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pids: list[int]) -> bool:
    """Whether all have ended, within some seconds."""
    for _ in range(100):
        if not any(Path(f"/proc/{pid}/exe").exists() for pid in pids):
            return True
        time.sleep(0.1)
    return False


def test_ctrl_c_leaves_no_process(tmp_path: Path) -> None:
    """It goes to all processes of a terminal."""
    make_samples(tmp_path, 0)
    place = next(path.parent for path in sorted(tmp_path.rglob("*.wav")))
    config = tmp_path / "c.yaml"
    config.write_text(CONFIG.replace("PLACE", str(place)))
    output = tmp_path / "out"
    options = ["--workers", "processes", "--threads", "1", "--device", "cpu", "--epochs", "100000", "--output"]
    heard = "import signal, pipelines.cli; signal.signal(2, signal.default_int_handler); pipelines.cli.main()"
    process = subprocess.Popen(  # Ctrl-C is heard also where the tests run in the background, whose jobs ignore it
        [sys.executable, "-c", heard, "run", str(config), *options, str(output)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not list(output.glob("shard-*")) and process.poll() is None:
        time.sleep(0.05)
    started = children(process.pid)
    assert started
    os.killpg(process.pid, signal.SIGINT)
    told = process.communicate(timeout=60)[1]
    assert gone(started)
    assert process.returncode == 130
    assert "Traceback" not in told
    assert "can be gone on with by --resume" in told
