"""Shows that speed and memory stay level as work grows: a million small records, 10,000 files, one sound of 2 hours.

.venv/bin/python scripts/endurance.py [--framework tensorflow] [--records 1000000]

The records are made by the script: numbered lines as code points, WAVs of 1/10 second, 10-second windows of one WAV.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import pipelines

RATE_HZ = 8000


def lines(folder: Path, records: int) -> dict[str, Any]:
    """A config over `records` lines of text."""
    path = folder / "lines.txt"
    path.write_text("".join(f"line {number}\n" for number in range(records)), "utf-8")
    steps: list[Any] = ["text.code_points", {"text.truncate": {"length": 16}}, {"text.pad": {"length": 16}}]
    return {"source": {"lines": {"path": str(path)}}, "fields": {"text": {"from": "text", "steps": steps}}}


def files(folder: Path, records: int) -> dict[str, Any]:
    """A config over `records` WAV files."""
    work = folder / "files"
    work.mkdir()
    rng = np.random.default_rng(0)
    for number in range(records):
        write(work / f"{number:06}.wav", rng, RATE_HZ // 10)
    return {"source": {"folder": {"path": str(work), "files": "*.wav"}}, "fields": {"mel": sound("file", 0.1)}}


def long_file(folder: Path, hours: int) -> dict[str, Any]:
    """A config over the windows of one long WAV file."""
    write(folder / "long.wav", np.random.default_rng(0), RATE_HZ * 3600 * hours)
    rows = "".join(f"long.wav,{start},10\n" for start in range(0, 3600 * hours, 10))
    (folder / "windows.csv").write_text(f"audio,start,length\n{rows}", "utf-8")
    windows = {"audio": {"offset": "start", "duration": "length"}}
    source = {"path": str(folder / "windows.csv"), "files": ["audio"], "windows": windows}
    return {"source": {"manifest": source}, "fields": {"mel": sound("audio", 10)}}


def write(path: Path, rng: np.random.Generator, samples: int) -> None:
    """Noise as a WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(rng.integers(-9999, 9999, samples, np.int16).tobytes())


def sound(value: str, seconds: float) -> dict[str, Any]:
    """A field of mel bands."""
    steps: list[Any] = ["audio.decode", {"audio.resample": {"rate_hz": RATE_HZ}}, {"audio.fit": {"seconds": seconds}}]
    return {"from": value, "steps": [*steps, {"audio.mel": {"n_fft": 256, "hop": 80, "bands": 40}}]}


def resident_mb() -> float:
    """Memory of this process that is in RAM, in 10^6 bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def run(name: str, config: Mapping[str, Any], framework: str, marks: set[int]) -> None:
    """One epoch, with a line of the table at each mark and at the end."""
    pipe = pipelines.load({"framework": framework, "batch": {"size": 64}, **config}, device="cpu")
    begun, start_mb, done = time.perf_counter(), 0.0, 0
    past = begun, 0
    for batch in pipe:
        before, done = done, done + len(batch["key"])
        start_mb = start_mb or resident_mb()
        if done == len(pipe.source) or any(before < mark <= done for mark in marks):
            now = time.perf_counter()
            rate, grown = (done - past[1]) / (now - past[0]), resident_mb() - start_mb
            print(f"| {framework} | {name} | {done} | {rate:.0f} | {grown:+.0f} |", flush=True)
            past = now, done


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--framework", choices=("torch", "tensorflow"), default="torch")
    parser.add_argument("--records", type=int, default=1_000_000, help="small records")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--hours", type=int, default=2)
    given = parser.parse_args()
    print("| framework | records | so far | records/s since the last line | MB since the first batch |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        tens = {10**power for power in range(3, 7)}
        run("lines", lines(folder, given.records), given.framework, tens)
        run("files", files(folder, given.files), given.framework, tens)
        run(f"windows of {given.hours} hours", long_file(folder, given.hours), given.framework, {100, 300})


if __name__ == "__main__":
    main()
