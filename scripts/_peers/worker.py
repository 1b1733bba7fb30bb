"""One contestant in a process of its own: makes ready, then runs one pass over the records for each line on stdin."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
OURS = ("torch", "tensorflow")


def ours(job: str, framework: str) -> Callable[[], Iterator[Any]]:
    """This project on the job's config."""
    import pipelines

    pipe = pipelines.load(HERE / f"{job}.yaml", framework=framework, device="cpu")
    (field,) = pipe.plan.specs

    return lambda: (batch[field] for batch in pipe)


def main(job: str, contestant: str, folder: Path) -> None:
    """Answer each line on stdin with the records, the seconds, the processor's seconds and the first batch's delay."""
    os.environ["BENCHMARK_DATA"] = str(folder)
    if contestant in OURS:
        epoch = ours(job, contestant)
    else:
        module = importlib.import_module("photos" if job == "upright" else job)
        epoch = module.PEERS[contestant](folder, job == "photos")
    print("ready", flush=True)
    for _ in sys.stdin:
        begun, spent, records, first, shape = time.perf_counter(), _spent(), 0, 0.0, ""
        for batch in epoch():
            if not records:
                first, shape = time.perf_counter() - begun, f"{batch.dtype}{list(batch.shape)[1:]}"
            records += len(batch)
        seconds = time.perf_counter() - begun
        told = {"records": records, "seconds": seconds, "busy": _spent() - spent, "first": first, "shape": shape}
        print(json.dumps(told), flush=True)


def _spent() -> float:
    """Seconds of processor time, worker processes' too once they have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
