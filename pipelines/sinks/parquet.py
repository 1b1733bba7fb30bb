"""Apache Parquet shards."""

from __future__ import annotations

import json
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.sinks._base import Record, ShardReader, ShardWriter, Sink
from pipelines.sinks._values import columns, encoded, rebuilt, shape_is_stored
from pipelines.spec import Spec

ROW_GROUP_BYTES = 4 << 20  # what a random read decodes at once: small, unlike in files for analytics
HELD_BYTES = 256 << 20
_PARTS = {"complex64": "float32", "complex128": "float64"}


class Parquet(Sink):
    """Parquet shards, for pyarrow.parquet.read_table, pandas, DuckDB and others.

    | value | column |
    | --- | --- |
    | a number | its own type |
    | fixed shape | fixed_size_list of the values in C order: `np.stack(column).reshape(-1, *shape)` |
    | fixed shape, optional or of size 0 | list, as Arrow cannot read such fixed_size_lists back from Parquet |
    | varying shape | list of the values in C order |
    | complex64 | lists of float32 twice as long: real and imaginary part in turn (a number is a list of two) |
    | text; bytes; tokens | string; binary; list of string |
    | absent | null |

    Where the sizes do not follow from the number of values (more than one axis varies, or a fixed one
    is 0) the column `<field>.shape` (list of int64) holds them. `key` and `index` are columns too. The schema's
    metadata entry "pipelines" holds the fields' specs as JSON. Row groups hold about 4 MiB.
    """

    suffix = ".parquet"

    def __init__(self) -> None:
        self._held = _Held(HELD_BYTES)

    def writer(self, path: Path, fields: Mapping[str, Spec]) -> ShardWriter:
        return _Writer(path, fields)

    def reader(self, path: Path, fields: Mapping[str, Spec]) -> ShardReader:
        return _Reader(path, fields, self._held)


def _type(spec: Spec) -> pa.DataType:
    if not spec.is_numeric:
        text = pa.string() if spec.dtype == "text" else pa.binary()
        return pa.list_(_element(text)) if spec.axes else text
    number = pa.from_numpy_dtype(np.dtype(_PARTS.get(spec.dtype, spec.dtype)))
    shape = _stored_shape(spec)
    if not shape:
        return number
    sizes = [size for size in shape if size is not None]
    size = math.prod(sizes) if len(sizes) == len(shape) and not spec.optional else None
    return pa.list_(_element(number), size) if size else pa.list_(_element(number))


def _element(of: pa.DataType) -> pa.Field:
    return pa.field("element", of, nullable=False)


def _stored_shape(spec: Spec) -> tuple[int | None, ...]:
    return (*spec.shape, 2) if spec.dtype in _PARTS else spec.shape


def _schema(fields: Mapping[str, Spec]) -> pa.Schema:
    found = []
    for name, spec in columns(fields).items():
        found.append(pa.field(name, _type(spec), nullable=spec.optional))
        if shape_is_stored(spec):
            found.append(pa.field(f"{name}.shape", pa.list_(_element(pa.int64())), nullable=spec.optional))
    about = {"fields": {name: spec.to_json() for name, spec in fields.items()}}
    return pa.schema(found, metadata={"pipelines": json.dumps(about, sort_keys=True)})


def _dictionaries(fields: Mapping[str, Spec]) -> list[str]:
    """Paths of the columns worth a dictionary: Parquet has no integers below 32 bits, and tokens repeat."""
    found = []
    for name, spec in fields.items():
        small = spec.is_numeric and np.dtype(spec.dtype).kind in "iu" and np.dtype(spec.dtype).itemsize < 4
        if small or (spec.axes and not spec.is_numeric):
            found.append(f"{name}.list.element" if spec.axes else name)
    return found


class _Writer(ShardWriter):
    def __init__(self, path: Path, fields: Mapping[str, Spec]) -> None:
        self._fields = fields
        self._schema = _schema(fields)
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0
        self._file = open(path, "wb", buffering=1 << 20)  # noqa: SIM115  # closed by close
        self._writer = pq.ParquetWriter(
            self._file,
            self._schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=_dictionaries(fields),
            write_page_checksum=True,
        )

    def add(self, record: Record) -> None:
        row = encoded(record, self._fields)
        self._rows.append(row)
        self._bytes += sum(_size(value) for value in row.values())
        if self._bytes >= ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        arrays = []
        for name, spec in columns(self._fields).items():
            values = [row[name] for row in self._rows]
            arrays.append(_array(values, spec))
            if shape_is_stored(spec):
                shapes = [None if value is None else np.array(value.shape, np.int64) for value in values]
                arrays.append(_lists(shapes, pa.list_(_element(pa.int64())), np.dtype(np.int64)))
        self._rows, self._bytes = [], 0
        batch = pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        self._writer.write_table(pa.Table.from_batches([batch]), row_group_size=batch.num_rows)

    def close(self) -> None:
        with self._file:
            try:
                if self._rows:
                    self._flush()
                self._writer.close()
            finally:
                self._writer.is_open = False  # or its destructor would try again after a failure


