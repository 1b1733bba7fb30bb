"""Both frameworks on a user's own records: do they agree, which is faster, starts sooner, takes less memory.

Each framework runs in a process of its own (`_compare_worker.py`), one at a time while the clock runs, in turns, so
that a change in the machine's load meets both. Nothing heavy is loaded here. No more than a batch of either side is
held at once, in files of a temporary folder.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.config import Config, read_config
from pipelines.errors import ConfigError, Fault, ParityError, PipelineError, TooManyFailures, UserError
from pipelines.grid import Grid, Streams
from pipelines.native import need_framework
from pipelines.plan import Plan, compile_plan, grid_of
from pipelines.report._compare_advice import Advice, Side, advise
from pipelines.report._compare_judge import Judge
from pipelines.report._compare_process import WorkerProcess
from pipelines.report._compare_view import view
from pipelines.report._compare_wire import Place, mean_rows, read, spread, spread_batches
from pipelines.report.progress import progress
from pipelines.report.tables import show
from pipelines.runtime._lanes import cores
from pipelines.runtime._lengths import kept_lengths
from pipelines.sources._base import Source
from pipelines.spec import FRAMEWORKS

RECORDS = 512
SAMPLE = 32
BATCHES = 4
"""Batches of which the steps on the finished batch are judged."""
ROUNDS = 5
ROUND_SECONDS = 1.2
WARM_SECONDS = 2.0
FAULTS_SHOWN = 5


@dataclass(frozen=True)
class Comparison:
    """What `compare` found."""

    config: str
    records: int
    of: int
    epoch: int
    sampled: int
    sides: Mapping[str, Side]
    judge: Judge
    leans: tuple[Mapping[str, Any], ...]
    advice: Advice

    @property
    def faults(self) -> list[str]:
        """A sentence for each thing that breaks parity."""
        return self.judge.faults

    def require_parity(self) -> None:
        """ParityError with the first faults, if there are any."""
        faults = self.faults
        if faults:
            more = f"\n  and {len(faults) - FAULTS_SHOWN} more" if len(faults) > FAULTS_SHOWN else ""
            raise ParityError("the frameworks disagree:" + "".join(f"\n  {f}" for f in faults[:FAULTS_SHOWN]) + more)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values; an infinite difference is the string "inf"."""
        judge = self.judge
        steps = [
            {
                "field": one.field,
                "number": one.number,
                "step": one.step,
                "stage": one.stage,
                "agreement": one.agreement,
                "why": one.why,
                "unit": one.unit,
                "records": one.records,
                "differ": one.differ,
                "largest": _plain(one.largest),
                "parity": not one.wrong,
                "wrong": one.wrong,
                "key": one.key,
                "fault": one.fault,
            }
            for one in judge.verdicts
        ]
        fields = [
            {
                "field": drift.name,
                "dtype": drift.spec.dtype,
                "unit": drift.spec.unit,
                "exact": drift.exact,
                "records": drift.records,
                "differ": drift.differ,
                "largest": _plain(drift.largest),
                "percentile_99_9": _plain(drift.percentile),
                "peak": _plain(drift.peak),
                "wrong": drift.wrong,
                "key": drift.key,
                "fault": drift.fault,
            }
            for drift in judge.fields.values()
        ]
        return {
            "config": self.config,
            "records": self.records,
            "of": self.of,
            "epoch": self.epoch,
            "delivered": judge.delivered,
            "sampled": self.sampled,
            "parity": not self.faults,
            "faults": self.faults,
            "frameworks": {name: side.as_dict() for name, side in self.sides.items()},
            "steps": steps,
            "fields": fields,
            "one_side_only": [vars(one) for one in judge.one_sided],
            "fallbacks": [dict(one) for one in self.leans],
            "recommendation": {"framework": self.advice.framework, "reason": self.advice.reason},
        }

    def show(self) -> None:
        """Print the comparison to stdout."""
        show([view(self)])


