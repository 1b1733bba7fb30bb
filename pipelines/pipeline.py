"""A config made ready to run: the object behind `pipelines.load`."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipelines.batch import Batch
from pipelines.buckets import Lengths
from pipelines.config import Config, read_config, sections
from pipelines.errors import (
    ANOTHER_BEGAN,
    Fault,
    PipelineError,
    RecordError,
    StateError,
    TooManyFailures,
    UserError,
    nearest,
)
from pipelines.grid import Chunk, Failure
from pipelines.native import need_framework
from pipelines.plan import Plan, compile_plan, grid_of, without_batch_chance
from pipelines.runtime._chain import serving_draws
from pipelines.runtime._lengths import BoundedSource, lengths_hash, lengths_of
from pipelines.sources._base import Source
from pipelines.weights import WeightsStep

if TYPE_CHECKING:
    from pipelines.runtime._cached import CachedSource
    from pipelines.runtime._engine import Delivered, Engine

STATE_VERSION = 1

WORKERS = ("threads", "processes")


@dataclass
class Counts:
    """Where the records of an epoch, or of several, went: read = delivered + quarantined + left over."""

    read: int = 0
    delivered: int = 0
    quarantined: int = 0
    left_over: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    def as_dict(self) -> dict[str, int]:
        return dict(vars(self))


class Pipeline:
    """Batches of a config on one framework. Each iteration is one epoch, and the next one the next.

    A batch is a dict: each field's tensor, `<field>_length` where sizes vary (int64[rows], or
    int64[rows, axes]), `<field>_mask` for optional fields (bool[rows]), `key`, `index` (int64[rows]),
    `_valid` (bool[rows]) where batches are filled up, and `_state`, the state after this batch.

    Attributes: `plan` (every seam's spec), `source`, `grid` (the batches of each epoch), `counts` and `quarantine` of
    the epoch begun last.
    """

    def __init__(
        self,
        config: Config,
        *,
        device: str = "auto",
        threads: int | None = None,
        workers: str = "threads",
        rank: int = 0,
        world: int = 1,
        limit: int | None = None,
        evaluate: bool = False,
        only: Sequence[str] | None = None,
    ) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"rank={rank} must be in [0, {world}), the number of ranks")
        _need_workers(workers, config.framework)
        self.config = config
        self.options: dict[str, Any] = {
            "device": device,
            "threads": threads,
            "workers": workers,
            "rank": rank,
            "world": world,
            "limit": limit,
            "evaluate": evaluate,
            "only": only,
        }
        self.plan, self.source = compile_plan(config, limit)
        self._evaluates = evaluate
        if evaluate:
            self.plan = without_batch_chance(self.plan)
        need_framework(config.framework)
        chosen = None if only is None else self._numbers(only)
        self._cached = _cached(config, self.plan, self.source)
        plan, source = self._cached or (self.plan, self.source)
        lengths = self._lengths(plan, source, chosen)
        records = len(self.source) if chosen is None else len(chosen)
        self.grid = grid_of(config, records, lengths, rank=rank, world=world, only=chosen)
        self.counts = Counts()
        self.quarantine: list[Failure] = []
        self._sections = sections(config) | {"records": self.source.fingerprint()}
        if evaluate:
            self._sections["evaluate"] = "yes"
        if chosen is not None:
            self._sections["only"] = blake2b(chosen.tobytes(), digest_size=8).hexdigest()
        if lengths is not None:
            self._sections["lengths"] = lengths_hash(lengths if chosen is None else lengths[chosen])
        self._start = self._next = self._reached = (0, 0)  # (epoch, position)
        self._handed = array("q")  # the position after each batch handed over since the iteration began
        self._over = False  # whether the iteration has come to its end
        self._failed = self._failed_before = 0  # records of an epoch that failed before its start here
        bounded = None
        if lengths is not None and self.grid.by_budget:
            source = bounded = BoundedSource(source, lengths, config, self.plan)
        remake = partial(Pipeline, config, **self.options | {"device": "cpu", "threads": 1, "workers": "threads"})
        in_processes = remake if workers == "processes" else None
        self.engine = _engine(config.framework, plan, source, self.grid.fills, device, threads, in_processes)
        if bounded is not None:
            bounded.serve(self.engine)
        if self._cached is not None:
            self.engine.go_through(self.plan)
            self._cached[1].clock = self.engine.clock

    @property
    def framework(self) -> str:
        return self.config.framework

    def __len__(self) -> int:
        """Batches of a whole epoch on this rank; where `batch.tokens` cuts them, of the epoch that begins next."""
        return self.grid.batches(self.next_start[0])

    def __iter__(self) -> Generator[Batch, None, None]:
        return self.batches()

    def __repr__(self) -> str:
        told = [f"  {name}: {value}" for name, value in self.facts().items()]
        width = max(map(len, self.plan.specs))
        return "\n".join(["Pipeline", *told, *(f"  {name:{width}}  {spec}" for name, spec in self.plan.specs.items())])

    def _repr_html_(self) -> str:
        from pipelines.report.notebook import pipeline_html

        return pipeline_html(self)

    def facts(self) -> dict[str, str]:
        """What it runs, where, and where it stands, in words."""
        epoch, position = self.next_start
        place = f"epoch {epoch}, position {position}" if position else f"epoch {epoch}"
        rank = f", rank {self.grid.rank} of {self.grid.world}" if self.grid.world > 1 else ""
        return {
            "config": str(self.config.path),
            "framework": f"{self.framework}, device {self.options['device']}",
            "records": str(self.grid.records),
            "batches": f"{len(self)} an epoch{rank}",
            "order": f"{'shuffled' if self.grid.shuffle else 'as the source has it'}, seed {self.grid.seed}",
            "begins next": place,
        }

    def batches(self, part: int = 0, parts: int = 1) -> Generator[Batch, None, None]:
        """One epoch's batches with the state after each; `part` of `parts` takes every parts-th, as `epoch` does."""
        specs = self.plan.specs  # one object for all batches
        for delivered in self.epoch(part, parts):
            if delivered.batch is not None:
                yield Batch(delivered.batch | {"_state": self._hand_over(delivered.chunk)}, specs)

    def epoch(self, part: int = 0, parts: int = 1) -> Generator[Delivered, None, None]:
        """One epoch with its accounts: every batch of the grid, also those of which no row is left.

        `part` of `parts` takes every parts-th batch, as worker processes do.
        """
        chunks = islice(self._begin(), part, None, parts)
        handed = self._handed
        for delivered in self.engine.clock.watched(self.engine.run(chunks)):
            if self._handed is not handed:
                raise UserError(ANOTHER_BEGAN)
            self._account(delivered)
            yield delivered
        if parts == 1:
            self._close()

    def state(self, batches: int | None = None) -> dict[str, Any]:
        """Where the run stands after the last batch handed over: small, plain JSON.

        `batches` asks for the state after so many of the batches handed over since the iteration began instead, for a
        consumer that is handed batches before it uses them, as `keras.Model.fit` is. Valid for any number of threads
        and ranks and for both frameworks. ValueError for batches that this process has not handed over.
        """
        epoch, position = self._reached
        if batches is not None:
            count = len(self._handed)
            if not 0 <= batches <= count:
                raise ValueError(f"batches={batches}: expected 0 to {count}, the batches handed over in this process")
            if batches < count or not self._over:  # at the end also past what failed behind the last one
                epoch, position = (self._start[0], self._handed[batches - 1]) if batches else self._start
        return {"version": STATE_VERSION, "config": self._sections, "epoch": epoch, "position": position}

    def resume(self, state: Mapping[str, Any] | str) -> None:
        """Let the next iteration go on after the batch that `state` was taken from; StateError if it does not fit."""
        try:
            held = json.loads(state) if isinstance(state, str) else state
            version, sections, epoch, position = (held[name] for name in ("version", "config", "epoch", "position"))
            epoch, position = int(epoch), int(position)
        except (ValueError, KeyError, TypeError) as error:
            raise StateError(f"expected what state() gave, got {str(state)[:80]!r}") from error
        if version != STATE_VERSION:
            raise StateError(f"expected a state of version {STATE_VERSION}, got {version!r}")
        changed = changes(sections, self._sections)
        if changed:
            raise StateError(f"the state belongs to another config: {changed}")
        if epoch < 0 or not 0 <= position <= self.grid.records:
            raise StateError(f"expected a position in [0, {self.grid.records}], got {position} of epoch {epoch}")
        self.start_at(epoch, position)

    def start_at(self, epoch: int, position: int = 0, failed: int = 0) -> None:
        """Let the next iteration begin at `position` of `epoch`, in which `failed` records before it have failed."""
        self._next = self._start = self._reached = (epoch, position)
        self._handed, self._over = array("q"), False
        self._failed = failed

    @property
    def next_start(self) -> tuple[int, int]:
        """(epoch, position) at which the next iteration begins."""
        return (self._next[0] + 1, 0) if self.grid.is_over(*self._next) else self._next

    def apply(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """One record in memory, as serving needs it: field name to tensor, without a batch axis.

        `raw` maps value names to `bytes`, `str`, numbers or arrays; fields whose values are not
        given are left out. Random steps do the least they can. RecordError says what failed.
        """
        from pipelines.runtime._chain import StepFailure

        try:
            found = self.engine.apply(raw)
        except StepFailure as error:
            raise RecordError(f"{error.field}: {error.step}: {error.reason}") from error
        if not found:
            wanted = ", ".join(self.plan.values)
            raise RecordError(f"expected values of {wanted}, got {', '.join(raw) or 'none'}")
        return found

    def torch_dataset(self) -> Any:
        """A torch IterableDataset of finished batches: `DataLoader(pipe.torch_dataset(), batch_size=None)`."""
        self._need("torch")
        from pipelines.runtime.torch_objects import BatchDataset

        return BatchDataset(self)

    def tf_dataset(self) -> Any:
        """A tf.data.Dataset of finished batches; each iteration is the next epoch, also inside `keras.fit`.

        Its length is known where `batch.fixed` fills every batch; else failed records may shorten it, and `keras.fit`,
        unless told its `steps_per_epoch`, looks for the end and counts one step of the optimizer too many.
        """
        self._need("tensorflow")
        from pipelines.runtime.tensorflow import TensorflowEngine

        assert isinstance(self.engine, TensorflowEngine)
        steady = self.grid.fills and not self.next_start[1] and not (self.grid.by_budget and self.grid.shuffle)
        batches = len(self) if steady else None
        return self.engine.dataset(self._begin, self._account, self._close, self._hand_over, batches)

    def find(self, key: str) -> int:
        """The index of the record called `key`, or UserError with the nearest key."""
        return indices_of(self.source, [key])[0]

    def _numbers(self, keys: Sequence[str]) -> npt.NDArray[np.int64]:
        """The indices of the records called `keys`, in the source's order."""
        wanted = set(keys)
        found = {i: key for i in range(len(self.source)) if (key := self.source.key(i)) in wanted}
        if missing := sorted(wanted.difference(found.values())):
            raise UserError(
                f"{len(missing)} of {len(wanted)} records are not in the source, the first is {missing[0]!r}"
            )
        if not found:
            raise UserError("only: expected at least one record")
        return np.array(list(found), np.int64)

    def chunk_of(self, index: int, epoch: int = 0) -> Chunk:
        """A chunk of one row: the record `index` with the draws it has in `epoch`."""
        alone = replace(self.grid, shuffle=False, rank=0, world=1, batch=1, only=None, buckets=None)
        return alone.chunk(epoch, self.plan.streams, index, index + 1)

    def share_kept(self) -> None:
        """Show other processes what the cache has kept here, and take up what they have kept."""
        if self._cached is not None:
            self._cached[1].share()

    def _need(self, framework: str) -> None:
        if self.framework != framework:
            raise UserError(f"this pipeline runs on {self.framework}; load it with framework={framework!r}")

    def _begin(self) -> Iterator[Chunk]:
        epoch, position = self.next_start
        self._next = (epoch + 1, 0)
        self._failed_before, self._failed = self._failed, 0
        self._start = self._reached = (epoch, position)
        self._handed, self._over = array("q"), False
        self.counts, self.quarantine = Counts(), []
        self.share_kept()
        chunks = self.grid.chunks(epoch, self.plan.streams, position)
        if self._evaluates:  # each random step does the least it can
            serving = serving_draws(self.plan)
            return (chunk.with_draw(serving) for chunk in chunks)
        return chunks

    def _lengths(self, plan: Plan, source: Source, only: npt.NDArray[np.int64] | None) -> Lengths | None:
        """How long each record is, where batches go by it; `plan` and `source` are those that run."""
        if self.config.batch.buckets is None:
            return None
        threads = self.options["threads"]

        def make(plan: Plan, source: Source) -> Engine:
            return _engine(self.framework, plan, source, False, "cpu", threads)

        return lengths_of(self.config, self.plan, self.source, (plan, source), make, only)

    def _hand_over(self, chunk: Chunk) -> str:
        """Notes that the batch of `chunk` goes to the consumer; the state after it, as JSON."""
        self._handed.append(chunk.stop)
        return json.dumps(self.state() | {"epoch": chunk.epoch, "position": chunk.stop})

    def _account(self, delivered: Delivered) -> None:
        chunk = delivered.chunk
        rows, failed = len(delivered.positions), len(delivered.failures)
        if rows + failed != len(chunk.indices):
            raise PipelineError(f"{len(chunk.indices)} records went in, {rows} came out and {failed} failed")
        self.counts.read += len(chunk.indices)
        self.counts.delivered += rows
        self.counts.quarantined += failed
        self.quarantine.extend(delivered.failures)
        self._reached = (chunk.epoch, chunk.stop)
        policy = self.config.on_error
        if failed and policy.policy == "stop":
            raise TooManyFailures(f"stopped at the first record that failed: {describe(delivered.failures[0])}")
        lost = self._failed_before + self.counts.quarantined
        if lost > policy.at_most * len(self.source):
            shown = "\n".join(f"  {describe(failure)}" for failure in self.quarantine[:5])
            raise TooManyFailures(
                f"{lost} of {len(self.source)} records failed, "
                f"more than on_error.at_most = {policy.at_most:g} allows. The first:\n{shown}"
            )

    def _close(self) -> None:
        epoch, position = self._start
        end = self.grid.end(epoch, position)
        if self._reached != (epoch, end):
            raise PipelineError(f"epoch {epoch} ended after position {self._reached[1]}, expected {end}")
        if self.grid.rank == 0:
            left = self.grid.records - end
            self.counts.left_over += left
            self.counts.read += left
        self._reached = (self._start[0], self.grid.records)
        self._over = True
        self.share_kept()


def weights_faults(config: Config, plan: Plan) -> list[Fault]:
    """What is wrong with the weights of pretrained models, with their places: each is loaded, in its framework."""
    faults = []
    for field, planned in zip(config.fields, plan.fields, strict=True):
        for number, use in enumerate(field.steps):
            if isinstance(use.step, WeightsStep) and use.step.file is not None:
                try:
                    use.step.bind(config.framework, *planned.spec_before(number))
                except UserError as error:
                    faults.append(Fault(use.place, f"{use.name}: {error}"))
    return faults


def indices_of(source: Source, keys: Sequence[str]) -> list[int]:
    """The indices of the records called `keys`, each once, or UserError with the nearest key."""
    found = {source.key(index): index for index in range(len(source))}
    for key in keys:
        if key not in found:
            guess = nearest(key, list(found)[:10_000]) or (f"; keys look like {next(iter(found))!r}" if found else "")
            raise UserError(f"no record has the key {key!r}{guess}")
    return [found[key] for key in dict.fromkeys(keys)]


def describe(failure: Failure) -> str:
    """One line on a quarantined record."""
    return f"{failure.key}: {failure.field or 'record'}: {failure.step}: {failure.reason}"


def changes(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """The sections of a config that differ, as a sentence; empty when none do."""
    names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    return f"{', '.join(names)} changed" if names else ""


def load(
    config: str | Path | Mapping[str, Any],
    *,
    framework: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    workers: str = "threads",
    overrides: tuple[str, ...] = (),
    rank: int | None = None,
    world: int | None = None,
    limit: int | None = None,
    evaluate: bool = False,
    only: Sequence[str] | None = None,
) -> Pipeline:
    """A pipeline from a config file (or a dict of the same form).

    `framework` ("torch" or "tensorflow") overrides the config's; `device` is "auto", "cpu", "cuda",
    "cuda:N" or "mps"; `overrides` are "key=value" strings as for `--set`; `limit` keeps the first
    records only, `only` those with these keys, which keep their draws. `rank` of `world` processes takes its part of
    each batch; left out, they are what torchrun says in RANK and WORLD_SIZE, or one process. With `evaluate` random
    steps do the least they can, as in `apply`, and batch steps that draw are left out.

    `threads` is how many batches are made at once; left out, at most one for each core, found by trying. `workers` may
    be "processes" on torch: as many spawned processes make the batches instead, all of it on the CPU, for steps that
    hold the interpreter's lock. Raises ConfigError with every fault, MissingLibrary when the framework is absent.
    """
    read = read_config(config, overrides, framework)
    rank = int(os.environ.get("RANK", 0)) if rank is None else rank
    world = int(os.environ.get("WORLD_SIZE", 1)) if world is None else world
    options: dict[str, Any] = {"rank": rank, "world": world, "limit": limit, "evaluate": evaluate, "only": only}
    return Pipeline(read, device=device, threads=threads, workers=workers, **options)


def _need_workers(workers: str | int, framework: str) -> None:
    """UserError unless batches can be made by such workers in `framework`."""
    if workers not in WORKERS:
        many = isinstance(workers, int) and workers > 1
        hint = f"; threads: {workers} says how many" if many else nearest(str(workers), WORKERS)
        raise UserError(f"workers: expected threads or processes, got {workers!r}{hint}")
    if workers == "processes" and framework != "torch":
        raise UserError(
            f"workers: processes make batches on torch only, since a tf.data graph cannot be split up between them; "
            f"expected threads on {framework}"
        )


def _cached(config: Config, plan: Plan, source: Source) -> tuple[Plan, CachedSource] | None:
    """The plan that leaves out what is kept on disk, and the source that gives it; None where nothing is kept."""
    if config.cache is None:
        return None
    from pipelines.runtime._cached import with_cache

    return with_cache(config, plan, source)


def _engine(
    framework: str,
    plan: Plan,
    source: Source,
    fills: bool,
    device: str,
    threads: int | None,
    remake: Callable[[], Pipeline] | None = None,
) -> Engine:
    """The engine; with `remake`, one whose batches are made by such pipelines in processes."""
    if remake is not None:
        from pipelines.runtime._processes import ProcessEngine

        return ProcessEngine(plan, source, fills, device, threads, remake)
    if framework == "torch":
        from pipelines.runtime.torch import TorchEngine

        return TorchEngine(plan, source, fills, device, threads)
    from pipelines.runtime.tensorflow import TensorflowEngine

    return TensorflowEngine(plan, source, fills, device, threads)
