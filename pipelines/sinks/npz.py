"""NumPy .npz shards."""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.sinks._base import Record, ShardReader, ShardWriter, Sink
from pipelines.sinks._files import read_range
from pipelines.sinks._values import columns, dtype_of, encoded, from_bytes, npy_header, rebuilt, write_npy
from pipelines.spec import Spec

Array = np.ndarray[Any, Any]
_FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip archive can hold
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_NPY_HEADER_LIMIT = 1 << 12


class Npz(Sink):
    """NumPy .npz shards, uncompressed, for numpy.load(path, allow_pickle=False).

    | value | arrays |
    | --- | --- |
    | fixed shape | `<field>` dtype[records, ...] |
    | varying shape | `<field>` dtype[values of all records], `<field>.offsets` int64[records + 1] into it, |
    | | `<field>.shape` int64[records, axes] |
    | text, bytes | `<field>` uint8[bytes of all records], UTF-8; `<field>.offsets` int64[records + 1] into it |
    | tokens | `<field>` uint8[bytes of all tokens], `<field>.token_offsets` int64[tokens + 1] into it, |
    | | `<field>.offsets` int64[records + 1] into the tokens |
    | optional | beside these, `<field>.present` bool[records]; an absent row is zero or empty |

    Record r of a varying field is `a["f"][o[r]:o[r + 1]].reshape(a["f.shape"][r])` with `o = a["f.offsets"]`.
    `key` and `index` are stored as a text and an int64. A shard is held in memory until it is complete.
    """

    suffix = ".npz"

    def writer(self, path: Path, fields: Mapping[str, Spec]) -> ShardWriter:
        return _Writer(path, fields)

    def reader(self, path: Path, fields: Mapping[str, Spec]) -> ShardReader:
        return _Reader(path, fields)


class _Writer(ShardWriter):
    def __init__(self, path: Path, fields: Mapping[str, Spec]) -> None:
        self._fields = fields
        self._rows: dict[str, list[Any]] = {name: [] for name in columns(fields)}
        self._file = open(path, "wb")  # noqa: SIM115  # closed by close

    def add(self, record: Record) -> None:
        for name, value in encoded(record, self._fields).items():
            self._rows[name].append(value)

    def close(self) -> None:
        with self._file, zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED) as archive:
            for field, spec in columns(self._fields).items():
                for name, array in _arrays(field, spec, self._rows.pop(field)).items():
                    member = zipfile.ZipInfo(f"{name}.npy", _FIRST_DAY)
                    member.external_attr = 0o644 << 16
                    with archive.open(member, "w", force_zip64=True) as file:
                        write_npy(file, array)


def _arrays(name: str, spec: Spec, rows: Sequence[Any]) -> dict[str, Array]:
    """The arrays that hold one field's values of all records."""
    found: dict[str, Array] = {}
    if not spec.is_numeric:
        if spec.axes:
            tokens = [token for row in rows for token in row or ()]
            found[name] = np.frombuffer(b"".join(tokens), np.uint8)
            found[f"{name}.token_offsets"] = _offsets(tokens)
        else:
            found[name] = np.frombuffer(b"".join(row or b"" for row in rows), np.uint8)
        found[f"{name}.offsets"] = _offsets([row or () for row in rows])
    elif spec.varying:
        empty = np.zeros([size or 0 for size in spec.shape], dtype_of(spec))
        arrays = [empty if row is None else row for row in rows]
        found[name] = np.concatenate([np.empty(0, dtype_of(spec)), *(array.reshape(-1) for array in arrays)])
        found[f"{name}.offsets"] = np.cumsum([0, *(array.size for array in arrays)], dtype="<i8")
        found[f"{name}.shape"] = np.array([array.shape for array in arrays], "<i8").reshape(len(rows), len(spec.axes))
    else:
        sizes = [size for size in spec.shape if size is not None]  # every one: nothing varies
        stacked = found[name] = np.zeros((len(rows), *sizes), dtype_of(spec))
        for number, row in enumerate(rows):
            if row is not None:
                stacked[number] = row
    if spec.optional:
        found[f"{name}.present"] = np.array([row is not None for row in rows], bool)
    return found