def _size(value: Any) -> int:
    if isinstance(value, list):
        return sum(map(len, value))
    if isinstance(value, bytes):
        return len(value)
    return 0 if value is None else int(value.nbytes)


def _array(values: Sequence[Any], spec: Spec) -> pa.Array:
    kind = _type(spec)
    if not spec.is_numeric:
        return pa.array(values, kind)
    numbers = np.dtype(_PARTS.get(spec.dtype, spec.dtype))
    if not pa.types.is_nested(kind):
        missing = np.array([value is None for value in values])
        zero = np.zeros((), numbers)
        return pa.array(np.array([zero if v is None else v for v in values], numbers), kind, mask=missing)
    return _lists([None if value is None else value.reshape(-1).view(numbers) for value in values], kind, numbers)


def _lists(values: Sequence[np.ndarray[Any, Any] | None], kind: pa.DataType, numbers: np.dtype[Any]) -> pa.Array:
    flat = pa.array(np.concatenate([np.empty(0, numbers), *(v for v in values if v is not None)]), kind.value_type)
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(flat, type=kind)
    ends = np.cumsum([0, *(0 if v is None else v.size for v in values)], dtype=np.int32)
    missing = pa.array([v is None for v in values]) if any(v is None for v in values) else None
    return pa.ListArray.from_arrays(pa.array(ends), flat, type=kind, mask=missing)


class _Reader(ShardReader):
    """Decodes one column of one row group at a time; those used last are held, within the sink's limit."""

    def __init__(self, path: Path, fields: Mapping[str, Spec], held: _Held) -> None:
        self._path = path
        self._columns = columns(fields)
        self._held = held
        self._metadata = pq.read_metadata(path)
        found = self._metadata.schema.to_arrow_schema()
        wanted = _schema(fields)
        if not found.equals(wanted):
            raise ValueError(f"the columns of {path.name} are not those that its manifest describes")
        groups = (self._metadata.row_group(i).num_rows for i in range(self._metadata.num_row_groups))
        self._starts = np.cumsum([0, *groups])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, number: int, names: Collection[str]) -> dict[str, Any]:
        group = int(np.searchsorted(self._starts, number, side="right")) - 1
        row = number - int(self._starts[group])
        return {name: self._column(group, name)(row) for name in names}

    def _column(self, group: int, name: str) -> Callable[[int], Any]:
        def decode() -> tuple[Callable[[int], Any], int]:
            spec = self._columns[name]
            wanted = [name, f"{name}.shape"] if shape_is_stored(spec) else [name]
            with pq.ParquetFile(self._path, metadata=self._metadata, page_checksum_verification=True) as file:
                table = file.read_row_group(group, columns=wanted, use_threads=False)
            parts = [column.combine_chunks() for column in table.columns]
            return _getter(spec, *parts), table.nbytes

        found: Callable[[int], Any] = self._held.get((self, group, name), decode)
        return found


def _getter(spec: Spec, array: pa.Array, shapes: pa.Array | None = None) -> Callable[[int], Any]:
    """Gives the value of one row of a decoded column."""
    present = None if array.null_count == 0 else array.is_valid().to_numpy(zero_copy_only=False)
    if not spec.is_numeric:
        return lambda row: array[row].as_py()
    if pa.types.is_nested(array.type):
        flat = array.flatten().to_numpy(zero_copy_only=False)
        if pa.types.is_list(array.type):
            ends = np.cumsum(np.concatenate([[0], array.value_lengths().fill_null(0).to_numpy()]))
        else:
            ends = np.arange(len(array) + 1) * array.type.list_size
    else:
        zero = pa.scalar(np.zeros((), spec.dtype)[()], array.type)
        flat = array.fill_null(zero).to_numpy(zero_copy_only=False)
        ends = np.arange(len(array) + 1)
    flat = flat.view(spec.dtype)
    scale = 2 if spec.dtype in _PARTS else 1

    def get(row: int) -> Any:
        if present is not None and not present[row]:
            return None
        values = flat[ends[row] // scale : ends[row + 1] // scale]
        return rebuilt(values, spec, None if shapes is None else shapes[row].values.to_numpy())

    return get


class _Held:
    """The values made last, up to a number of bytes; a value that many threads ask for is made once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._bytes = 0

    def get(self, key: Hashable, make: Callable[[], tuple[Any, int]]) -> Any:
        """The value of `key`; `make` gives it and its size."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key][0]
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._values:
                    return self._values[key][0]
            try:
                value, size = make()
                with self._lock:
                    self._values[key] = value, size
                    self._bytes += size
                    while self._bytes > self._limit and len(self._values) > 1:
                        self._bytes -= self._values.popitem(last=False)[1][1]
            finally:
                with self._lock:
                    self._making.pop(key, None)
        return value


SINK = Parquet
