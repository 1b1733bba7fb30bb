"""Calls from TensorFlow's threads into Python, and how they cease before the program does.

A thread that waits for the interpreter while it ends never comes back, and TensorFlow, which takes its iterators down
after that, waits for the thread. So when the program ends, calls fail at once, and it goes on once none came for a
while.
"""

from __future__ import annotations

import atexit
import sys
import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from pipelines.errors import PipelineError

QUIET_SECONDS = 0.06
MOST_SECONDS = 10.0

Result = TypeVar("Result")


class Calls:
    """Counts the calls of the functions it has wrapped, and can end them."""

    def __init__(self) -> None:
        self.ended = False
        self._lock = threading.Lock()
        self._begun = 0
        self._done = 0

    def __call__(self, function: Callable[..., Result]) -> Callable[..., Result]:
        @wraps(function)
        def counted(*args: object) -> Result:
            with self._lock:
                self._begun += 1
            try:
                if self.ended:
                    raise PipelineError("the program ends")
                return function(*args)
            finally:
                with self._lock:
                    self._done += 1

        return counted

    def end(self) -> None:
        """Let no further call begin, and wait for those under way, but not for ever for one that hangs."""
        self.ended = True
        if not self._begun:
            return
        begin = changed = time.monotonic()
        seen = self._begun
        while (now := time.monotonic()) - changed < QUIET_SECONDS and now - begin < MOST_SECONDS:
            time.sleep(QUIET_SECONDS / 6)  # lets the threads have the interpreter
            if self._begun != seen or self._done != self._begun:
                seen, changed = self._begun, time.monotonic()
        if now - begin >= MOST_SECONDS:
            sys.stderr.write(f"pipelines: a read has not ended {MOST_SECONDS:g} s after the program; it may hang now\n")


calls = Calls()
atexit.register(calls.end)
