"""A page that shows what goes into a config and what each step makes of it, for a few of its records."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pipelines.buckets import Lengths
from pipelines.config import Config, read_config
from pipelines.errors import OutputError, UserError
from pipelines.grid import Grid
from pipelines.native import need_framework
from pipelines.pipeline import Pipeline, indices_of
from pipelines.plan import Plan, compile_plan, grid_of
from pipelines.report._compare_process import WorkerProcess
from pipelines.report._evenly import evenly
from pipelines.report._page import write_page
from pipelines.report._show_page import (
    Album,
    batch_section,
    plan_section,
    record_section,
    texts_section,
    tokens_of,
)
from pipelines.report._show_take import Apart, Here, Taken, Taker, first_batch
from pipelines.report._show_view import Viewer, kind_of
from pipelines.report.compare import config_of_both
from pipelines.report.progress import progress
from pipelines.runtime._lengths import kept_lengths
from pipelines.sinks._files import replace_file
from pipelines.sources._base import Source
from pipelines.spec import FRAMEWORKS

RECORDS = 4
DRAWS = 4
"""Epochs of which the draws of random steps are shown side by side."""
TEXTS = 200
"""Records whose texts are measured."""
SOUND_BYTES = 1 << 21
"""What all players of a page take together, about."""


@dataclass(frozen=True)
class Shown:
    """What `show` wrote: the page, how many pictures beside it, how many records of how many, and how many failed."""

    page: Path
    pictures: int
    records: int
    of: int
    failed: int


def show(
    config: Path,
    overrides: Sequence[str] = (),
    *,
    framework: str | None = None,
    both: bool = False,
    records: int = RECORDS,
    keys: Sequence[str] = (),
    epoch: int = 0,
    limit: int | None = None,
    output: Path | None = None,
    png: Path | None = None,
) -> Shown:
    """Write the page of a config to `output` (`<config>_show.html` here, if left out), its pictures to `png` too.

    The records are those of `keys`, or `records` spread evenly over the set. With `both` each framework runs in a
    process of its own, and their results stand beside each other. Raises ConfigError, and UserError where there is no
    record, no such key, or no place to write to.
    """
    page = output or Path(f"{config.stem}_show.html")
    _need_places(page, png)
    album = Album()
    with ExitStack() as stack:
        if both:
            takers, plan, source, grid, follows = _apart(stack, config, overrides, epoch, limit)
        else:
            takers, plan, source, grid, follows = _here(config, overrides, framework, limit)
        if not len(source):
            raise UserError(f"{config}: there is nothing to show: the source has no records")
        indices = indices_of(source, keys) if keys else evenly(len(source), records)
        draws = DRAWS if plan.streams.record and not both else 1
        viewer = Viewer(_sound_bytes(plan, len(indices) * max(draws, len(takers))), follows)
        album.sections.append(plan_section(plan))
        failed = 0
        place = first_batch(grid.places(epoch))
        if place is not None:
            rows = {name: taker.batch(place, epoch) for name, taker in takers.items()}
            album.sections.append(batch_section(album, plan, rows, place, epoch))
        with progress("show records", len(indices)) as watch:
            for index in indices:
                takes: list[tuple[str, int, Taken]] = [
                    (name, epoch + draw, taker.take(index, epoch + draw))
                    for name, taker in takers.items()
                    for draw in range(draws)
                ]
                failed += any(taken.failure is not None for _, _, taken in takes)
                album.sections.append(record_section(album, viewer, plan, index, source.key(index), takes))
                watch(1)
        sample = evenly(len(source), TEXTS)
        taker = next(iter(takers.values()))
        for field in plan.fields:
            if (number := tokens_of(field)) is not None:
                section = texts_section(album, field, taker.values(field, number, sample, epoch), len(source))
                album.sections += [section] if section else []
    chosen = "the records asked for" if keys else "a sample spread evenly over the set"
    all_there = len(indices) == len(source)
    which = f"all {len(source)} records" if all_there else f"{len(indices)} of {len(source)} records, {chosen}"
    lead = f"{which}, on {' and '.join(takers)}, with the draws of epoch {epoch}"
    lead += f" to {epoch + draws - 1} where a step is random" if draws > 1 else ""
    write_page(page, config.name, lead, album.sections)
    if png is not None:
        _write_pictures(png, album.pictures)
    return Shown(page, len(album.pictures) if png else 0, len(indices), len(source), failed)


Ready = tuple[Mapping[str, Taker], Plan, Source, Grid, dict[str, str]]


def _here(config: Path, overrides: Sequence[str], framework: str | None, limit: int | None) -> Ready:
    read = read_config(config, tuple(overrides), framework)
    pipe = Pipeline(read, device="cpu", limit=limit)
    return {pipe.framework: Here(pipe)}, pipe.plan, pipe.source, pipe.grid, _follows(read)


def _apart(stack: ExitStack, config: Path, overrides: Sequence[str], epoch: int, limit: int | None) -> Ready:
    read = config_of_both(config, overrides)
    plan, source = compile_plan(read, limit)
    for name in FRAMEWORKS:
        need_framework(name)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pipelines-show-")))
    processes = {name: stack.enter_context(WorkerProcess(name, folder)) for name in FRAMEWORKS}
    asked = {"config": str(config.absolute()), "sets": [*overrides], "device": "cpu", "threads": None}
    for name, process in processes.items():
        process.send({"do": "load", "framework": name, "epoch": epoch, "limit": limit, **asked})
        if read.batch.buckets is not None:
            process.receive()  # the first one measures how long records are
    if read.batch.buckets is None:
        for process in processes.values():
            process.receive()
    takers: dict[str, Taker] = {name: Apart(process, plan, source) for name, process in processes.items()}
    lengths: Lengths | None = None if read.batch.buckets is None else kept_lengths(read, plan, source)
    return takers, plan, source, grid_of(read, len(source), lengths), _follows(read)


def _follows(config: Config) -> dict[str, str]:
    return {field.name: field.follows for field in config.fields if field.follows}


def _sound_bytes(plan: Plan, times: int) -> int:
    seams = [spec for f in plan.fields for n in range(len(f.nodes) + 1) for spec in f.spec_before(n)]
    players = sum(kind_of(spec) == "waveform" for spec in seams) * times
    return max(1 << 15, min(1 << 19, SOUND_BYTES // max(players, 1)))


def _need_places(page: Path, png: Path | None) -> None:
    """OutputError before any work where the page or the pictures cannot be written."""
    if page.is_dir():
        raise OutputError(f"{page} is a folder; name a file, such as {page / 'show.html'}")
    for path, wanted in ((page, "--output"), (png, "--png")):
        if path is None:
            continue
        held = next(one for one in path.absolute().parents if one.exists())
        if not held.is_dir() or not os.access(held, os.W_OK):
            why = "allows no new files" if held.is_dir() else "is a file"
            raise OutputError(f"{path} cannot be written: {held} {why}; name another place by {wanted}")
    if png is not None and png.exists() and not png.is_dir():
        raise OutputError(f"{png} is a file; --png names a folder")


def _write_pictures(folder: Path, pictures: Mapping[str, bytes]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, png in pictures.items():
            replace_file(folder / name, png)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from error
