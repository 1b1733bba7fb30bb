"""This project's engine on one job, in a process of its own: start-up, cores, the kernels' share, the cache.

Prints one line of JSON: `first`, seconds from loaded libraries to the first batch; `rate`, records/s; `cores`, of the
processor's seconds and the clock's; `share`, how much of both cores' time is spent in the kernels themselves (PyTorch
only: TensorFlow's run in its graph); `cached`, how much faster than the first epoch the next one from the cache is.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from worker import HERE, _spent

THREADS, EPOCHS = 2, 5
LIBRARIES = {
    "torch": ("pipelines.runtime.torch", "torchvision.io", "torchvision.transforms.v2", "torchaudio", "torchtext"),
    "tensorflow": ("pipelines.runtime.tensorflow", "tensorflow_io", "tensorflow_text"),
}


def epoch(pipe: Any) -> tuple[int, float, float]:
    """Records, seconds and processor's seconds of one epoch."""
    begun, spent = time.perf_counter(), _spent()
    records = sum(len(batch["key"]) for batch in pipe)
    return records, time.perf_counter() - begun, _spent() - spent


def best(pipe: Any, epochs: int = EPOCHS) -> tuple[int, float, float]:
    """The fastest of some epochs after a first one: what else the machine does falls on single ones."""
    epoch(pipe)
    return min((epoch(pipe) for _ in range(epochs)), key=lambda told: told[1])


class KernelClock:
    """Counts the seconds that threads spend in kernels, on their own clocks."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, kernel: Callable[..., Any] | None) -> Callable[..., Any] | None:
        """The kernel, counted."""
        if kernel is None:
            return None

        def counted(*values: Any) -> Any:
            begun = time.thread_time()
            try:
                return kernel(*values)
            finally:
                self.seconds += time.thread_time() - begun

        return counted


def share(load: Callable[[], Any]) -> float:
    """The kernels' share of the cores' time, of the epoch in which it is largest."""
    from pipelines.step import Step

    clock = KernelClock()
    bind, bind_rows = Step.bind, Step.bind_rows
    with (
        patch.object(Step, "bind", lambda *given: clock.around(bind(*given))),
        patch.object(Step, "bind_rows", lambda *given: clock.around(bind_rows(*given))),
    ):
        pipe = load()
    epoch(pipe)
    shares = []
    for _ in range(EPOCHS):
        clock.seconds = 0.0
        _, seconds, _ = epoch(pipe)
        shares.append(clock.seconds / (THREADS * seconds))
    return max(shares)


def main(job: str, framework: str, folder: Path) -> None:
    """Measure one job in one framework."""
    os.environ["BENCHMARK_DATA"] = str(folder)
    import pipelines
    from pipelines.native import need_framework

    need_framework(framework)
    for name in LIBRARIES[framework]:
        importlib.import_module(name)
    config = str(HERE / f"{job}.yaml")

    def load(*overrides: str) -> Any:
        return pipelines.load(config, framework=framework, device="cpu", threads=THREADS, overrides=overrides)

    begun = time.perf_counter()
    next(iter(load()))
    first = time.perf_counter() - begun
    records, seconds, spent = best(load())
    told = {"first": first, "rate": records / seconds, "cores": spent / seconds}
    if framework == "torch":
        told["share"] = share(load)
    with tempfile.TemporaryDirectory() as kept:
        pipe = load(f"cache.path={json.dumps(kept)}")
        slow = epoch(pipe)[1]
        told["cached"] = slow / min(epoch(pipe)[1] for _ in range(EPOCHS))
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