def _offsets(items: Sequence[Any]) -> Array:
    return np.cumsum([0, *map(len, items)], dtype="<i8")


@dataclass(frozen=True)
class _Member:
    """An array inside the archive: where its first value stands in the file."""

    path: Path
    start: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def rows(self, first: int, last: int) -> Array:
        """Rows [first, last) of the array."""
        if not 0 <= first <= last <= self.shape[0]:
            raise ValueError(f"{self.path.name} is damaged: rows {first} to {last} of {self.shape[0]} are asked for")
        row = math.prod(self.shape[1:]) * self.dtype.itemsize
        data = read_range(self.path, self.start + first * row, (last - first) * row)
        return np.frombuffer(data, self.dtype).reshape(last - first, *self.shape[1:])

    def all(self) -> Array:
        return self.rows(0, self.shape[0])


def _members(path: Path) -> dict[str, _Member]:
    found = {}
    with zipfile.ZipFile(path) as archive:
        listed = archive.infolist()
    for info in listed:
        head = _LOCAL_HEADER.unpack(read_range(path, info.header_offset, _LOCAL_HEADER.size))
        start = info.header_offset + _LOCAL_HEADER.size + head[-2] + head[-1]  # after the name and the extra field
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{info.filename} in {path.name} is compressed")
        header = io.BytesIO(read_range(path, start, min(info.file_size, _NPY_HEADER_LIMIT)))
        try:
            shape, dtype = npy_header(header, info.file_size)
        except ValueError as error:
            raise ValueError(f"{info.filename} in {path.name} is damaged: {error}") from error
        found[info.filename.removesuffix(".npy")] = _Member(path, start + header.tell(), dtype, shape)
    return found


class _Reader(ShardReader):
    """Offsets and shapes are held in memory; the values of a record are read when it is asked for."""

    def __init__(self, path: Path, fields: Mapping[str, Spec]) -> None:
        members = _members(path)
        self._length = members["index"].shape[0]
        self._get = {name: _column(name, spec, members) for name, spec in columns(fields).items()}

    def __len__(self) -> int:
        return self._length

    def read(self, number: int, names: Collection[str]) -> dict[str, Any]:
        return {name: self._get[name](number) for name in names}


def _column(name: str, spec: Spec, members: Mapping[str, _Member]) -> Callable[[int], Any]:
    values = members[name]
    if spec.optional:
        present = members[f"{name}.present"].all()
        stored = _column(name, spec.but(optional=False), members)
        return lambda number: stored(number) if present[number] else None
    if spec.is_numeric and values.dtype != dtype_of(spec):
        raise ValueError(f"{name}: expected {spec}, got {values.dtype}")
    if spec.is_numeric and not spec.varying:
        return lambda number: rebuilt(values.rows(number, number + 1).reshape(-1), spec)
    offsets = members[f"{name}.offsets"].all()

    def span(number: int) -> Array:
        return values.rows(int(offsets[number]), int(offsets[number + 1]))

    if spec.is_numeric:
        shape = members[f"{name}.shape"].all()
        return lambda number: rebuilt(span(number), spec, shape[number])
    if not spec.axes:
        return lambda number: from_bytes(span(number).tobytes(), spec)
    bounds = members[f"{name}.token_offsets"].all()

    def tokens(number: int) -> list[Any]:
        ends = bounds[offsets[number] : offsets[number + 1] + 1]
        data = values.rows(int(ends[0]), int(ends[-1])).tobytes()
        inside = (ends - ends[0]).tolist()
        return [from_bytes(data[a:b], spec) for a, b in pairwise(inside)]

    return tokens


SINK = Npz
