"""The PyTorch engine: threads, each making whole batches of the grid; and steps as modules.

One task is one batch: read and per-record steps row by row, then stack, then the remaining steps
on the whole batch, on the device. The kernels release the GIL, so threads use all cores, and
nothing has to be copied between processes.
"""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipelines.errors import UserError
from pipelines.grid import Chunk, Failure
from pipelines.plan import FieldPlan, Plan
from pipelines.runtime._chain import Chain, Sizes, StepFailure, is_machines_fault, read_raw, reason_of
from pipelines.runtime._clock import FINISH, IDLE, MOVE, READ, STACK, TURN, Clock, Place
from pipelines.runtime._engine import Batch, Delivered, Engine
from pipelines.runtime._lanes import Lanes, cores
from pipelines.sources._base import Source

AHEAD = 2
"""Batches kept ready beyond those in the threads' hands."""

AT_ONCE = 1 << 18
"""Values that go through the steps on the batch together on a CPU; a whole batch of photos takes half as long again."""

Row = tuple[int, dict[str, Any]]


class TorchEngine(Engine):
    """Runs a plan on torch tensors."""

    framework = "torch"

    def __init__(
        self, plan: Plan, source: Source, fills: bool, device: str = "auto", threads: int | None = None
    ) -> None:
        super().__init__(plan, source, fills)
        self.device = find_device(device)
        self.threads = threads or cores()
        self.lanes = Lanes(self.threads, fixed=threads is not None)
        self._stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        self.clock.settle = self._settle()
        for chain in self.chains.values():
            chain.clock = self.clock
        self._batch_places = [Place(node.name, "step") for node in plan.batch_nodes]

    def _settle(self) -> Callable[[], None] | None:
        if self._stream is not None:
            return self._stream.synchronize
        return torch.mps.synchronize if self.device.type == "mps" else None

    def to_draw(self, variates: npt.NDArray[np.float64]) -> torch.Tensor:
        return torch.from_numpy(variates)

    def rounded(self, value: torch.Tensor, dtype: str) -> torch.Tensor:
        return value.to(getattr(torch, dtype))

    def run(self, chunks: Iterable[Chunk]) -> Iterator[Delivered]:
        pool = _Workers(self.threads, self.clock)
        waiting: deque[Future[tuple[Delivered, Any]]] = deque()
        self.lanes.start()
        try:
            for chunk in chunks:
                waiting.append(pool.submit(self.make, chunk))
                if len(waiting) >= self.threads + AHEAD:
                    yield self._hand_over(waiting)
            while waiting:
                yield self._hand_over(waiting)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _hand_over(self, waiting: deque[Future[tuple[Delivered, Any]]]) -> Delivered:
        recording = self.clock.recording
        if recording is not None:
            recording.ready.append(sum(future.done() for future in waiting))
            recording.room = self.threads + AHEAD
        future = waiting.popleft()
        ready = future.done()
        delivered, done = future.result()
        self.lanes.delivered(len(delivered.positions), waited=not ready)
        if done is not None and delivered.batch is not None:
            stream = torch.cuda.current_stream(self.device)
            stream.wait_event(done)  # orders the consumer's work after ours without stopping the host
            for value in delivered.batch.values():
                if isinstance(value, torch.Tensor) and value.is_cuda:
                    value.record_stream(stream)
        return delivered

    def make(self, chunk: Chunk) -> tuple[Delivered, Any]:
        """One batch, and the CUDA event after which it is there; runs in a worker thread or process."""
        self.clock.at(TURN)
        with self.lanes, torch.no_grad(), torch.cuda.stream(self._stream) if self._stream else nullcontext():
            self.clock.at(READ)
            failures: list[Failure] = []
            rows = self._host(chunk, failures)
            try:
                batch = self._batch(chunk, rows)
            except Exception as error:
                if is_machines_fault(error):
                    raise
                rows = self._sift(chunk, rows, failures, error)
                batch = self._batch(chunk, rows)
            positions = chunk.positions[[row for row, _ in rows]]
            failures.sort(key=lambda failure: failure.position)
            done = self._stream.record_event() if self._stream else None
            self.clock.at(IDLE)
        return Delivered(chunk, batch, positions, tuple(failures)), done

    def _host(self, chunk: Chunk, failures: list[Failure]) -> list[Row]:
        """The rows of a chunk up to each field's seam, a step at a time; those that fail go to `failures`."""
        raws: dict[int, dict[str, Any]] = {}
        for row, index in enumerate(chunk.indices):
            try:
                raws[row] = read_raw(self.source, int(index), self.plan.values)
                self.clock.has_read(raws[row])
            except StepFailure as error:
                failures.append(self.failure(chunk, row, error))
        draws = {row: self.row_draws(chunk, row) for row in raws}
        sizes: dict[int, Sizes] = {row: {} for row in raws}
        values: dict[int, dict[str, Any]] = {row: {} for row in raws}
        for name, chain in self.chains.items():
            live = list(values)
            column = chain.column([raws[r] for r in live], [draws[r] for r in live], [sizes[r] for r in live])
            for row, value in zip(live, column, strict=True):
                if isinstance(value, StepFailure):
                    failures.append(self.failure(chunk, row, value))
                    del values[row]
                else:
                    values[row][name] = value
        return list(values.items())

    def _sift(self, chunk: Chunk, rows: list[Row], failures: list[Failure], error: Exception) -> list[Row]:
        """After a failed batch stage: each row alone, so that only those that fail are lost."""
        kept = []
        for row, values in rows:
            try:
                for name, chain in self.chains.items():
                    self._rest(chain, {0: values[name]}, chunk, [row])
            except Exception as reason:
                if is_machines_fault(reason):
                    raise
                place = f"{name}, on the batch"
                failures.append(self.failure(chunk, row, StepFailure(name, place, reason_of(reason))))
            else:
                kept.append((row, values))
        if len(kept) == len(rows):
            raise error
        return kept

    def _batch(self, chunk: Chunk, rows: Sequence[Row]) -> Batch | None:
        """The rows as one batch on the device, with filler rows where the engine fills."""
        if not rows and not self.fills:
            return None
        numbers = [row for row, _ in rows]
        filler = max(chunk.fill - len(rows), 0)
        indices = [int(chunk.indices[row]) for row in numbers]
        batch: Batch = {"key": [self.source.key(i) for i in indices] + [""] * filler}
        batch["index"] = torch.tensor(indices + [-1] * filler, dtype=torch.int64)
        for field in self.plan.fields:
            values = {place: row_values[field.name] for place, (_, row_values) in enumerate(rows)}
            batch.update(self._rest(self.chains[field.name], values, chunk, numbers, filler))
        # not strict: compare takes the kernels away, to run them one by one
        for (node, kernel), place in zip(self.batch_kernels, self._batch_places, strict=False):
            self.clock.at(place)
            names = [*node.step.fields, *(f"{name}_length" for name in node.step.fields if node.step.packs)]
            draw = [] if node.stream is None else [torch.from_numpy(chunk.batch_draws[node.stream])]
            for name, made in kernel(*(batch[name][: len(rows)] for name in names), *draw).items():
                missing = len(rows) + filler - len(made) if self.fills else 0
                batch[name] = torch.cat([made, made.new_zeros(missing, *made.shape[1:])]) if missing else made
        self.clock.at(FINISH)
        if self.fills:
            batch["_valid"] = torch.arange(len(rows) + filler) < len(rows)
        batch = self._finished(batch)
        on_device = {name: v.to(self.device) for name, v in batch.items() if isinstance(v, torch.Tensor)}
        return batch | on_device

    def _rest(
        self, chain: Chain, values: Mapping[int, Any], chunk: Chunk, numbers: Sequence[int], filler: int = 0
    ) -> Batch:
        """Stack one field's values and run its remaining nodes on the batch."""
        self.clock.at(STACK)
        field = chain.field
        count = len(values) + filler
        present = [place for place, value in values.items() if value is not None]
        if not field.spec.is_numeric:
            empty: Any = [] if field.spec.axes else ""
            out = {field.name: [values[i] if values.get(i) is not None else empty for i in range(count)]}
            return out | _extras(field, values, count, present)
        held = _stack(field, values, count)
        if self.device.type != "cpu":
            self.clock.at(MOVE)
        if self._stream is not None:
            held = held.pin_memory()
        held = held.to(self.device, non_blocking=True)
        draws = {
            stream: torch.from_numpy(_padded(chunk.draws[stream][list(numbers)], count))
            for stream in (node.stream for node in field.nodes[field.seam :])
            if stream is not None
        }
        if field.seam < len(field.nodes):
            held = self._on_batch(chain, held, draws)
            self.clock.at(STACK)
        if len(present) < count:
            keep = torch.zeros(count, dtype=torch.bool)
            keep[present] = True
            shape = (count,) + (1,) * (held.ndim - 1)
            zero = torch.zeros((), dtype=held.dtype, device=held.device)
            held = torch.where(keep.to(held.device).view(shape), held, zero)
        return {field.name: held} | _extras(field, values, count, present)

    def _on_batch(self, chain: Chain, held: torch.Tensor, draws: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """A field's nodes behind the seam; on a CPU some rows at a time, so that its cache holds what flows between."""

        def run(rows: slice) -> torch.Tensor:
            given = {stream: draw[rows] for stream, draw in draws.items()}
            carried = chain.run(((held[rows], None),), given.__getitem__, chain.field.seam, len(chain.field.nodes), {})
            made: torch.Tensor = carried[0][0]
            return made

        every = max(1, AT_ONCE // max(1, held[0].numel()))
        if held.device.type != "cpu" or every >= len(held):
            return run(slice(None))
        first = run(slice(every))
        made = first.new_empty(len(held), *first.shape[1:])
        made[:every] = first
        for start in range(every, len(held), every):
            made[start : start + every] = run(slice(start, start + every))
        return made


def _padded(draws: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    return np.concatenate([draws, np.zeros((count - len(draws), draws.shape[1]))])


def _stack(field: FieldPlan, values: Mapping[int, Any], count: int) -> torch.Tensor:
    """[count, ...] of one field at its seam, padded with zeros at the ends of the varying axes."""
    axes = field.stacked.native("torch")
    tensors = [value for value in values.values() if value is not None]
    if len(tensors) == count and field.stacked.is_fixed:
        return torch.stack(tensors)
    if len(tensors) == count and field.stacked.shape == (None,):
        return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True)  # as below, in one call
    shape = [max((t.shape[i] for t in tensors), default=0) if a.size is None else a.size for i, a in enumerate(axes)]
    held = torch.zeros((count, *shape), dtype=getattr(torch, field.stacked.dtype))
    for place, value in values.items():
        if value is not None:
            held[place][tuple(slice(n) for n in value.shape)] = value
    return held


def _extras(field: FieldPlan, values: Mapping[int, Any], count: int, present: Sequence[int]) -> Batch:
    """`<field>_length` of what varies in size, `<field>_mask` of what may be absent."""
    out: Batch = {}
    if field.spec.varying:
        names = [axis.name for axis in field.spec.native("torch")]
        places = [names.index(field.spec.axes[axis].name) for axis in field.spec.varying]
        lengths = [[0] * len(places)] * count
        for place in present:
            shape = values[place].shape if field.spec.is_numeric else (len(values[place]),)
            lengths[place] = [shape[i] for i in places]
        held = torch.tensor(lengths, dtype=torch.int64)
        out[f"{field.name}_length"] = held[:, 0] if len(places) == 1 else held
    if field.optional:
        mask = torch.zeros(count, dtype=torch.bool)
        mask[list(present)] = True
        out[f"{field.name}_mask"] = mask
    return out


class _Workers(ThreadPoolExecutor):
    """Threads in which torch runs each op on one core: the parallelism is between batches."""

    def __init__(self, threads: int, clock: Clock) -> None:
        mine = torch.get_num_threads()
        super().__init__(threads, thread_name_prefix="pipelines", initializer=_begin, initargs=(clock,))
        started = threading.Barrier(threads + 1)
        for _ in range(threads):
            self.submit(started.wait)
        started.wait()
        torch.set_num_threads(mine)  # the setting is per thread, but threads to come inherit the last one made


def _begin(clock: Clock) -> None:
    on_one_core()
    clock.at(IDLE)


def on_one_core() -> None:
    """Lets this thread's torch ops run on this thread alone.

    torch.set_num_threads is per thread for OpenMP, but for the whole process in MKL, whose setting for one thread
    torch does not pass on; without it FFTs and products of two workers would each start threads for all cores.
    """
    torch.set_num_threads(1)
    torch.get_num_threads()  # a thread's first question, or op, sets it to what was last set anywhere: ask before that
    with suppress(OSError, AttributeError):  # a build of torch without MKL
        library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
        ctypes.CDLL(str(library)).MKL_Set_Num_Threads_Local(1)


def find_device(name: str) -> torch.device:
    """The torch device called `name`; "auto" takes CUDA, then MPS, then the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"device {name!r}: expected auto, cpu, cuda, cuda:N or mps") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device {name!r}: PyTorch sees {torch.cuda.device_count()} CUDA devices")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("device 'mps': PyTorch sees no Apple GPU here")
    return device
