"""One framework's side of `compare`, in a process of its own: it does what the driver asks, line by line.

Requests and answers are lines of JSON on stdin and stdout; values go to files.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from importlib import import_module, metadata
from itertools import cycle
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from pipelines import companions
from pipelines.config import read_config
from pipelines.errors import PipelineError
from pipelines.grid import Chunk
from pipelines.native import LIBRARIES, to_native, to_numpy
from pipelines.pipeline import Pipeline
from pipelines.plan import BatchNode
from pipelines.report._compare_wire import Arrays, Place, put, put_carried, read, take_carried, write
from pipelines.runtime._chain import Carried, Chain, Sizes, StepFailure, is_machines_fault, read_raw, reason_of
from pipelines.runtime._engine import Delivered
from pipelines.spec import Spec
from pipelines.step import BatchStep, HostStep, Step, passed_to_host

BATCH = "batch"
COUNT = Spec("int64")
HOST = "one NumPy binding on the host, the same on both frameworks"
IN_PYTHON = "Python on the host for the records that no operation of the graph is right for"

Answer = dict[str, Any]


class Worker:
    """A pipeline on one framework, and the requests it answers: each public method is one."""

    def __init__(self, request: Answer) -> None:
        self.framework: str = request["framework"]
        begin = time.perf_counter()
        import_module(f"pipelines.runtime.{self.framework}")
        imported = time.perf_counter()
        config = read_config(Path(request["config"]), tuple(request["sets"]), self.framework)
        self.pipe = Pipeline(config, device=request["device"], threads=request["threads"], limit=request["limit"])
        self.engine, self.epoch = self.pipe.engine, int(request["epoch"])
        self.loaded = {
            "import_seconds": imported - begin,
            "bind_seconds": time.perf_counter() - imported,
            "device": str(getattr(self.engine, "device", "cpu")).lower(),
            "versions": _versions(self.framework),
        }
        self._values: Iterator[Delivered] | None = None

    def warm(self, places: list[Place], seconds: float) -> Answer:
        """Seconds to the first batch, and about how many records a second follow it in `seconds`."""
        begin = time.perf_counter()
        end = float("inf")
        first = records = 0.0

        def until_end() -> Iterator[Place]:
            for place in cycle(places):
                yield place
                if time.perf_counter() >= end:
                    return

        for delivered in self.engine.run(self._chunks(until_end())):
            self._settle()
            if first:
                records += len(delivered.chunk.indices)
            else:
                first = time.perf_counter() - begin
                end = time.perf_counter() + seconds
        after = time.perf_counter() - begin - first
        return {"first_batch_seconds": first, "rate": records / after if records else 0.0}

    def round(self, places: list[Place], times: int, skip: int) -> Answer:
        """Seconds and records of `times` times some batches after the first `skip`, while which a run gets going."""
        begin, records = time.perf_counter(), 0
        chunks = self._chunks(place for _ in range(times) for place in places)
        for number, delivered in enumerate(self.engine.run(chunks)):
            if number < skip:
                self._settle()
                begin = time.perf_counter()
            else:
                records += len(delivered.chunk.indices)
        self._settle()
        return {"seconds": time.perf_counter() - begin, "records": records}

    def memory(self) -> Answer:
        """The largest resident memory that this process had so far, in MiB."""
        return {"mib": peak_memory_mib()}

    def leans(self) -> Answer:
        """The steps that use something else than a library of this framework, and why."""
        found = []
        plan = self.pipe.plan
        used: list[tuple[str, int, str, Step, tuple[Spec, ...]]] = [
            (field.name, number, node.name, node.step, node.takes)
            for field in plan.fields
            for number, node in enumerate(field.nodes)
        ]
        used += [(BATCH, number, one.name, one.step, one.takes) for number, one in enumerate(plan.batch_nodes)]
        for field, number, name, step, takes in used:
            where = {"field": field, "step": name, "number": number}
            found += [where | one for one in _leans(step, self.framework, takes)]
        return {"leans": found}

    def batch(self, places: list[Place], file: str) -> Answer:
        """The records of the next batch, values in `file`, and those that failed; `done` after the last."""
        if self._values is None:
            self._values = self.engine.run(self._chunks(places))
        delivered = next(self._values, None)
        if delivered is None:
            return {"done": True}
        arrays: Arrays = {}
        for row, record in enumerate(self.engine.unbatch(delivered)):
            for name, spec in self.pipe.plan.specs.items():
                put(arrays, f"{name}/{row}", record[name], spec)
        write(Path(file), arrays)
        failures = [
            {"position": f.position, "field": f.field, "step": f.step, "reason": f.reason} for f in delivered.failures
        ]
        return {"start": delivered.chunk.start, "positions": delivered.positions.tolist(), "failures": failures}

    def give(self, index: int, file: str, fields: list[str] | None = None) -> Answer:
        """What flows before and after every node for one record, written to `file`; where the record fails.

        With `fields`, of these alone.
        """
        draws = self.engine.row_draws(self.pipe.chunk_of(index, self.epoch), 0)
        arrays: Arrays = {}
        failures = []
        sizes: Sizes = {}
        passed = 0
        with self._calm():
            try:
                raw = read_raw(self.pipe.source, index, self.pipe.plan.values)
                for chain in self.engine.whole.values():
                    if chain.is_absent(raw) or (fields is not None and chain.field.name not in fields):
                        continue
                    for passed, carried in enumerate(chain.walk(raw, draws, sizes=sizes)):
                        self._put(arrays, chain, passed, carried)
            except StepFailure as error:
                if error.step != "read":
                    failures.append({"field": error.field, "number": passed, "reason": error.reason})
        write(Path(file), arrays)
        return {"failures": failures}

    def repeat(self, index: int, given: str, file: str) -> Answer:
        """Each node by itself on the inputs that the other framework had, results written to `file`."""
        draws = self.engine.row_draws(self.pipe.chunk_of(index, self.epoch), 0)
        arrays: Arrays = {}
        failures = []
        sizes: Sizes = {}
        with self._calm(), read(Path(given)) as inputs:
            for name, chain in self.engine.whole.items():
                for number in range(len(chain.field.nodes)):
                    carried = take_carried(inputs, f"{name}/{number}", chain.field.spec_before(number))
                    if carried is None:
                        break
                    try:
                        native = self._native(carried, chain.field.spec_before(number))
                        result = chain.run(native, draws, number, number + 1, sizes)
                        self._put(arrays, chain, number + 1, result)
                    except Exception as error:
                        if is_machines_fault(error):
                            raise
                        failures.append({"field": name, "number": number, "reason": reason_of(error)})
        write(Path(file), arrays)
        return {"failures": failures}

    def give_batch(self, place: Place, file: str) -> Answer:
        """What flows into and out of each step on the finished batch, one by one; TensorFlow's are in its graph."""
        chunk = next(self._chunks([place]))
        kernels, self.engine.batch_kernels = self.engine.batch_kernels, []
        try:
            (delivered,) = self.engine.run([chunk])
        finally:
            self.engine.batch_kernels = kernels
        arrays: Arrays = {}
        failures: list[Answer] = []
        rows = len(delivered.positions)
        if delivered.batch is not None and rows:
            specs = {field.name: field.spec for field in self.pipe.plan.fields}
            held = {
                name: to_numpy(value, specs.get(name, COUNT))[:rows]
                for name, value in delivered.batch.items()
                if (name in specs and specs[name].is_numeric) or name.endswith("_length")
            }
            for number, (node, _) in enumerate(kernels):
                given = [held[name] for name in _reads(node)]
                arrays |= {f"{number}/in/{i}": value for i, value in enumerate(given)}
                made = self._batch_step(number, chunk, given, failures)
                arrays |= {f"{number}/out/{name}": value for name, value in made.items()}
                held |= made
                if failures:
                    break
        write(Path(file), arrays)
        return {"failures": failures}

    def repeat_batch(self, place: Place, given: str, file: str) -> Answer:
        """Each step on the finished batch by itself, on the inputs that the other framework had."""
        chunk = next(self._chunks([place]))
        arrays: Arrays = {}
        failures: list[Answer] = []
        with read(Path(given)) as inputs:
            for number, (node, _) in enumerate(self.engine.batch_kernels):
                names = [f"{number}/in/{i}" for i in range(len(_reads(node)))]
                if names[0] in inputs:
                    made = self._batch_step(number, chunk, [inputs[name] for name in names], failures)
                    arrays |= {f"{number}/out/{name}": value for name, value in made.items()}
        write(Path(file), arrays)
        return {"failures": failures}

    def _batch_step(self, number: int, chunk: Chunk, given: list[Any], failures: list[Answer]) -> Arrays:
        """The entries that one step on the batch makes of NumPy values; none where it fails, which is noted."""
        node, kernel = self.engine.batch_kernels[number]
        specs = (*node.takes, *[COUNT] * len(node.takes))
        draw = [] if node.stream is None else [self.engine.to_draw(chunk.batch_draws[node.stream])]
        gives = dict(zip(node.step.fields, node.gives, strict=True))
        try:
            with self._calm():
                native = [to_native(value, spec, self.framework) for value, spec in zip(given, specs, strict=False)]
                made = kernel(*native, *draw).items()
                return {name: np.ascontiguousarray(to_numpy(value, gives.get(name, COUNT))) for name, value in made}
        except Exception as error:
            if is_machines_fault(error):
                raise
            failures.append({"number": number, "reason": reason_of(error)})
            return {}

    def _put(self, arrays: Arrays, chain: Chain, number: int, carried: Carried) -> None:
        specs = chain.field.spec_before(number)
        values = tuple(to_numpy(value, spec) for (value, _), spec in zip(carried, specs, strict=True))
        rates = tuple(None if rate is None else int(rate) for _, rate in carried)
        put_carried(arrays, f"{chain.field.name}/{number}", values, rates, specs)

    def _native(self, carried: Carried, specs: tuple[Spec, ...]) -> Carried:
        def rate_of(rate: int | None) -> Any:
            if rate is None or self.framework == "torch":
                return rate
            import tensorflow as tf

            return tf.constant(rate, tf.int64)

        pairs = zip(carried, specs, strict=True)
        return tuple((to_native(value, spec, self.framework), rate_of(rate)) for (value, rate), spec in pairs)

    def _chunks(self, places: Iterable[Place]) -> Iterator[Chunk]:
        return (self.pipe.grid.chunk(self.epoch, self.pipe.plan.streams, *place) for place in places)

    def _settle(self) -> None:
        """Wait for the device, so that the clock does not run ahead of the work."""
        if self.framework == "torch":
            import torch

            if torch.cuda.is_available() and torch.cuda.is_initialized():
                torch.cuda.synchronize()
        else:
            import tensorflow as tf

            tf.test.experimental.sync_devices()

    def _calm(self) -> AbstractContextManager[Any]:
        """Single records go through the kernels on the CPU, without gradients."""
        if self.framework == "torch":
            import torch

            return torch.no_grad()
        import tensorflow as tf

        device: AbstractContextManager[Any] = tf.device("/CPU:0")
        return device