def compare(
    config: Path,
    overrides: Sequence[str] = (),
    *,
    epoch: int = 0,
    limit: int | None = None,
    records: int = RECORDS,
    sample: int = SAMPLE,
    device: str = "auto",
    threads: int | None = None,
) -> Comparison:
    """Run a config on both frameworks and compare them; `records` of it, and `sample` of those step by step.

    Raises ConfigError, MissingLibrary and the other user errors before any process starts, TooManyFailures when no
    record comes through. Disagreement is in the result: `require_parity` raises it.
    """
    read_whole = config_of_both(config, overrides)
    plan, source = compile_plan(read_whole, limit)
    if not len(source):
        raise UserError(f"{config}: there is nothing to compare: the source has no records")
    for name in FRAMEWORKS:
        need_framework(name)
    request = {
        "config": str(config.absolute()),
        "sets": list(overrides),
        "device": device,
        "threads": threads,
        "epoch": epoch,
        "limit": limit,
    }
    judge = Judge(plan)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pipelines-compare-")))
        workers: dict[str, WorkerProcess] = {
            name: stack.enter_context(WorkerProcess(name, folder)) for name in FRAMEWORKS
        }
        loaded = _load(workers, request)
        lengths = None if read_whole.batch.buckets is None else kept_lengths(read_whole, plan, source)
        grid = grid_of(read_whole, len(source), lengths)
        places = spread_batches(grid, epoch, records)
        timed = spread_batches(grid, epoch, min(records, RECORDS))
        _read_once(source, plan, grid, epoch, timed)
        sides = _time(workers, loaded, timed, threads or cores())
        leans: list[tuple[str, dict[str, Any]]] = [
            (name, one) for name in FRAMEWORKS for one in workers[name].ask("leans")["leans"]
        ]
        _values(workers, judge, source, grid, epoch, places)
        sampled = spread(places, sample)
        _steps(workers, judge, source, grid, epoch, sampled)
        if plan.batch_nodes:
            few = min(records, BATCHES * mean_rows(grid, epoch))
            _batch_steps(workers, judge, spread_batches(grid, epoch, few))
    sides = {name: replace(side, failed=judge.failed[name]) for name, side in sides.items()}
    if not judge.delivered:
        raise TooManyFailures(f"there is nothing to compare: no record came through; {judge.first_failure}")
    told = _leaning(leans)
    advice = advise(sides, told, len(judge.faults))
    count = sum(stop - start for start, stop in places)
    return Comparison(str(config), count, len(source), epoch, len(sampled), sides, judge, told, advice)


def config_of_both(path: Path, overrides: Sequence[str]) -> Config:
    """The config, for which it does not matter whether it names a framework; ConfigError for one framework's steps."""
    config = read_config(path, tuple(overrides), "torch")
    uses = [use for field in config.fields for use in field.steps] + list(config.batch_steps)
    alone = [use for use in uses if use.step.frameworks != FRAMEWORKS]
    if alone:
        raise ConfigError(
            Fault(
                use.place,
                f"{use.name} runs on {' or '.join(use.step.frameworks)} only, since {use.step.why_one_framework}, "
                "so there is nothing to compare",
            )
            for use in alone
        )
    return config


def _indices(grid: Grid, epoch: int, place: Place) -> list[int]:
    return [int(index) for index in grid.chunk(epoch, Streams(), *place).indices]


def _read_once(source: Source, plan: Plan, grid: Grid, epoch: int, places: list[Place]) -> None:
    """Read what will be timed, so that both frameworks find it in the system's memory."""
    with progress("read", sum(stop - start for start, stop in places)) as watch:
        for place in places:
            for index in _indices(grid, epoch, place):
                with suppress(Exception):  # a record that cannot be read fails in the workers, with its reason
                    source.read(index, plan.values)
            watch(place[1] - place[0])


