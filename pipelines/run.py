"""Whole runs: every epoch delivered, and written to shards where the config asks for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pipelines.announced import announcement
from pipelines.catalog import find_sink
from pipelines.errors import TooManyFailures
from pipelines.native import library_versions
from pipelines.output import Output
from pipelines.pipeline import Counts, Pipeline
from pipelines.weights import WeightsStep


@dataclass(frozen=True)
class Summary:
    """What a run did. `seconds` is the time from the first read to the last batch, without imports."""

    config: str
    framework: str
    read: int
    delivered: int
    quarantined: int
    left_over: int
    seconds: float
    records_per_second: float
    output: str | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def run(
    pipe: Pipeline,
    *,
    epochs: int = 1,
    output: Path | None = None,
    mode: Literal["new", "resume", "overwrite"] = "new",
    watch: Callable[[int], None] = lambda records: None,
) -> Summary:
    """Deliver `epochs` epochs and, where the config or `output` names a folder, write them there.

    `watch` is called with the number of records of each batch. Raises TooManyFailures as
    `on_error` says, OutputError when the folder cannot be used; what a stopped run has finished
    stays, and `mode="resume"` goes on from there.
    """
    begin = time.perf_counter()
    wanted = pipe.config.output
    folder = output or (wanted.path if wanted else None)
    counts = _deliver(pipe, epochs, watch) if folder is None else _write(pipe, epochs, folder, mode, watch)
    seconds = time.perf_counter() - begin
    return Summary(
        str(pipe.config.path),
        pipe.framework,
        **counts.as_dict(),
        seconds=round(seconds, 3),
        records_per_second=round(counts.read / seconds, 1),
        output=None if folder is None else str(folder),
    )


def _deliver(pipe: Pipeline, epochs: int, watch: Callable[[int], None]) -> Counts:
    total = Counts()
    for _ in range(epochs):
        for delivered in pipe.epoch():
            watch(len(delivered.chunk.indices))
        total = total + pipe.counts
    return total


def _write(
    pipe: Pipeline,
    epochs: int,
    folder: Path,
    mode: Literal["new", "resume", "overwrite"],
    watch: Callable[[int], None],
) -> Counts:
    wanted = pipe.config.output
    sink = find_sink(wanted.format if wanted else "parquet")()
    per_shard = wanted.records_per_shard if wanted else 1000
    out = Output(folder, sink, pipe.plan.specs, per_shard, header(pipe, epochs), mode)
    try:
        if out.resume_at is not None:
            first_epoch, first_position = out.resume_at
            for epoch in range(first_epoch, epochs):
                skip = first_position if epoch == first_epoch else 0
                _write_epoch(pipe, out, epoch, skip, watch)
        left_over = sum(pipe.grid.left_over(epoch) for epoch in range(epochs))
        delivered, quarantined = out.progress
        counts = Counts(delivered + quarantined + left_over, delivered, quarantined, left_over)
        if out.resume_at is not None:
            out.finish(counts.as_dict())
    except TooManyFailures as error:
        listed = out.stop(pipe.quarantine)
        raise TooManyFailures(f"{error}\nall of them are in {listed}") from error
    except BaseException:
        out.abort()
        raise
    return counts


def _write_epoch(pipe: Pipeline, out: Output, epoch: int, skip: int, watch: Callable[[int], None]) -> None:
    """One epoch from position `skip` on; the whole batch that holds it is made again, since floats depend on it."""
    start = pipe.grid.start_of(epoch, skip)
    if pipe.grid.is_over(epoch, start):
        return
    pipe.start_at(epoch, start, out.quarantined(epoch, start))
    for delivered in pipe.epoch():
        records = zip(delivered.positions, pipe.engine.unbatch(delivered), strict=True)
        failures = list(delivered.failures)
        for position, record in records:
            while failures and failures[0].position < position:
                _fail(out, failures.pop(0), skip)
            if position >= skip:
                out.add(epoch, int(position), record)
        for failure in failures:
            _fail(out, failure, skip)
        watch(len(delivered.chunk.indices))


def _fail(out: Output, failure: Any, skip: int) -> None:
    if failure.position >= skip:
        out.fail(failure)


def header(pipe: Pipeline, epochs: int) -> dict[str, Any]:
    """What the manifest says of a run, and a resumed run must repeat."""
    state = pipe.state()
    return {
        "config": pipe.config.document,
        "sections": state["config"],
        "framework": pipe.framework,
        "epochs": epochs,
        **({"evaluate": True} if pipe.options["evaluate"] else {}),
        **({} if pipe.grid.only is None else {"only": pipe.grid.records}),
        "versions": library_versions(pipe.framework) | _step_packages(pipe),
        **weights_of(pipe),
    }


def _step_packages(pipe: Pipeline) -> dict[str, str]:
    """The packages that the steps used come from, where that is not this one, with their versions."""
    nodes = [node for field in pipe.plan.fields for node in field.nodes] + list(pipe.plan.batch_nodes)
    found = filter(None, [announcement(type(node.step)) for node in nodes])
    return dict(package.rsplit(" ", 1) for one in found for package in one.packages)


def weights_of(pipe: Pipeline) -> dict[str, Any]:
    """The pretrained weights of a run's steps, each with its hash and licence; nothing where there are none."""
    entries = [
        {"field": field.name, "step": node.name, **node.step.entry()}
        for field in pipe.plan.fields
        for node in field.nodes
        if isinstance(node.step, WeightsStep)
    ]
    return {"weights": entries} if entries else {}
