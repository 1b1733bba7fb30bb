"""The PyTorch engine in processes: whole batches of the grid, each made in one of several spawned processes.

For steps that hold the interpreter's lock, which threads cannot run side by side. Each process has the pipeline made
anew from its config, and is handed chunks in turn; it gives back the batch in one piece of shared memory. All the
steps run on the CPU there, and the finished batch is moved to the device here.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

import torch
import torch.multiprocessing  # lets tensors travel in shared memory

from pipelines.errors import PipelineError
from pipelines.grid import Chunk
from pipelines.plan import Plan
from pipelines.runtime._engine import Batch, Delivered
from pipelines.runtime.torch import AHEAD, TorchEngine, on_one_core
from pipelines.sources._base import Source

if TYPE_CHECKING:
    from pipelines.pipeline import Pipeline

ALIGNED = 64
_READY, _MADE, _FAILED, _SHARED = range(4)
_SHARE = "share"
_MEANS = {
    signal.SIGKILL: " (the system does so when memory is short)",
    signal.SIGBUS: " (as when /dev/shm is full)",
}
SHOWN = 8  # keys of a batch, in a message
_START_HINT = (
    "what it said stands above; a script that asks for processes has to run its own work under "
    '`if __name__ == "__main__":`, since each of them imports it'
)


class ProcessEngine(TorchEngine):
    """A TorchEngine whose batches are made in processes; those live until the engine goes, or an epoch is cut short.

    `remake` makes the pipeline in a process; it travels there pickled.
    """

    def __init__(
        self,
        plan: Plan,
        source: Source,
        fills: bool,
        device: str,
        threads: int | None,
        remake: Callable[[], Pipeline],
    ) -> None:
        super().__init__(plan, source, fills, device, threads)
        self._remake = remake
        self._pool: _Pool | None = None

    def run(self, chunks: Iterable[Chunk]) -> Iterator[Delivered]:
        if self._pool is None:
            self._pool = _Pool(self._remake, self.threads, self.source.key)
            weakref.finalize(self, self._pool.close)
        pool = self._pool
        waiting: deque[tuple[_Worker, Chunk]] = deque()
        finished = False
        try:
            for number, chunk in enumerate(chunks):
                worker = pool.workers[number % len(pool.workers)]
                worker.send(chunk)
                waiting.append((worker, chunk))
                if len(waiting) >= len(pool.workers) + AHEAD:
                    yield self._received(*waiting.popleft())
            while waiting:
                yield self._received(*waiting.popleft())
            for worker in pool.workers:
                worker.share()
            finished = True
        finally:
            if not finished:  # what is under way is nobody's any more
                self._pool = None
                pool.close()

    def _received(self, worker: _Worker, chunk: Chunk) -> Delivered:
        held, layout, positions, failures = worker.answer(_MADE)
        if held is None:
            return Delivered(chunk, None, positions, failures)
        cuda = self.device.type == "cuda"
        held = held.pin_memory().to(self.device, non_blocking=True) if cuda else held.to(self.device, copy=True)
        batch = {name: value.of(held) if isinstance(value, _Place) else value for name, value in layout.items()}
        return Delivered(chunk, batch, positions, failures)


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies in the bytes of a batch."""

    start: int
    stop: int
    dtype: torch.dtype
    shape: tuple[int, ...]

    def of(self, held: torch.Tensor) -> torch.Tensor:
        return held[self.start : self.stop].view(self.dtype).view(self.shape)


