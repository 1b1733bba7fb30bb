"""Measures this project beside what one would otherwise pick, on the same records: docs/benchmarks.md.

.venv/bin/pip install -e ".[full,bench]"
PIPELINES_DATA=... .venv/bin/python scripts/benchmark.py [--jobs photos,clips] [--repeats 7] [--file docs/benchmarks.md]

Each contestant has a process of its own and two threads or workers. One pass of each warms up and is not counted; then
all take turns, one pass at a time, so that what else the machine does falls on all alike. A figure is the median over
the passes, with the lowest and the highest.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / "scripts" / "_peers"
sys.path.insert(0, str(PEERS))
OURS = {"torch": "**this project, PyTorch**", "tensorflow": "**this project, TensorFlow**"}
WHAT = {
    "photos": "Photos: decode, resize to 256, crop 224, rotate by up to 10 degrees, normalize, batch 32",
    "upright": "The same without the rotation",
    "clips": "Clips of 1 second: decode, resample from 8 to 16 kHz, 64-band log-mel, batch 64",
    "texts": "News items: WordPiece ids in padded batches of 64",
}
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "true"}
LIBRARIES = (
    "torch", "torchvision", "torchaudio", "torchtext", "tensorflow", "tensorflow-io", "tensorflow-text", "tokenizers",
    "nvidia-dali-cuda120", "spdl-core", "webdataset", "grain", "datasets",
)  # fmt: skip


@dataclass
class Contestant:
    """A process that runs passes when asked."""

    name: str
    process: subprocess.Popen[str]
    passes: list[dict[str, Any]] = field(default_factory=list)
    fault: str = ""

    def run(self) -> None:
        """One pass; a contestant that fails is left out from then on, with its reason."""
        if self.fault:
            return
        assert self.process.stdin, "it is a pipe"
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
            self.passes.append(json.loads(self._line()))
        except (BrokenPipeError, ValueError) as error:
            self.fault = self.fault or str(error)

    def _line(self) -> str:
        """The next line of the worker's own; libraries print between them."""
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith(("{", "ready")):
                return line
        raise ValueError(f"ended with exit code {self.process.wait()}")

    def wait_ready(self) -> None:
        """Until its libraries are loaded and its pipeline is made."""
        try:
            self._line()
        except ValueError as error:
            self.fault = str(error)

    @property
    def rates(self) -> list[float]:
        return [told["records"] / told["seconds"] for told in self.passes[1:]]


def make_records(job: str, data: Path, folder: Path) -> None:
    """The job's records: several copies of the files of the data folder, or the lines of the news."""
    if job == "texts":
        with (data / "text_ag_news" / "test.csv").open(encoding="utf-8", newline="") as news:
            lines = [" ".join(" ".join(row[1:]).split()) for row in csv.reader(news)]
        (folder / "news.txt").write_text("".join(f"{line}\n" for line in lines), "utf-8")
        shutil.copy(data / "text_tokenizer_files" / "bert_base_uncased_vocab.txt", folder / "vocabulary.txt")
        return
    clips = job == "clips"
    files = sorted((data / "audio_fsdd" / "recordings").glob("*.wav")) if clips else []
    files = files or sorted((data / "image_imagenet_sample").glob("*.JPEG"))
    for copy in range(4 if clips else 6):
        for path in files:
            shutil.copy(path, folder / f"{copy}-{path.name}")


def start(job: str, name: str, folder: Path) -> Contestant:
    """A contestant's process, making ready."""
    command = [sys.executable, str(PEERS / "worker.py"), job, name, str(folder)]
    pipe = subprocess.PIPE
    made = subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=os.environ | QUIET
    )
    return Contestant(name, made)


def measure(job: str, data: Path, repeats: int) -> list[Contestant]:
    """All contestants of a job, in turn."""
    import importlib

    peers = importlib.import_module("photos" if job == "upright" else job).PEERS
    with tempfile.TemporaryDirectory() as work:
        make_records(job, data, Path(work))
        contestants = []
        for name in (*OURS, *peers):
            contestants.append(start(job, name, Path(work)))
            contestants[-1].wait_ready()
        for number in range(repeats + 1):
            for contestant in contestants:
                contestant.run()
                if contestant.passes and number:
                    rate = contestant.rates[-1]
                    print(f"{job}, pass {number} of {repeats}, {contestant.name}: {rate:.0f} records/s", flush=True)
        for contestant in contestants:
            contestant.process.kill()
            contestant.process.wait()
    return contestants


