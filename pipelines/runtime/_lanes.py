"""How many workers work at once, found by trying.

Kernels that release the interpreter's lock gain from every core; steps that hold it lose by a second thread, which only
fights for the lock (WordPiece in Python: 14,000 records/s with one thread, 10,000 with two). Which it is depends on the
config and on the machine, so the engine starts with all workers. Where these use their cores, nothing is to be gained;
where they wait, half of them are tried, in turn with all and twice before anything is changed, since the machine may be
disturbed at any moment, and kept if they make about as much. Now and then it is tried again. Order and results do not
depend on it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

WINDOW_S = 0.2
LEAST_BATCHES = 4
WORTH = 1.1
"""What twice as many workers must make more; they make 1.5 to 2 times as much where they do not wait."""
BUSY = 0.8
"""The share of their time that workers compute, from which on they are not waiting for each other."""
PAUSE_S = 10.0
"""Of work until it is tried again; twice as long each time."""


def cores() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Lanes:
    """A place for each worker that may work; the others wait."""

    def __init__(self, most: int, fixed: bool) -> None:
        self.limit = self._most = most
        self._fixed = fixed or most == 1
        self._working = 0
        self._changed = threading.Condition()
        self._begun = threading.local()
        self._computed = self._held = 0.0
        self._trial: list[int] = []
        """Limits still to be measured, a window each."""
        self._made: dict[int, list[float]] = {}
        """Records and seconds that the trial saw of a limit."""
        self._repeated = self._upwards = False
        self._pause, self._rest = PAUSE_S, 0.0
        self.start()

    @property
    def settled(self) -> bool:
        """Whether nothing is being tried."""
        return not self._trial

    def __enter__(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._working < self.limit)
            self._working += 1
        self._begun.at = time.perf_counter(), time.thread_time()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        since, computed = self._begun.at
        with self._changed:
            self._held += time.perf_counter() - since
            self._computed += time.thread_time() - computed
            self._working -= 1
            self._changed.notify_all()

    def start(self, skip: int = LEAST_BATCHES) -> None:
        """Measure anew, but not the next `skip` batches: an epoch begins, or they were made with another limit."""
        self._skip, self._batches, self._records, self._waits = skip, 0, 0, 0
        self._since = self._handed = time.perf_counter()
        with self._changed:
            self._computed = self._held = 0.0

    def delivered(self, records: int, waited: bool) -> None:
        """A batch is handed over; `waited`: the consumer asked for it before it was ready."""
        if self._fixed:
            return
        now, before = time.perf_counter(), self._handed
        self._handed = now
        if self._skip:
            self._skip -= 1
            if not self._skip:
                self.start(0)
            return
        if not waited and now - before > WINDOW_S:  # the consumer paused: for a validation, say
            self.start(0)
            return
        self._batches, self._records, self._waits = self._batches + 1, self._records + records, self._waits + waited
        seconds = now - self._since
        if self._batches < LEAST_BATCHES or seconds < WINDOW_S:
            return
        if 2 * self._waits < self._batches:  # the consumer is the slower one: nothing can be seen, nothing is to gain
            self.start(0)
        elif self._trial:
            self._measured(self._records, seconds)
        else:
            self._rest -= seconds
            self._consider()

    @contextmanager
    def one_at_a_time(self) -> Iterator[None]:
        """One worker works at once while it is open, and nothing is tried: what each step takes undisturbed."""
        limit, fixed = self.limit, self._fixed
        self._fixed = True
        self._allow(1)
        try:
            yield
        finally:
            self._fixed = fixed
            self._allow(limit)

    def _consider(self) -> None:
        """Begin a trial, where there may be something to gain."""
        waiting = self._computed < BUSY * self._held or not self._held
        down, up = waiting and self.limit > 1, 2 * self.limit <= self._most
        if self._rest > 0 or not (down or up):
            self.start(0)
        elif up and (self._upwards or not down):
            self._try(self.limit, 2 * self.limit)
        else:
            self._try(self.limit, self.limit // 2)

    def _try(self, now: int, other: int) -> None:
        self._made = {now: [0.0, 0.0], other: [0.0, 0.0]}
        self._trial = [now, other, other, now]  # so that what gets faster, or slower, all the time favours neither
        self._allow(now)

    def _measured(self, records: int, seconds: float) -> None:
        """A window of the trial has ended."""
        made = self._made[self._trial.pop(0)]
        made[0], made[1] = made[0] + records, made[1] + seconds
        if self._trial:
            self._allow(self._trial[0])
            return
        few, many = sorted(self._made)
        rates = {limit: made / seconds for limit, (made, seconds) in self._made.items()}
        now, best = next(iter(self._made)), few if rates[few] * WORTH >= rates[many] else many
        if best != now and not self._repeated:  # the machine may have been disturbed
            self._repeated = True
            self._try(now, best)
            return
        self._repeated = False
        further = best // 2 if best == few else best * 2
        if best != now and 1 <= further <= self._most:
            self._try(best, further)
            return
        self._upwards = not self._upwards
        self._rest, self._pause = self._pause, 2 * self._pause
        self._allow(best)

    def _allow(self, limit: int) -> None:
        before = self.limit
        with self._changed:
            self.limit = limit
            self._changed.notify_all()
        self.start(before + LEAST_BATCHES if limit != before else 0)
