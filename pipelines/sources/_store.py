"""The indexed store: records of any data set in Arrow IPC files, memory-mapped, read without a framework.

A store is a folder: `store.json` (what the values are, how many records each file holds) and
`part-N.arrow`. A new part begins where a record brings a new value or a wider type. A record that
could not be read when the store was made is kept with its key and the reason.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.errors import RecordError, SourceError
from pipelines.sources._base import Source
from pipelines.sources._kinds import Kind, arrow_type, classify, decode, encode, flatten, merge, spec_of

FORMAT = 1
ROWS_PER_BATCH = 4096
BYTES_PER_BATCH = 16 << 20


class StoreWriter:
    """Writes a store into an existing folder. Memory in use is bounded by one batch."""

    def __init__(self, folder: Path) -> None:
        self.records = 0
        self.failed = 0
        self.first_failure = ""
        self.kinds: dict[str, Kind] = {}
        self._folder = folder
        self._parts: list[dict[str, Any]] = []
        self._rows: list[tuple[str, str | None, Mapping[str, Any]]] = []
        self._bytes = 0
        self._file: Any = None
        self._part_kinds: dict[str, Kind] = {}

    def add(self, key: str, values: Mapping[str, Any]) -> None:
        """Append a record; one that holds what cannot be kept becomes a failed record."""
        try:
            flat = flatten(values)
            kinds = dict(self.kinds)
            for name, value in flat.items():
                kinds[name] = merge(kinds.get(name), classify(name, value), name)
        except RecordError as e:
            self.fail(key, str(e))
            return
        self.kinds = kinds
        self._append(key, None, flat)

    def fail(self, key: str, reason: str) -> None:
        """Append a record that cannot be read, with the reason."""
        self.failed += 1
        self.first_failure = self.first_failure or f"{key}: {reason}"
        self._append(key, reason.encode("utf-8", "backslashreplace").decode(), {})

    def close(self) -> None:
        """Finish the store."""
        self._flush()
        self._end_part()
        held = {
            "format": FORMAT,
            "records": self.records,
            "failed": self.failed,
            "values": {name: asdict(kind) for name, kind in self._held().items()},
            "parts": self._parts,
        }
        (self._folder / "store.json").write_text(json.dumps(held, indent=1), encoding="utf-8")

    def names(self) -> list[str]:
        """The names of the values so far."""
        return list(self._held())

    def _held(self) -> dict[str, Kind]:
        """The kinds without the names that hold nothing but the absence of a nested mapping."""
        return {
            name: kind
            for name, kind in self.kinds.items()
            if kind.form != "null" or not any(other.startswith(f"{name}.") for other in self.kinds)
        }

    def _append(self, key: str, reason: str | None, values: Mapping[str, Any]) -> None:
        self.records += 1
        self._rows.append((key, reason, values))
        self._bytes += sum(_size(value) for value in values.values())
        if len(self._rows) >= ROWS_PER_BATCH or self._bytes >= BYTES_PER_BATCH:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        # the sizes of arrays may still change, the columns do not depend on them
        if self._file is None or _columns(self.kinds) != _columns(self._part_kinds):
            self._begin_part()
        columns = [pa.array([key for key, _, _ in self._rows], pa.large_utf8())]
        columns.append(pa.array([reason for _, reason, _ in self._rows], pa.large_utf8()))
        for name, kind in self._part_kinds.items():
            cells = [encode(values.get(name), kind) for _, _, values in self._rows]
            columns.append(pa.array(cells, arrow_type(kind)))
        batch = pa.record_batch(columns, schema=self._schema)
        self._file.write_batch(batch)
        self._parts[-1]["batches"].append(len(self._rows))
        self._rows, self._bytes = [], 0

    def _begin_part(self) -> None:
        self._end_part()
        self._part_kinds = dict(self.kinds)
        name = f"part-{len(self._parts)}.arrow"
        self._schema = pa.schema(
            [
                ("key", pa.large_utf8()),
                ("error", pa.large_utf8()),
                *((f".{n}", arrow_type(k)) for n, k in self._part_kinds.items()),
            ]
        )
        self._file = pa.ipc.new_file(str(self._folder / name), self._schema)
        self._parts.append({"file": name, "batches": [], "values": _columns(self._part_kinds)})

    def _end_part(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            last = self._parts[-1]
            last["bytes"] = (self._folder / last["file"]).stat().st_size


def _columns(kinds: Mapping[str, Kind]) -> dict[str, list[str]]:
    return {name: [kind.form, kind.dtype] for name, kind in kinds.items()}


def _size(value: Any) -> int:
    if isinstance(value, (bytes, str)):
        return len(value)
    return int(getattr(value, "nbytes", 16))


class Store(Source):
    """A finished store."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        try:
            held = json.loads((folder / "store.json").read_text(encoding="utf-8"))
            self._kinds = {name: Kind(**{**k, "shape": tuple(k["shape"])}) for name, k in held["values"].items()}
            self._starts: list[int] = []
            self._batches: list[tuple[Any, Mapping[str, Kind]]] = []
            begin = 0
            for part in held["parts"]:
                path = folder / Path(part["file"]).name
                if path.stat().st_size != part["bytes"]:
                    raise ValueError(f"{path.name} has another size")
                file = pa.ipc.open_file(pa.memory_map(str(path)))
                kinds = {name: Kind(*kind) for name, kind in part["values"].items()}
                for number, rows in enumerate(part["batches"]):
                    self._starts.append(begin)
                    self._batches.append((file.get_batch(number), kinds))
                    begin += rows
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as e:
            raise SourceError(f"the kept copy in {folder} is damaged ({e}); delete that folder and run again") from e
        self.values = {name: spec_of(kind) for name, kind in self._kinds.items()}
        self.failed: int = held["failed"]
        self._records: int = held["records"]
        self._fingerprint = fingerprint

    def __len__(self) -> int:
        return self._records

    def key(self, index: int) -> str:
        batch, _, row = self._find(index)
        return str(batch.column(0)[row].as_py())

    def read(self, index: int, names: Collection[str]) -> dict[str, Any]:
        batch, held, row = self._find(index)
        reason = batch.column(1)[row].as_py()
        if reason is not None:
            raise RecordError(reason)
        return {
            name: decode(batch.column(f".{name}")[row].as_py(), held[name], self._kinds[name]) if name in held else None
            for name in names
        }

    def fingerprint(self) -> str:
        return self._fingerprint

    def _find(self, index: int) -> tuple[Any, Mapping[str, Kind], int]:
        if not 0 <= index < self._records:
            raise IndexError(f"record {index} of {self._records}")
        number = bisect_right(self._starts, index) - 1
        batch, held = self._batches[number]
        return batch, held, index - self._starts[number]
