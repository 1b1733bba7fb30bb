"""`pipelines profile`: where the time of a config goes, measured on a stretch of a real run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.config._models import CacheConfig
from pipelines.errors import RecordError, UserError
from pipelines.pipeline import Pipeline
from pipelines.report._evenly import evenly
from pipelines.report._profile_advice import Figures, Keepable, Spent, Verdict, judge
from pipelines.report._profile_view import view, write
from pipelines.report.tables import show
from pipelines.runtime._cached import CachedSource, prefixes, with_cache
from pipelines.runtime._chain import StepFailure
from pipelines.runtime._clock import FINISH, IDLE, KEPT, MOVE, READ, STACK, TURN, Place, Span, size_of
from pipelines.runtime._engine import Delivered
from pipelines.runtime._lanes import Lanes, cores

SECONDS = 10.0
WARM_UP_S = 2.0
"""At most so long the first batches are made unmeasured; fewer where the measured time itself is short."""
ALONE = 0.25
"""The part of the time in which one worker works at once: what a step takes when no other thread disturbs it."""
SAMPLE = 16
"""Records whose values are kept and read back, or sent through each TensorFlow step alone."""


@dataclass(frozen=True)
class Profile:
    """What was measured, and what follows from it; `spans` are the last ones of the workers, in seconds."""

    config: str
    device: str
    figures: Figures
    verdict: Verdict
    spans: tuple[Span, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything but the spans as plain JSON values."""
        figures = self.figures
        rates = {"records_per_second": figures.records_per_second, "busy_cores": figures.busy_cores}
        shares = {"working_s": figures.working_s, "consumer_waits": figures.waiting, "workers_idle": figures.idle}
        told = asdict(figures) | rates | shares
        return {"config": self.config, "device": self.device, **told, "verdict": asdict(self.verdict)}

    def show(self) -> None:
        """Print the profile to stdout."""
        show([view(self)])

    def write(self, path: Path) -> None:
        """Write it as an HTML page; UserError where that cannot be."""
        write(self, path)


def profile(
    pipe: Pipeline, seconds: float = SECONDS, consume: Callable[[dict[str, Any]], object] = lambda batch: None
) -> Profile:
    """Run a pipeline for about so many seconds, over as many epochs as it takes, and say where the time went.

    For the last quarter of the time one worker of the torch engine works at once. Where threads fight for the
    interpreter's lock, a step that gives it up gets it back late and seems to take long: which step costs the most
    shows only undisturbed. The rates, the use of threads and the queue are those of the time before.

    `consume` is called with each batch in the place of a training step. The first batches, in which libraries load and
    graphs are traced, are not measured. Epochs go on from where the pipeline stands.
    """
    run = _Run(pipe, seconds, consume)
    figures = _figures(pipe, run)
    device = str(getattr(pipe.engine, "device", pipe.options["device"]))
    return Profile(str(pipe.config.path), device, figures, judge(figures), tuple(run.recording.spans))


class _Run:
    """The stretch of the run that is measured."""

    def __init__(self, pipe: Pipeline, seconds: float, consume: Callable[[dict[str, Any]], object]) -> None:
        self.pipe, self.consume = pipe, consume
        self.records = self.batches = self.bytes = 0
        clock = pipe.engine.clock
        lanes: Lanes | None = getattr(pipe.engine, "lanes", None)
        batches = self._epochs()
        try:
            self._take(batches, min(WARM_UP_S, seconds / 4))
            self.at_once = pipe.engine.threads if lanes is None else lanes.limit
            self.records = self.batches = self.bytes = 0
            with clock.record() as self.recording:
                earlier, begun, computed = clock.times(), time.perf_counter(), time.process_time()
                self._take(batches, seconds if lanes is None else (1 - ALONE) * seconds)
                self.times = clock.times().since(earlier)
                self.wall, self.processor = time.perf_counter() - begun, time.process_time() - computed
            self.counts = self.records, self.batches, self.bytes
            self.alone = self.recording, self.times, self.records
            if lanes is not None:
                with lanes.one_at_a_time():
                    for _ in range(self.at_once):
                        self._take(batches, 0.0)  # begun before
                    self.records = 0
                    with clock.record() as recording:
                        earlier = clock.times()
                        self._take(batches, ALONE * seconds)
                        self.alone = recording, clock.times().since(earlier), self.records
        finally:
            batches.close()

    def _epochs(self) -> Generator[Delivered, None, None]:
        """The batches of one epoch after the other."""
        while True:
            some = False
            for delivered in self.pipe.epoch():
                some = True
                yield delivered
            if not some:
                raise UserError("an epoch of this config has no batch; nothing can be measured")

    def _take(self, batches: Iterator[Delivered], seconds: float) -> None:
        """Consume batches for so long, and one at least."""
        begun = time.perf_counter()
        for delivered in batches:
            self.records += len(delivered.chunk.indices)
            self.batches += 1
            if delivered.batch is not None:
                self.consume(delivered.batch)
                self.bytes += sum(map(size_of, delivered.batch.values()))
            if time.perf_counter() - begun >= seconds:
                return