def _reads(node: BatchNode) -> list[str]:
    """The entries of a batch that a step on it is handed."""
    return [*node.step.fields, *(f"{name}_length" for name in node.step.fields if node.step.packs)]


def _leans(step: Step, framework: str, takes: tuple[Spec, ...]) -> list[dict[str, str]]:
    if isinstance(step, HostStep):
        return [{"kind": "host", "uses": HOST, "why": "it is a host step"}]
    with companions.missed() as lacking, passed_to_host() as passed:
        for specs in [takes] if step.joins or isinstance(step, BatchStep) else [(spec,) for spec in takes]:
            step.bind(framework, *specs)
    found = [
        {"kind": "library", "uses": f"{companions.INSTEAD[n]} instead of {n}", "why": companions.why_not(n) or ""}
        for n in dict.fromkeys(lacking)
    ]
    why = f"pipelines steps {step.step_name()} says why"
    return found + [{"kind": "host", "uses": IN_PYTHON, "why": why}] * bool(passed)


def _versions(framework: str) -> dict[str, str]:
    found = {}
    for library in LIBRARIES[framework]:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            found[library] = "not installed"
    return found


def peak_memory_mib() -> float:
    """The largest resident memory of this process, in MiB."""
    try:  # getrusage also counts the process that started this one
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024
    except (OSError, StopIteration):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 1024)


def main(folder: str) -> None:
    """Answer requests; the first one says what to load. `folder` is the driver's, for values and logs.

    When the driver is gone, killed or not, this process ends in the midst of its work, and the folder goes with it.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not come between the answers
    requests: SimpleQueue[Answer] = SimpleQueue()
    worker: Worker | None = None

    def listen() -> None:
        for line in sys.stdin:
            requests.put(json.loads(line))
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)

    def answer(do: str, **request: Any) -> Answer:
        nonlocal worker
        try:
            if do == "load":
                worker = Worker(request)
                return worker.loaded
            made: Answer = getattr(worker, do)(**request)
            return made
        except PipelineError as error:
            return {"error": str(error), "exit_code": error.exit_code}

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    with suppress(BrokenPipeError):  # nobody is left to answer
        while True:
            answers.write(json.dumps(answer(**requests.get())) + "\n")
            answers.flush()
    listener.join()
