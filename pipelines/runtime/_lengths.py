"""How long each record is: measured once by running a field's steps, or read from a column of the source, and kept.

A file of lengths is named by what they mean: the steps and the source's fingerprint, as in the cache of steps, or the
column. It ends with a checksum, is renamed into place, and one that is damaged is measured again. A run that stops
while it measures keeps what it has. A record that fails is noted as such: where the batches stand hangs on it.
"""

from __future__ import annotations

import os
import time
import uuid
import weakref
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import crc32c
import numpy as np
import numpy.typing as npt

from pipelines.buckets import UNKNOWN, Lengths
from pipelines.config import Config, meaning
from pipelines.errors import RecordError, SourceError
from pipelines.grid import Grid, Streams
from pipelines.native import to_numpy
from pipelines.plan import FieldPlan, Node, Plan
from pipelines.runtime._chain import Sizes, StepFailure, serving_draws
from pipelines.runtime._engine import Engine
from pipelines.sources._base import Source
from pipelines.sources._files import digest
from pipelines.sources._kept import alone, cache_folder
from pipelines.spec import Spec
from pipelines.step import Kernel, Step

FORMAT = 1
_UNMEASURED = UNKNOWN - 1
_SAVE_SECONDS = 30.0  # what a killed run loses at most
_AT_ONCE = 64  # records that a thread holds
_COLUMN_AT_ONCE = 4096

Make = Callable[[Plan, Source], Engine]


class Size(Step):
    """The size of the first axis that differs from record to record: a scalar int64."""

    batches = False

    def out_spec(self, x: Spec) -> Spec:
        return Spec("int64")

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        axis = x.native("torch").index(x.axes[x.varying[0]])
        return lambda value: torch.tensor(value.shape[axis] if x.is_numeric else len(value))

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        return lambda value: tf.shape(value, tf.int64)[x.varying[0]]

    def bind_tensorflow_rows(self, x: Spec) -> Kernel | None:
        return (lambda values: values.row_lengths()) if len(x.axes) == 1 else None


def kept_lengths(config: Config, plan: Plan, source: Source) -> Lengths | None:
    """The lengths of all records if they are known already; None where they are not. Loads no framework."""
    held = _read(_file(config, plan, source.fingerprint()), len(source))
    return None if held is None or (held == _UNMEASURED).any() else held