def table(job: str, contestants: list[Contestant]) -> str:
    """The job's table; ratios are of medians, to the first line."""
    lines = [f"## {WHAT[job]}\n", "| | records/s | lowest to highest | torch is | TensorFlow is | gives |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    medians = {c.name: statistics.median(c.rates) for c in contestants if c.rates}
    for c in contestants:
        name = OURS.get(c.name, c.name)
        if not c.rates:
            lines.append(f"| {name} | failed: {c.fault} | | | | |")
            continue
        ratios = [f"{medians[ours] / medians[c.name]:.2f} x" if ours in medians else "" for ours in OURS]
        low, high = min(c.rates), max(c.rates)
        shape = f"`{c.passes[-1]['shape']}`"
        lines.append(f"| {name} | {medians[c.name]:.0f} | {low:.0f} to {high:.0f} | {' | '.join(ratios)} | {shape} |")
    records = next(c.passes[-1]["records"] for c in contestants if c.passes)
    return "\n".join([*lines, "", f"{records} records a pass.", ""])


def engine_table(jobs: list[str], data: Path) -> str:
    """What the engine adds to its kernels: start-up, cores, the kernels' share, the cache; one job after the other."""
    lines = ["## The engine itself\n", "| job | | first batch | cores | in kernels | from the cache |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for job in jobs:
        with tempfile.TemporaryDirectory() as work:
            make_records(job, data, Path(work))
            for name in OURS:
                command = [sys.executable, str(PEERS / "engine.py"), job, name, work]
                done = subprocess.run(command, env=os.environ | QUIET, capture_output=True, text=True, check=True)
                told = json.loads(done.stdout.splitlines()[-1])
                share = f"{told['share']:.2f}" if "share" in told else ""
                cells = f"{told['first']:.2f} s | {told['cores']:.2f} | {share} | {told['cached']:.1f} x"
                lines.append(f"| {job} | {name} | {cells} |")
                print(lines[-1], flush=True)
    how = (
        "First batch: from loaded libraries to the first batch. Cores: processor's seconds for each of the clock's. In "
        "kernels: how much of both cores' time PyTorch's kernels take. From the cache: the next epoch's speed by the "
        "first's."
    )
    return "\n".join([*lines, "", how, ""])


def main() -> None:
    """Measure the jobs and write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", default=",".join(WHAT), help="which of: " + ", ".join(WHAT))
    parser.add_argument("--repeats", type=int, default=7, help="passes that count")
    parser.add_argument("--file", type=Path, default=ROOT / "docs" / "benchmarks.md")
    given = parser.parse_args()
    jobs = given.jobs.split(",")
    if unknown := set(jobs) - set(WHAT):
        parser.error(f"unknown job {sorted(unknown)[0]!r}; there are {', '.join(WHAT)}")
    if "PIPELINES_DATA" not in os.environ:
        parser.error("set PIPELINES_DATA to the folder with the photos, clips and news")
    data = Path(os.environ["PIPELINES_DATA"])
    tables = [table(job, measure(job, data, given.repeats)) for job in jobs]
    tables.append(engine_table(jobs, data))
    found = [name for name in LIBRARIES if _version(name)]
    versions = ", ".join(f"{name} {_version(name)}" for name in found)
    machine = f"{os.cpu_count()} cores of {platform.machine()}, Python {platform.python_version()}"
    how = (__doc__ or "").split("\n\n")[2]
    head = (
        "# Benchmarks\n\n"
        f"Made by `scripts/benchmark.py --jobs {given.jobs} --repeats {given.repeats}` on {machine}, with {versions}."
        f"\n\n{how}\n"
        '"torch is" and "TensorFlow is" say how many times as fast as the line this project is in that framework.\n'
    )
    given.file.write_text("\n".join([head, *tables]), "utf-8")
    print(f"wrote {given.file}")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


if __name__ == "__main__":
    main()