def _packed(batch: Batch) -> tuple[torch.Tensor, Batch]:
    """The tensors of a batch in one piece of shared memory, and the batch with their places in their stead."""
    tensors = {name: value for name, value in batch.items() if isinstance(value, torch.Tensor)}
    places, end = {}, 0
    for name, value in tensors.items():
        start = -(-end // ALIGNED) * ALIGNED
        end = start + value.numel() * value.element_size()
        places[name] = _Place(start, end, value.dtype, tuple(value.shape))
    held = torch.empty(max(end, 1), dtype=torch.uint8).share_memory_()
    for name, value in tensors.items():
        places[name].of(held).copy_(value)
    return held, {name: places.get(name, value) for name, value in batch.items()}


class _Pool:
    """The processes."""

    def __init__(self, remake: Callable[[], Pipeline], count: int, key: Callable[[int], str]) -> None:
        context = torch.multiprocessing.get_context("spawn")
        self.workers: list[_Worker] = []
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited: Ctrl-C is for this process alone
        try:
            for _ in range(count):
                self.workers.append(_Worker(context, remake, key))
        except BaseException:
            self.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def close(self) -> None:
        """End the processes, whatever they do."""
        for worker in self.workers:
            worker.end()
        for worker in self.workers:
            worker.process.join()


class _Worker:
    """One process, seen from the consumer's."""

    def __init__(self, context: Any, remake: Callable[[], Pipeline], key: Callable[[int], str]) -> None:
        self._key = key
        self._connection, theirs = context.Pipe()
        self._at = torch.zeros(1, dtype=torch.int64).share_memory_()  # chunks begun: which one it ended in
        self._sent: list[Chunk] = []
        self._done = 0
        self._ready = False
        self.process = context.Process(target=_serve, args=(theirs, self._at, remake), daemon=True)
        self.process.start()
        theirs.close()

    def send(self, chunk: Chunk) -> None:
        self._sent.append(chunk)
        with suppress(OSError):  # it has ended, as its answer will show
            self._connection.send(chunk)

    def answer(self, kind: int) -> Any:
        """The next thing that the process gives, which is of `kind`; PipelineError when it has ended instead."""
        if not self._ready and kind != _READY:
            self.answer(_READY)
            self._ready = True
        wait([self._connection, self.process.sentinel])
        try:
            found, *given = self._connection.recv()
        except (EOFError, OSError) as error:
            raise PipelineError(self._how_it_ended()) from error
        if found == _FAILED:
            its, text = given
            raise its from PipelineError(f"in a worker process:\n{text}")
        assert found == kind, f"expected an answer of kind {kind}, got {found}"
        if kind == _MADE:
            self._done += 1
            del self._sent[:1]
        return given

    def share(self) -> None:
        """Have it show other processes what it keeps in a cache."""
        if self._ready:
            with suppress(OSError):  # as above
                self._connection.send(_SHARE)
            self.answer(_SHARED)

    def end(self) -> None:
        self._connection.close()
        self.process.terminate()

    def _how_it_ended(self) -> str:
        self.process.join(5)
        code = self.process.exitcode
        if code is None:
            how = "stopped answering"
        elif code >= 0:
            how = f"ended with exit code {code}"
        else:
            how = f"was ended by {signal.Signals(-code).name}{_MEANS.get(-code, '')}"
        if not self._ready:
            return f"a worker process {how} before it had started: {_START_HINT}"
        chunk = self._sent[min(max(int(self._at) - 1 - self._done, 0), len(self._sent) - 1)]
        keys = ", ".join(repr(self._key(int(index))) for index in chunk.indices[:SHOWN])
        more = len(chunk.indices) - SHOWN
        return (
            f"a worker process {how} while it made the batch of positions {chunk.start} to {chunk.stop - 1} "
            f"of epoch {chunk.epoch}, of the records {keys}{f' and {more} more' if more > 0 else ''}"
        )


def _serve(connection: Connection, at: torch.Tensor, remake: Callable[[], Pipeline]) -> None:
    """What runs in a process: chunks come in, batches go out, until the consumer's end is closed."""
    asked: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def listen() -> None:  # in a thread, so that neither side waits for the other to take what it sends
        with suppress(EOFError, OSError):
            while True:
                asked.put(connection.recv())
        os._exit(0)  # nobody is left to work for

    threading.Thread(target=listen, daemon=True).start()
    try:
        on_one_core()
        pipe = remake()
        engine = pipe.engine
        assert isinstance(engine, TorchEngine)
        connection.send((_READY,))
        while True:
            chunk = asked.get()
            if isinstance(chunk, str):
                pipe.share_kept()
                connection.send((_SHARED,))
                continue
            at += 1
            made, _ = engine.make(chunk)
            packed = (None, {}) if made.batch is None else _packed(made.batch)
            connection.send((_MADE, *packed, made.positions, made.failures))
    except BaseException as error:
        connection.send((_FAILED, _sendable(error), traceback.format_exc()))


def _sendable(error: BaseException) -> BaseException:
    """The error, or one that says the same where it cannot be pickled."""
    from multiprocessing.reduction import ForkingPickler

    with suppress(Exception):
        if str(ForkingPickler.loads(ForkingPickler.dumps(error))) == str(error):
            return error
    return PipelineError(f"{type(error).__name__}: {error}")