def _figures(pipe: Pipeline, run: _Run) -> Figures:
    engine, times, recording = pipe.engine, run.times, run.recording
    seen = {place: seconds for place, seconds in times.workers.items() if place.kind != "wait"}
    steps = [place for chain in engine.chains.values() for place in chain.places]
    order = [READ, KEPT, *steps, STACK, MOVE, FINISH]

    def once(place: Place) -> bool:
        """Whether it is a step that fills the cache: of a field, but not among those that the engine runs."""
        return bool(place.field) and place not in order

    def rank(place: Place) -> float:
        return order.index(place) if place in order else 1.5 if place.field else len(order) - 1.5

    records, batches, size = run.counts
    quiet, undisturbed, of = run.alone
    spent = []
    for place, seconds in sorted(seen.items(), key=lambda one: rank(one[0])):
        alone_s = undisturbed.workers.get(place)
        own = seconds if alone_s is None else alone_s * records / of
        share = _ratio(quiet.computed.get(place), quiet.within.get(place))
        is_step = place.kind == "step"
        spent.append(Spent(place.name, place.field, is_step, seconds, own, share, once(place)))
    if pipe.framework == "tensorflow":
        from pipelines.runtime._alone import alone

        sample = pipe.grid.chunk(0, pipe.plan.streams, 0, min(SAMPLE, pipe.grid.records))
        for place, each in alone(engine, sample).items():
            spent.append(Spent(place.name, place.field, True, each * records, each * records))
    on_torch = pipe.framework == "torch"
    return Figures(
        framework=pipe.framework,
        threads=engine.threads,
        at_once=run.at_once,
        cores=cores(),
        wall_s=run.wall,
        processor_s=run.processor,
        records=records,
        of_records=len(pipe.source),
        batches=batches,
        bytes_read=recording.bytes_read,
        bytes_delivered=size,
        spent=tuple(spent),
        turn_s=times.workers.get(TURN, 0.0) if on_torch else None,
        idle_s=times.workers.get(IDLE, 0.0) if on_torch else None,
        waited_s=times.waited,
        away_s=times.away,
        ready=sum(recording.ready) / len(recording.ready) if recording.ready else None,
        room=recording.room,
        keepable=_keepable(pipe),
        most_gb=CacheConfig().most_gb,
    )


def _ratio(computed: float | None, within: float | None) -> float | None:
    return min(computed / within, 1.0) if computed is not None and within else None


def _keepable(pipe: Pipeline) -> tuple[Keepable, ...]:
    """What a cache would keep, where the config has none, with the time that some records take to be read back."""
    if pipe.config.cache is not None:
        return ()
    names = tuple(field.name for field in pipe.plan.fields)
    indices = evenly(len(pipe.source), SAMPLE)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        config = replace(pipe.config, cache=CacheConfig(path=Path(folder), fields=names))
        cached = with_cache(config, pipe.plan, pipe.source)
        if cached is None:
            return ()
        for prefix in prefixes(config, pipe.plan):
            values = {i: value for i in indices if (value := _kept(cached[1], i, prefix.name)) is not None}
            if not values:
                continue
            begun = time.perf_counter()
            for i in values:
                _kept(cached[1], i, prefix.name)
            each = (time.perf_counter() - begun) / len(values)
            size = sum(map(size_of, values.values())) / len(values)
            found.append(Keepable(prefix.field.name, prefix.stop, each, size))
    return tuple(found)


def _kept(source: CachedSource, index: int, name: str) -> Any:
    """A record's value from the cache, made and kept where it is not there; None where it fails or is absent."""
    try:
        return source.read(index, [name])[name]
    except (StepFailure, RecordError, OSError):
        return None
