"""Progress of long work, on stderr: a bar in a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_EVERY_SECONDS = 5.0


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Shows how many of `total` records are done; the function given adds to them."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain(title, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total, rate="")
        begin = time.monotonic()

        def add(records: int) -> None:
            bar.advance(task, records)
            rate = bar.tasks[0].completed / max(time.monotonic() - begin, 1e-9)
            bar.update(task, rate=f"{rate:,.0f} records/s")

        yield add


def _plain(title: str, total: int) -> Callable[[int], None]:
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
            sys.stderr.write(f"{title}: {done} of {total} records, {rate:,.0f} records/s, {left:,.0f} s left\n")

    return add
