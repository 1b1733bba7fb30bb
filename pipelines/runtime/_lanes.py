"""How many workers work at once, found by trying.

Kernels that release the interpreter's lock gain from every core; steps that hold it lose by a second thread, which only
fights for the lock (WordPiece in Python: 18,000 records/s with one thread, 11,000 with two). Which it is depends on the
config and on the machine, so the engine starts with all workers and halves them as long as that makes more records.
Order and results do not depend on it.
"""

from __future__ import annotations

import os
import threading
import time
from types import TracebackType

WINDOW_S = 0.2
LEAST_BATCHES = 4
GAIN = 1.05
"""What fewer workers must gain to be preferred; chance is seldom above it."""


def cores() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Lanes:
    """A place for each worker that may work; the others wait."""

    def __init__(self, most: int, fixed: bool) -> None:
        self.limit = most
        self.settled = fixed or most == 1
        self._busy = 0
        self._changed = threading.Condition()
        self._best = (0.0, most)
        self.start()

    def __enter__(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._busy < self.limit)
            self._busy += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._changed:
            self._busy -= 1
            self._changed.notify_all()

    def start(self, skip: int = LEAST_BATCHES) -> None:
        """Measure anew, but not the next `skip` batches: an epoch begins, or they were made with another limit."""
        self._skip, self._batches, self._records, self._waits = skip, 0, 0, 0
        self._since = time.perf_counter()

    def delivered(self, records: int, waited: bool) -> None:
        """A batch is handed over; `waited`: the consumer asked for it before it was ready."""
        if self.settled:
            return
        if self._skip:
            self._skip -= 1
            self._since = time.perf_counter()
            return
        self._batches, self._records, self._waits = self._batches + 1, self._records + records, self._waits + waited
        seconds = time.perf_counter() - self._since
        if self._batches < LEAST_BATCHES or seconds < WINDOW_S:
            return
        if 2 * self._waits < self._batches:  # the consumer is the slower one: nothing can be seen, nothing is to gain
            self.start()
            return
        rate = self._records / seconds
        if rate > self._best[0] * (GAIN if self._best[0] else 1):
            self._best = (rate, self.limit)
            self.settled = self.limit == 1
            self._allow(max(1, self.limit // 2))
        else:
            self.settled = True
            self._allow(self._best[1])

    def _allow(self, limit: int) -> None:
        before = self.limit
        with self._changed:
            self.limit = limit
            self._changed.notify_all()
        self.start(before + LEAST_BATCHES)