def _load(workers: Mapping[str, WorkerProcess], request: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Start each worker alone; the first measures how long records are, where the config sorts by that."""
    loaded = {}
    for name, worker in workers.items():
        sys.stderr.write(f"start {name}\n")
        loaded[name] = worker.ask("load", framework=name, **request)
    return loaded


def _time(
    workers: Mapping[str, WorkerProcess], loaded: Mapping[str, dict[str, Any]], places: list[Place], threads: int
) -> dict[str, Side]:
    """Warm each worker up alone, then let them run in turns."""
    warm = {name: worker.ask("warm", places=places, seconds=WARM_SECONDS) for name, worker in workers.items()}
    rows = places[0][1] - places[0][0]
    rate = {name: max(answer["rate"], rows / 60) for name, answer in warm.items()}
    part = places[: max(1, round(min(rate.values()) * ROUND_SECONDS / rows))]
    held = sum(stop - start for start, stop in part)
    least = -(-(2 * threads + 1) // len(part))  # a batch for every thread after those that get them going
    times = {name: max(least, round(rate[name] * ROUND_SECONDS / held) + -(-threads // len(part))) for name in workers}
    rates: dict[str, list[float]] = {name: [] for name in workers}
    with progress("time in turns", ROUNDS * held * sum(times.values())) as watch:
        for _ in range(ROUNDS):
            for name, worker in workers.items():
                found = worker.ask("round", places=part, times=times[name], skip=threads)
                rates[name].append(found["records"] / found["seconds"])
                watch(held * times[name])
    return {
        name: Side(
            name,
            loaded[name]["versions"],
            loaded[name]["device"],
            loaded[name]["import_seconds"],
            loaded[name]["bind_seconds"],
            warm[name]["first_batch_seconds"],
            tuple(rates[name]),
            worker.ask("memory")["mib"],
        )
        for name, worker in workers.items()
    }


def _values(
    workers: Mapping[str, WorkerProcess], judge: Judge, source: Source, grid: Grid, epoch: int, places: list[Place]
) -> None:
    """Every record's final values on both sides, batch by batch; the workers make the next while this looks."""
    with progress("compare records", sum(stop - start for start, stop in places)) as watch:
        for place in places:
            answers = _both(workers, {name: {"do": "batch", "places": places} for name in workers})
            if any(answer.get("start") != place[0] for answer in answers.values()):
                raise PipelineError(f"expected the batch at position {place[0]} on both frameworks, got {answers}")
            keys = {
                position: source.key(index)
                for position, index in zip(range(*place), _indices(grid, epoch, place), strict=True)
            }
            with ExitStack() as files:
                judge.batch(keys, answers, {name: files.enter_context(read(workers[name].file)) for name in FRAMEWORKS})
            watch(place[1] - place[0])


def _steps(
    workers: Mapping[str, WorkerProcess], judge: Judge, source: Source, grid: Grid, epoch: int, positions: list[int]
) -> None:
    """Each node of some records on the same inputs: the first framework gives them, the second repeats."""
    giver, repeater = (workers[name] for name in FRAMEWORKS)
    with progress("compare steps", len(positions)) as watch:
        for position in positions:
            index = _indices(grid, epoch, (position, position + 1))[0]
            given = giver.ask("give", index=index, file=str(giver.file))["failures"]
            repeated = repeater.ask("repeat", index=index, given=str(giver.file), file=str(repeater.file))["failures"]
            with read(giver.file) as a, read(repeater.file) as b:
                values = dict(zip(FRAMEWORKS, (a, b), strict=True))
                judge.record(source.key(index), values, dict(zip(FRAMEWORKS, (given, repeated), strict=True)))
            watch(1)


def _batch_steps(workers: Mapping[str, WorkerProcess], judge: Judge, places: list[Place]) -> None:
    """Each step on the finished batch of some batches, on the same inputs."""
    giver, repeater = (workers[name] for name in FRAMEWORKS)
    for place in places:
        given = giver.ask("give_batch", place=place, file=str(giver.file))["failures"]
        request = {"place": place, "given": str(giver.file), "file": str(repeater.file)}
        repeated = repeater.ask("repeat_batch", **request)["failures"]
        with read(giver.file) as a, read(repeater.file) as b:
            values = dict(zip(FRAMEWORKS, (a, b), strict=True))
            judge.finished_batch(place[0], values, dict(zip(FRAMEWORKS, (given, repeated), strict=True)))


def _both(workers: Mapping[str, WorkerProcess], requests: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    for name, worker in workers.items():
        worker.send({**requests[name], "file": str(worker.file)})
    return {name: worker.receive() for name, worker in workers.items()}


def _leaning(found: list[tuple[str, dict[str, Any]]]) -> tuple[Mapping[str, Any], ...]:
    """What both frameworks say of a step becomes one entry."""
    told: dict[str, dict[str, Any]] = {}
    for name, one in found:
        entry = told.setdefault(json.dumps(one), {**one, "frameworks": []})
        entry["frameworks"].append(name)
    return tuple(told.values())


def _plain(number: float | None) -> float | str | None:
    return "inf" if number == float("inf") else number
