"""The TensorFlow engine: one tf.data graph that makes whole batches of the grid.

The control stream feeds tickets into the graph, one for each chunk of the grid. One call of Python
reads a chunk's rows. A small data set of these is mapped through the per-record steps, stripped of
the rows that failed and batched; then the remaining steps run on the batch. Batches keep their
order and their holes. Rows that are missing from a batch are replayed alone, eagerly, which tells
the step and the reason.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pipelines.errors import ANOTHER_BEGAN, PipelineError, UserError
from pipelines.grid import Chunk, Failure
from pipelines.guard import after
from pipelines.native import unconverted
from pipelines.plan import Plan
from pipelines.runtime._chain import Chain, Sizes, StepFailure, is_machines_fault, read_raw
from pipelines.runtime._clock import GRAPH, READ
from pipelines.runtime._ending import calls
from pipelines.runtime._engine import Delivered, Engine
from pipelines.runtime._gpu import share_gpus
from pipelines.runtime._lanes import cores
from pipelines.runtime._wire import pack, signature, unpack
from pipelines.sources._base import Source

AHEAD = 2
"""Batches kept ready beyond those being made."""

_TICKET = tf.TensorSpec((2,), tf.int64)
"""What stands for a chunk in the graph: the run that it belongs to, and its number there."""

share_gpus()


class TensorflowEngine(Engine):
    """Runs a plan in a tf.data graph."""

    framework = "tensorflow"

    def __init__(
        self, plan: Plan, source: Source, fills: bool, device: str = "auto", threads: int | None = None
    ) -> None:
        super().__init__(plan, source, fills)
        self.device = find_device(device)
        self.threads = threads or cores()
        self._pending: dict[int, dict[int, Chunk]] = {}
        """The chunks under way of the last run, in order, by their numbers."""
        self._runs = 0
        self._waiting: deque[tuple[int, Iterable[Chunk]]] = deque()
        self._data: tf.data.Dataset | None = None
        self._stopped: Exception | None = None
        self._columns = frozenset(name for name, chain in self.chains.items() if chain.takes_columns)
        self._given = self._signature()
        self._alone = tf.function(partial(self._of_ticket, frozenset()), [_TICKET], autograph=False)
        self._remake = tf.function(partial(self._batch, frozenset()), [*self._given.values()], autograph=False)
        self._at_once = tf.function(partial(self._of_ticket, self._columns), [_TICKET], autograph=False)

    def to_draw(self, variates: npt.NDArray[np.float64]) -> tf.Tensor:
        return tf.constant(variates)

    def rounded(self, value: tf.Tensor, dtype: str) -> tf.Tensor:
        return tf.cast(value, dtype)

    def run(self, chunks: Iterable[Chunk]) -> Iterator[Delivered]:
        run = self._open()
        self._waiting.append((run, chunks))
        if self._data is None:  # traced once, then iterated for every epoch
            self._data = self._graph(self._next_run)
        for element in self._data:
            account = element.pop("_account").numpy()
            yield from self._accounted(int(account[0]), int(account[1]), account[2:], self._on_device(element))
        yield from self._accounted(run, None, np.zeros(0, np.int64), None)
        self._raise_stopped()

    def _next_run(self) -> Iterator[Any]:
        run, chunks = self._waiting.popleft()
        yield from self._control(chunks, run)

    def dataset(
        self,
        epochs: Callable[[], Iterable[Chunk]],
        account: Callable[[Delivered], None],
        close: Callable[[], None],
        state: Callable[[Chunk], str],
        batches: int | None,
    ) -> tf.data.Dataset:
        """A data set that starts the next epoch each time it is iterated, and reports what it delivers.

        `batches` is the length of every epoch, where failures do not change it.
        """
        through: set[int] = set()  # the run of which every chunk is under way

        def epoch() -> Iterator[Any]:
            run = self._open()
            through.clear()
            yield from self._control(epochs(), run)
            through.add(run)

        def told(batches: Iterable[Delivered]) -> Chunk | None:
            chunk = None
            for delivered in batches:
                if delivered.batch:  # made again after the graph gave up on it, and past the point of delivery
                    raise PipelineError("; ".join(f"{f.key}: {f.step}: {f.reason}" for f in delivered.failures))
                account(delivered)
                chunk = delivered.chunk
            return chunk

        def note(account: npt.NDArray[np.int64]) -> Any:
            if account[0] != self._runs:
                raise UserError(ANOTHER_BEGAN)
            chunk = told(self._accounted(int(account[0]), int(account[1]), account[2:], {}))
            assert chunk is not None, "every batch belongs to a chunk"
            return np.array(state(chunk).encode(), dtype=object)

        def finish() -> Iterator[Any]:
            run = self._runs
            if calls.ended or run not in through:  # the end of an older iterator
                return
            told(self._accounted(run, None, np.zeros(0, np.int64), None))
            self._raise_stopped()
            close()
            yield from ()

        def report(element: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            account = element.pop("_account")
            element["_state"] = tf.ensure_shape(tf.numpy_function(calls(note), [account], tf.string), ())
            return element

        data = self._graph(epoch).map(report, num_parallel_calls=1)
        end = tf.data.Dataset.from_generator(finish, output_signature=data.element_spec)
        data = data.concatenate(end).prefetch(AHEAD)
        return data if batches is None else data.apply(tf.data.experimental.assert_cardinality(batches))

    def _open(self) -> int:
        self._runs += 1
        self._pending = {self._runs: {}}  # an older run, which may have been given up, is not gone on with
        return self._runs

    def _control(self, chunks: Iterable[Chunk], run: int) -> Iterator[Any]:
        """The control stream: a ticket for each chunk, which is noted as being under way."""
        under_way = self._pending.get(run, {})
        try:
            for number, chunk in enumerate(chunks):
                if calls.ended or run != self._runs:
                    return
                under_way[number] = chunk
                yield np.array([run, number])
        except Exception as error:  # the graph passes over errors, and would end as if all were done
            self._stopped = error

    def _raise_stopped(self) -> None:
        if self._stopped is not None:
            error, self._stopped = self._stopped, None
            raise error

    def _on_device(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The batch with its numbers on the device; text stays in the host's memory, where alone it can be."""
        if self.device == "CPU":
            return dict(batch)
        with tf.device(f"/{self.device}"):
            return {name: value if value.dtype == tf.string else tf.identity(value) for name, value in batch.items()}

    def _graph(self, control: Callable[[], Iterator[Any]]) -> tf.data.Dataset:
        data = tf.data.Dataset.from_generator(control, output_signature=_TICKET)
        data = data.map(unconverted(self._make), num_parallel_calls=self.threads, deterministic=True)
        data = data.ignore_errors(log_warning=False).prefetch(AHEAD)
        options = tf.data.Options()
        options.threading.private_threadpool_size = self.threads
        options.threading.max_intra_op_parallelism = 1  # the parallelism is between batches
        options.autotune.enabled = False  # nothing is left to it, and the end of an epoch waits for it up to 0.6 s
        return data.with_options(options)

    def _signature(self) -> dict[str, tf.TensorSpec]:
        """What `_read` gives of a chunk: what it is filled up to, how many rows it has; those read, and their draws."""
        number, vector = tf.TensorSpec((), tf.int64), tf.TensorSpec((None,), tf.int64)
        given = dict.fromkeys(("fill", "planned"), number) | dict.fromkeys(("_position", "index"), vector)
        given["key"] = tf.TensorSpec((None,), tf.string)
        given |= {f"cell {name}": tf.TensorSpec((None,), kind) for name, kind in signature(self.plan.values).items()}
        streams = self.plan.streams
        given |= {f"draw {name}": tf.TensorSpec((None, count), tf.float64) for name, count in streams.record.items()}
        return given | {f"batch {name}": tf.TensorSpec((count,), tf.float64) for name, count in streams.batch.items()}

    def _make(self, ticket: tf.Tensor) -> dict[str, tf.Tensor]:
        """One batch, in the graph; fails as a whole when no row is left.

        Fields of which each step takes many records at once go through as columns. If that fails, be it for one of the
        records or since they are too different, the batch is made again row by row. The graph itself cannot catch an
        error but by a data set of one element, which costs as much as the work.
        """
        if not self._columns:
            return self._of_ticket(frozenset(), ticket)
        specs: dict[str, tf.TensorSpec] = self._at_once.get_concrete_function().structured_outputs

        def make(ticket: tf.Tensor) -> list[tf.Tensor]:
            try:
                made = self._at_once(ticket)
            except tf.errors.OpError as error:
                if is_machines_fault(error) or calls.ended:
                    raise
                made = self._alone(ticket)  # traced only when it is needed
            return [made[name] for name in specs]

        made = tf.py_function(calls(make), [ticket], [spec.dtype for spec in specs.values()])
        return {name: tf.ensure_shape(m, spec.shape) for (name, spec), m in zip(specs.items(), made, strict=True)}

    def _of_ticket(self, columns: frozenset[str], ticket: tf.Tensor) -> dict[str, tf.Tensor]:
        """The batch of the chunk that a ticket stands for."""
        kinds = [spec.dtype for spec in self._given.values()]
        batch = self._batch(columns, *tf.numpy_function(calls(self._read), [ticket], kinds))
        batch["_account"] = tf.concat([ticket, batch.pop("_position")], 0)  # one tensor costs least
        return batch

    def _batch(self, columns: frozenset[str], *values: tf.Tensor) -> dict[str, tf.Tensor]:
        """One batch of what was read: the fields named in `columns` as columns, the others row by row."""
        given = {n: tf.ensure_shape(v, spec.shape) for (n, spec), v in zip(self._given.items(), values, strict=True)}
        fill, planned = given.pop("fill"), given.pop("planned")
        batch_draws = {name: given.pop(f"batch {name}") for name in self.plan.streams.batch}
        cells = {name: given.pop(f"cell {name}") for name in signature(self.plan.values)}
        rows = given  # what is left
        held: dict[str, tf.Tensor] = {}
        by_row = self.chains.keys() - columns
        if by_row:
            held = self._by_row(by_row, fill if self.fills else planned, cells, rows)
            kept = tf.boolean_mask(held.pop("_row"), held["_valid"])
            rows, cells = tf.nest.map_structure(lambda column: tf.gather(column, kept), (rows, cells))
        for name in columns:
            held |= {n: self._filled(value, fill) for n, value in self._column(self.chains[name], cells).items()}
        held |= {name: self._filled(value, fill) for name, value in rows.items()}
        count = tf.shape(rows["index"], tf.int64)[0]
        if self.fills:
            held["_valid"] = tf.range(fill) < count
        else:
            some = tf.debugging.assert_positive(count, "no row is left")
            held["_valid"] = tf.fill([after([some], count)], True)
        return self._finished(self._rest(held, batch_draws))

    def _filled(self, value: tf.Tensor, fill: tf.Tensor) -> tf.Tensor:
        """The rows, and behind them filler rows where the engine fills."""
        if not self.fills:
            return value
        sizes = tf.shape(value, tf.int64)
        missing = tf.concat([[fill - sizes[0]], sizes[1:]], 0)
        return tf.concat([value, tf.zeros(missing, value.dtype)], 0)

    def _column(self, chain: Chain, cells: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """A field's values at its seam, stacked or padded, and their lengths."""
        (name,) = chain.field.sources
        present = tf.debugging.Assert(tf.reduce_all(cells[f"{name} present"]), ["absent"])
        value = chain.rows(after([present], cells[name]))
        if isinstance(value, tf.RaggedTensor):
            return {chain.field.name: value.to_tensor(), f"{chain.field.name}_length": value.row_lengths()[:, None]}
        return {chain.field.name: tf.ensure_shape(value, (None, *chain.field.stacked.shape))}

    def _by_row(
        self, names: Collection[str], count: tf.Tensor, cells: Mapping[str, tf.Tensor], rows: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """The fields called `names` at their seams, stacked or padded; `_row` tells the places of those left.

        There are up to `count` rows, and just so many where the engine fills.
        """
        places = tf.range(tf.shape(rows["index"], tf.int64)[0])
        draws = {name: rows[f"draw {name}"] for name in self.plan.streams.record}
        table = tf.data.Dataset.from_tensor_slices((places, dict(cells), draws))
        made = table.map(partial(self._host, names)).ignore_errors(log_warning=False)
        if self.fills:
            blank = {
                name: tf.zeros([n or 0 for n in spec.shape], spec.dtype) for name, spec in made.element_spec.items()
            }
            made = made.concatenate(tf.data.Dataset.from_tensors(blank).repeat(count)).take(count)
        shapes = {name: spec.shape for name, spec in made.element_spec.items()}
        held: dict[str, tf.Tensor] = made.padded_batch(tf.maximum(count, 1), padded_shapes=shapes).get_single_element()
        return held

    def _read(self, ticket: npt.NDArray[np.int64]) -> list[npt.NDArray[Any]]:
        """`_rows` of the chunk that a ticket stands for; a KeyError, which the graph passes over, after its run."""
        run, number = ticket.tolist()
        self.clock.at(READ)
        rows = self._rows(self._pending[run][number])
        self.clock.at(GRAPH)
        return rows

    def _rows(self, chunk: Chunk) -> list[npt.NDArray[Any]]:
        """What `_signature` says of a chunk, without the rows that cannot be read.

        The reason why one cannot comes from the replay.
        """
        places: list[int] = []
        packed: list[dict[str, Any]] = []
        for place, index in enumerate(chunk.indices.tolist()):
            with suppress(StepFailure):
                raw = read_raw(self.source, index, self.plan.values)
                self.clock.has_read(raw)
                packed.append(pack(raw, self.plan.values))
                places.append(place)
        keys = np.array([self.source.key(int(index)).encode() for index in chunk.indices[places]], dtype=object)
        numbers = [np.array(number, np.int64) for number in (chunk.fill, len(chunk.indices))]
        rows = [column[places] for column in (chunk.positions, chunk.indices)]
        kinds = signature(self.plan.values).items()
        columns = [np.array([cells[name] for cells in packed], dtype=kind.as_numpy_dtype) for name, kind in kinds]
        draws = [chunk.draws[name][places] for name in self.plan.streams.record]
        batch_draws = [chunk.batch_draws[name] for name in self.plan.streams.batch]
        return [*numbers, *rows, keys, *columns, *draws, *batch_draws]

    def _host(
        self, names: Collection[str], row: tf.Tensor, cells: dict[str, tf.Tensor], draws: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """One row up to each field's seam, in the graph."""
        out = {"_row": row, "_valid": tf.constant(True)}
        sizes: Sizes = {}
        for name in (name for name in self.chains if name in names):
            chain = self.chains[name]
            value, present = self._value(chain, cells, draws, sizes)
            value = tf.ensure_shape(value, chain.field.stacked.shape)
            out[name] = value
            if chain.field.optional:
                out[f"{name}_mask"] = present
            if chain.field.spec.varying:
                out[f"{name}_length"] = tf.gather(tf.shape(value, tf.int64), chain.field.spec.varying)
        return out

    def _value(
        self, chain: Chain, cells: Mapping[str, tf.Tensor], draws: Mapping[str, tf.Tensor], sizes: Sizes
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """A field's value at its seam, and whether it is there; an absent one is empty or zero."""
        names = chain.field.sources
        present = tf.reduce_all([cells[f"{name} present"] for name in names])

        def there() -> tf.Tensor:
            carried = tuple((unpack(cells, name, self.plan.values[name]), None) for name in names)
            return chain.run(carried, draws.__getitem__, 0, chain.field.seam, sizes)[0][0]

        if not chain.field.optional:
            with tf.control_dependencies([tf.debugging.Assert(present, ["absent"])]):
                return tf.identity(there()), present
        spec = chain.field.stacked
        kind = tf.as_dtype(spec.dtype) if spec.is_numeric else tf.string
        return tf.cond(present, there, lambda: tf.zeros([n or 0 for n in spec.shape], kind)), present

    def _rest(self, held: dict[str, tf.Tensor], batch_draws: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The remaining steps on the stacked rows; filler rows and absent values are zero afterwards."""
        batch = {name: held[name] for name in ("_position", "key", "index")}
        if self.fills:
            batch["_valid"] = held["_valid"]
            batch["index"] = tf.where(held["_valid"], held["index"], -1)
            batch["_position"] = tf.where(held["_valid"], held["_position"], -1)
        draws = {stream: held[f"draw {stream}"] for stream in self.plan.streams.record}
        for field in self.plan.fields:
            name, chain = field.name, self.chains[field.name]
            value = held[name]
            if field.seam < len(field.nodes):
                value = chain.run(((value, None),), draws.__getitem__, field.seam, len(field.nodes), {})[0][0]
                value = tf.ensure_shape(value, (None, *field.spec.shape))
            keep = held[f"{name}_mask"] if field.optional else held["_valid"]
            if field.spec.is_numeric and (field.optional or self.fills):
                shape = tf.concat([tf.shape(keep), tf.ones([len(field.spec.axes)], tf.int32)], 0)
                value = tf.where(tf.reshape(keep, shape), value, tf.zeros((), value.dtype))
            batch[name] = value
            if f"{name}_length" in held:
                length = held[f"{name}_length"]
                batch[f"{name}_length"] = length[:, 0] if len(field.spec.varying) == 1 else length
            if field.optional:
                batch[f"{name}_mask"] = keep
        count = tf.reduce_sum(tf.cast(held["_valid"], tf.int32))
        for node, kernel in self.batch_kernels:
            names = [*node.step.fields, *(f"{name}_length" for name in node.step.fields if node.step.packs)]
            draw = [] if node.stream is None else [batch_draws[node.stream]]
            for name, made in kernel(*(batch[name][:count] for name in names), *draw).items():
                missing = tf.shape(batch["key"])[0] - tf.shape(made)[0] if self.fills else 0
                filled = tf.pad(made, [[0, missing], *[[0, 0]] * (len(made.shape) - 1)])
                batch[name] = tf.ensure_shape(filled, (None, *made.shape[1:]))
        return batch

    def _accounted(
        self, run: int, number: int | None, positions: npt.NDArray[np.int64], batch: dict[str, Any] | None
    ) -> Iterator[Delivered]:
        """A run's chunks up to that of a number (None: all that are left), every row accounted for.

        `positions` are those of the rows that it made, -1 for filler rows.
        """
        pending = self._pending.get(run)
        if pending is None:
            raise UserError(ANOTHER_BEGAN)
        for under_way in list(pending):
            chunk = pending.pop(under_way)
            if under_way == number:
                kept = positions[positions >= 0]
                whole = np.array_equal(kept, chunk.positions)
                lost = [] if whole else np.flatnonzero(~np.isin(chunk.positions, kept)).tolist()
                failures = [self._replay(chunk, row) for row in lost]
                if None in failures:
                    key = self.source.key(int(chunk.indices[lost[failures.index(None)]]))
                    raise PipelineError(f"record {key!r} failed in the graph, but alone it does not")
                yield Delivered(chunk, batch, kept, tuple(f for f in failures if f is not None))
                return
            yield self._remade(chunk)
        self._pending.pop(run, None)

    def _replay(self, chunk: Chunk, row: int) -> Failure | None:
        """What is wrong with a row that the graph lost; None when nothing is."""
        try:
            raw = read_raw(self.source, int(chunk.indices[row]), self.plan.values)
            sizes: Sizes = {}
            for chain in self.chains.values():
                chain.value(raw, self.row_draws(chunk, row), sizes=sizes)
        except StepFailure as error:
            return self.failure(chunk, row, error)
        return None

    def _remade(self, chunk: Chunk) -> Delivered:
        """A chunk of which the graph gave nothing: its failures, and a batch of the rows that are good."""
        failures = [self._replay(chunk, row) for row in range(len(chunk.indices))]
        good = [row for row, failure in enumerate(failures) if failure is None]
        lost = tuple(failure for failure in failures if failure is not None)
        if not good:
            return Delivered(chunk, None, np.zeros(0, np.int64), lost)
        if not lost:
            last = chunk.stop - 1
            raise PipelineError(f"the batch of positions {chunk.start} to {last} failed, its records alone do not")
        given = zip(self._rows(chunk.part(good)), self._given.values(), strict=True)
        batch = self._remake(*(tf.convert_to_tensor(value, spec.dtype) for value, spec in given))
        del batch["_position"]
        return Delivered(chunk, batch, chunk.positions[good], lost)


def find_device(name: str) -> str:
    """The TensorFlow device called `name`, as "CPU" or "GPU:N"; "auto" takes a GPU where there is one."""
    gpus = len(tf.config.list_physical_devices("GPU"))
    kind, _, number = name.partition(":")
    if name == "cpu" or (name == "auto" and not gpus):
        return "CPU"
    if name != "auto" and (kind != "cuda" or not (number or "0").isdigit()):
        raise UserError(f"device {name!r}: TensorFlow takes auto, cpu, cuda or cuda:N")
    if int(number or 0) >= gpus:
        raise UserError(f"device {name!r}: TensorFlow sees {gpus} GPUs")
    return f"GPU:{int(number or 0)}"