def lengths_of(
    config: Config,
    plan: Plan,
    source: Source,
    run: tuple[Plan, Source],
    make: Make,
    only: npt.NDArray[np.int64] | None = None,
) -> Lengths:
    """The length of every record of `source`; those that are not known are measured on the way, in an engine.

    `run` is the plan as it runs and the source that it reads, `make` makes an engine. With `only`, records that are
    wanted have failed before, and are tried anew; others may stay unknown. The result is UNKNOWN for what failed.
    """
    path = _file(config, plan, source.fingerprint())
    with ExitStack() as stack:
        with _can_be_kept(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(alone(path.with_suffix(".lock")))  # of the ranks on a machine, one measures
        held = _read(path, len(source))
        if held is None:
            held = np.full(len(source), _UNMEASURED, _dtype(config, source))
        wanted = np.arange(len(source)) if only is None else only
        todo = wanted[held[wanted] == _UNMEASURED if only is None else held[wanted] < 0]
        if len(todo):
            measured = _column(config, source, todo) if plan.sorted_by is None else _steps(plan, run, make, todo)
            _fill(held, measured, len(todo), path if only is None else None, config)
    return np.maximum(held, UNKNOWN)


@contextmanager
def _can_be_kept(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"cannot keep the lengths of the records in {path.parent}: {error.strerror or error}; "
            "PIPELINES_CACHE names another folder for them"
        ) from error


def lengths_hash(lengths: Lengths) -> str:
    """What a state remembers of the lengths that its position hangs on."""
    return blake2b(lengths.tobytes(), digest_size=8).hexdigest()


class BoundedSource(Source):
    """A source of which a record that is longer than the budget, or whose length is not known, fails to be read."""

    def __init__(self, source: Source, lengths: Lengths, config: Config, plan: Plan) -> None:
        assert config.batch.tokens is not None
        self.values = source.values
        self._engine: Callable[[], Engine | None] = lambda: None
        self._source, self._lengths, self._tokens = source, lengths, config.batch.tokens
        self._field = plan.sorted_by or ""
        self._what = plan.sorted_by or (config.batch.buckets.column if config.batch.buckets else None)
        self._serving = serving_draws(plan)

    def serve(self, engine: Engine) -> None:
        """Tell the engine that reads from it, held weakly: in a circle, worker processes would outlive the pipeline."""
        self._engine = weakref.ref(engine)

    def __len__(self) -> int:
        return len(self._source)

    def key(self, index: int) -> str:
        return self._source.key(index)

    def fingerprint(self) -> str:
        return self._source.fingerprint()

    def read(self, index: int, names: Collection[str]) -> dict[str, Any]:
        length = self._lengths[index]
        if length > self._tokens:
            raise self._refused(
                f"a length of {length:g} is more than a batch may have, batch.tokens={self._tokens:g}; "
                "raise that, or shorten the record"
            )
        raw = self._source.read(index, names)
        if length < 0 and not self._field:
            raise self._refused("expected a number of at least 0")
        if length < 0:
            self._try(raw)
            raise self._refused("its length was not to be had when it was measured; --only-quarantined tries it again")
        return raw

    def _refused(self, reason: str) -> StepFailure:
        return StepFailure(self._field, "batch.tokens", f"{self._what}: {reason}")

    def _try(self, raw: dict[str, Any]) -> None:
        """Let a record that failed when it was measured fail again, so that the reason is the step's own."""
        engine = self._engine()
        assert engine is not None
        sizes: Sizes = {}
        for chain in engine.chains.values():
            if chain.field.sources and raw.keys() >= set(chain.field.sources):
                draws = {stream: engine.to_draw(np.array(draw)) for stream, draw in self._serving.items()}
                chain.value(raw, draws.__getitem__, sizes=sizes)


def _dtype(config: Config, source: Source) -> type[np.int64] | type[np.float64]:
    column = config.batch.buckets.column if config.batch.buckets else None
    return np.float64 if column is not None and source.values[column].dtype.startswith("float") else np.int64


def _file(config: Config, plan: Plan, fingerprint: str) -> Path:
    """Where the lengths of a source's records are kept."""
    wanted = config.batch.buckets
    assert wanted is not None
    if plan.sorted_by is None:
        what: list[Any] = ["column", wanted.column]
    else:
        uses = {field.name: field for field in config.fields}
        field = uses[plan.sorted_by]
        both = [field, *([uses[field.follows]] if field.follows else [])]
        what = [[one.sources, one.optional, [meaning(use, config.base) for use in one.steps]] for one in both]
    label = plan.sorted_by or "column"
    return cache_folder() / "lengths" / f"{label}-{digest(FORMAT, what, fingerprint)}.npy"


def _read(path: Path, records: int) -> Lengths | None:
    try:
        with open(path, "rb") as file:
            held: Lengths = np.load(file, allow_pickle=False)
            checksum = int.from_bytes(file.read(4), "little")
    except (OSError, ValueError, EOFError):
        return None
    sound = held.shape == (records,) and held.dtype in (np.int64, np.float64)
    return held if sound and crc32c.crc32c(held.tobytes()) == checksum else None


def _save(path: Path, lengths: Lengths) -> None:
    new = path.with_suffix(f".{uuid.uuid4().hex}.new")
    with _can_be_kept(path):
        try:
            with open(new, "wb") as file:
                np.save(file, lengths)
                file.write(crc32c.crc32c(lengths.tobytes()).to_bytes(4, "little"))
            os.replace(new, path)
        finally:
            with suppress(OSError):
                new.unlink(missing_ok=True)


Measured = Iterator[tuple[npt.NDArray[np.int64], Lengths]]


def _fill(held: Lengths, measured: Measured, count: int, path: Path | None, config: Config) -> None:
    """Write what is measured into `held`, and keep it in `path` now and then and at the end, also of a stopped run."""
    from pipelines.report.progress import progress

    said = time.monotonic()
    with progress(f"measure {config.path.stem}", count) as watch:
        try:
            for indices, lengths in measured:
                held[indices] = lengths
                watch(len(indices))
                if path is not None and time.monotonic() - said > _SAVE_SECONDS:
                    _save(path, held)
                    said = time.monotonic()
        finally:
            if path is not None:
                _save(path, held)


def _column(config: Config, source: Source, todo: npt.NDArray[np.int64]) -> Measured:
    """The numbers of a column of the source."""
    assert config.batch.buckets is not None
    name = str(config.batch.buckets.column)

    def length(index: int) -> Any:
        try:
            value = source.read(index, [name])[name]
        except (RecordError, OSError):
            return UNKNOWN
        return UNKNOWN if value is None or not 0 <= value < np.inf else value

    for start in range(0, len(todo), _COLUMN_AT_ONCE):
        part = todo[start : start + _COLUMN_AT_ONCE]
        yield part, np.array([length(int(index)) for index in part])


def _steps(plan: Plan, run: tuple[Plan, Source], make: Make, todo: npt.NDArray[np.int64]) -> Measured:
    """The sizes of what a field's steps make, without chance: the plan with one more step, run as it always is."""
    running, source = run
    field = next(field for field in running.fields if field.name == plan.sorted_by)
    sized = _sized(field)
    followed = {node.size_of for node in field.nodes}
    fields = (*(other for other in running.fields if other.name in followed), sized)
    values = {name: running.values[name] for one in fields for name in one.sources}
    nodes = [node for one in fields for node in one.nodes]
    drawn = {stream for node in nodes for stream in (node.stream, *node.shares) if stream is not None}
    serving = {stream: draw for stream, draw in serving_draws(plan).items() if stream in drawn}
    streams = Streams({stream: len(draw) for stream, draw in serving.items()})
    engine = make(Plan(fields, values, streams), source)
    chunks = Grid(len(todo), _AT_ONCE, only=todo).chunks(0, streams)
    for delivered in engine.run(chunk.with_draw(serving) for chunk in chunks):
        lost = np.array([failure.index for failure in delivered.failures], np.int64)
        found = np.zeros(0, np.int64)
        lengths = np.full(len(lost), UNKNOWN)
        if delivered.batch is not None:
            found = np.asarray(delivered.batch["index"])
            lengths = np.concatenate([to_numpy(delivered.batch[field.name], Spec("int64")), lengths])
        yield np.concatenate([found, lost]), lengths


def _sized(field: FieldPlan) -> FieldPlan:
    step = Size()
    nodes = (*field.nodes, Node(step, "size", (field.spec,), (step.out_spec(field.spec),), None))
    return replace(field, nodes=nodes, seam=len(nodes))
