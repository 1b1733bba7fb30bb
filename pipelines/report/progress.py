"""Progress of long work, on stderr: a bar in a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

PLAIN_EVERY_SECONDS = 5.0


@contextmanager
def progress(
    title: str, total: int, waits: Callable[[], str] | None = None, unit: str = "records"
) -> Iterator[Callable[[int], None]]:
    """Shows how many of `total` records, or whatever `unit` says, are done; the function given adds to them.

    `waits` tells what the work waits on just now, "" where that is not known.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain(title, total, waits, unit)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        *([] if waits is None else [_WaitsColumn(waits)]),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total, rate="")
        begin = time.monotonic()

        def add(records: int) -> None:
            bar.advance(task, records)
            rate = bar.tasks[0].completed / max(time.monotonic() - begin, 1e-9)
            bar.update(task, rate=f"{rate:,.{_digits(rate)}f} {unit}/s")

        yield add


class _WaitsColumn(ProgressColumn):
    """What the work waits on; asked by the bar itself, so that it is told also while nothing comes."""

    max_refresh = 1.0

    def __init__(self, waits: Callable[[], str]) -> None:
        super().__init__()
        self._waits = waits

    def render(self, task: Task) -> Text:
        place = self._waits()
        return Text(f"waits on: {place}" if place else "")


def _digits(rate: float) -> int:
    return 0 if rate >= 10 else 1


def _plain(title: str, total: int, waits: Callable[[], str] | None, unit: str) -> Callable[[int], None]:
    begin = said = time.monotonic()
    done = 0

    def add(records: int) -> None:
        nonlocal done, said
        done += records
        now = time.monotonic()
        if now - said >= PLAIN_EVERY_SECONDS:
            said = now
            rate = done / (now - begin)
            left = (total - done) / rate
            told = f"{title}: {done} of {total} {unit}, {rate:,.{_digits(rate)}f} {unit}/s, {left:,.0f} s left"
            place = waits() if waits else ""
            sys.stderr.write(f"{told}, waits on: {place}\n" if place else f"{told}\n")

    return add
