"""Rows of a table: CSV, TSV, JSONL or Parquet."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

from pipelines.errors import RecordError, SourceError, nearest
from pipelines.sources import _store
from pipelines.sources._base import Source, SourceConfig
from pipelines.sources._files import digest, read_file, state_of, state_of_all
from pipelines.sources._kept import kept
from pipelines.sources._kinds import flatten
from pipelines.sources._rows import LARGEST_ROW_GROUP, LONGEST_LINE, format_of, rows_of
from pipelines.sources._windows import window
from pipelines.spec import BYTES
from pipelines.step import ConfigPath

Type = Literal["int", "float", "text"]


def _number(kind: type[int] | type[float], value: Any) -> int | float:
    if isinstance(value, str) and "_" in value:  # Python would read 1_000
        raise ValueError(value)
    number = kind(value)
    if isinstance(value, float) and number != value:
        raise ValueError(value)
    return number


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value.tolist() if isinstance(value, np.ndarray) else value)


CONVERT: Mapping[Type, Callable[[Any], Any]] = {
    "int": lambda value: _number(int, value),
    "float": lambda value: _number(float, value),
    "text": _text,
}


class Window(BaseModel):
    """The columns, in seconds, that say which part of a sound file belongs to a row."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    offset: str | None = None
    duration: str | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.offset is None and self.duration is None:
            raise ValueError("expected the name of a column in offset, duration or both, got neither")
        return self


class Manifest(SourceConfig):
    """Each row of a table is a record. The ending of `path` says which: .csv, .tsv, .jsonl (or .gz of these), .parquet.

    Values: the columns, those nested in JSONL and Parquet joined by dots (`captions.en`). The cells of CSV and
    TSV are text unless `types` says int or float; JSONL and Parquet bring their own types (int64, float64, bool,
    text, bytes, lists of numbers as arrays, other lists as JSON text). The columns in `files` hold paths,
    relative to `root` (default: the folder of the manifest), and give the bytes of those files.
    `windows` takes a part of the sound files of a column in `files`: from the column of offsets on, for the column of
    durations, both in seconds (`windows: {audio: {offset: start, duration: length}}`). Either may be left out, and an
    empty cell too is the beginning, or all that is left. The value is then a WAV file of those samples alone, which
    audio.decode reads as it would the whole: integers of the file's depth, float32 for Ogg, MP3 and others. Nothing
    else of the file is read, nor checked; only of compressed files other than FLAC all before the part is decoded too.
    Key: the column `key`, or the number of the row, from 0.
    Absent (None): null of JSONL and Parquet, and the empty cell of a column in `files` or of type int or
    float. An empty cell of text is the empty text.
    A table without a header row has its names in `columns`. CSV is quoted (RFC 4180), TSV is not. A row that
    is not valid, a value that is not of its type, or a path that leads out of `root`, fails its record alone.
    A table of text with a line of more than `max_line` characters is refused, and a Parquet table with a row group
    that unpacks to more than `max_row_group` bytes.
    The rows are kept once in the cache, for random access in bounded memory.
    """

    path: ConfigPath
    columns: tuple[str, ...] | None = None
    header: bool | None = None
    key: str | None = None
    files: tuple[str, ...] = ()
    root: ConfigPath | None = None
    windows: dict[str, Window] = Field(default_factory=dict)
    types: dict[str, Type] = Field(default_factory=dict)
    max_line: Annotated[int, Field(gt=0)] = LONGEST_LINE
    max_row_group: Annotated[int, Field(gt=0)] = LARGEST_ROW_GROUP

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.header is False and self.columns is None:
            raise ValueError("expected the names of the columns in `columns`, as `header` is false")
        wrong = [name for name in self.files if self.types.get(name, "text") != "text"]
        if wrong:
            raise ValueError(
                f"expected a column of paths, got {wrong[0]!r} in `files` with type {self.types[wrong[0]]}"
            )
        for name in self.windows:
            if name not in self.files:
                raise ValueError(f"windows: expected a column of `files`, got {name!r}{nearest(name, self.files)}")
        return self

    def open(self) -> Source:
        if not self.path.is_file():
            raise SourceError(f"manifest: expected a table, there is no file at {self.path}")
        if self.columns is not None and format_of(self.path) in ("jsonl", "parquet"):
            raise SourceError(f"manifest: {self.path.name} names its values itself, leave `columns` and `header` out")
        what = self.model_dump(mode="json", include={"columns", "header", "key", "types"})
        folder, fingerprint = kept(
            f"manifest-{self.path.name}",
            {"source": "manifest", "format": _store.FORMAT, **what},
            str(self.path.resolve()),
            lambda: digest(state_of(self.path)),
            self._build,
        )
        store = _store.Store(folder, fingerprint)
        self._need(self.files, "files", store.values)
        columns = [name for cut in self.windows.values() for name in (cut.offset, cut.duration) if name is not None]
        self._need(columns, "windows", store.values)
        return ManifestSource(store, self.files, self.root or self.path.parent, self.windows)

    def _build(self, work: Path) -> None:
        writer = _store.StoreWriter(work)
        hashes = array("q")
        header = self.columns is None if self.header is None else self.header
        first: Mapping[str, Any] | None = None
        for number, row in enumerate(rows_of(self.path, self.columns, header, self.max_line, self.max_row_group)):
            key = str(number)
            try:
                if isinstance(row, RecordError):
                    raise row
                values = flatten(row)
                if first is None:
                    first = values
                    if format_of(self.path) != "jsonl":  # its rows name their values themselves, each some
                        self._need_all(first)
                if self.key is not None:
                    key = self._key(values)
                writer.add(key, self._typed(values))
            except RecordError as e:
                key = f"row {number}" if self.key is not None and key == str(number) else key
                writer.fail(key, str(e))
            hashes.append(hash(key))
        if not writer.records:
            raise SourceError(f"manifest: {self.path} holds no rows")
        self._need_all(writer.names() or first or {})
        if writer.failed == writer.records:
            raise SourceError(
                f"manifest: none of the {writer.records} rows of {self.path} can be read; {writer.first_failure}"
            )
        writer.close()
        self._check_unique(_store.Store(work, ""), np.frombuffer(hashes, np.int64))

    def _typed(self, values: dict[str, Any]) -> dict[str, Any]:
        for name in self.types.keys() & values.keys():
            wanted, value = self.types[name], values[name]
            if value is None or (isinstance(value, str) and value == "" and wanted != "text"):
                values[name] = None
                continue
            try:
                values[name] = CONVERT[wanted](value)
            except (TypeError, ValueError, OverflowError) as e:
                raise RecordError(f"column {name!r}: expected {wanted}, got {value!r}") from e
        return values

    def _key(self, values: Mapping[str, Any]) -> str:
        value = values.get(str(self.key))
        if value is None or (isinstance(value, str) and value == ""):
            raise RecordError(f"the key column {self.key!r} is empty")
        return _text(value)

    def _need_all(self, known: Collection[str]) -> None:
        self._need(self.types, "types", known)
        self._need([self.key] if self.key else [], "key", known)

    def _need(self, wanted: Collection[str], parameter: str, known: Collection[str]) -> None:
        for name in wanted:
            if name not in known:
                raise SourceError(
                    f"manifest: {self.path} has no column {name!r} (in `{parameter}`){nearest(name, known)}; "
                    f"its columns are {', '.join(list(known)[:20])}{', ..' if len(known) > 20 else ''}"
                )

    def _check_unique(self, store: Source, hashes: np.ndarray[Any, Any]) -> None:
        order = np.argsort(hashes, kind="stable")
        alike = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
        pairs = ((store.key(int(order[i])), store.key(int(order[i + 1]))) for i in alike)
        twice = [a for a, b in pairs if a == b]
        if twice:
            raise SourceError(
                f"manifest: expected a key of its own for each row, but in column {self.key!r} of {self.path} "
                f"{len(twice)} come again: {', '.join(twice[:5])}"
            )


class ManifestSource(Source):
    """The kept rows of a manifest, with the files that some columns name."""

    def __init__(
        self, store: Source, files: tuple[str, ...], root: Path, windows: Mapping[str, Window] = MappingProxyType({})
    ) -> None:
        self.values = {**store.values, **dict.fromkeys(files, BYTES)}
        self._store = store
        self._files = files
        self._windows = windows
        self._root = os.path.abspath(root)

    def __len__(self) -> int:
        return len(self._store)

    def key(self, index: int) -> str:
        return self._store.key(index)

    def read(self, index: int, names: Collection[str]) -> dict[str, Any]:
        cuts = {name: cut for name, cut in self._windows.items() if name in names}
        columns = {column for cut in cuts.values() for column in (cut.offset, cut.duration) if column is not None}
        held = self._store.read(index, {*names, *columns})
        values = {name: held[name] for name in names}
        for name in self._files:
            if name in values:
                values[name] = self._file(name, values[name], cuts.get(name), held)
        return values

    def fingerprint(self) -> str:
        cuts = {name: cut.model_dump() for name, cut in self._windows.items()}
        what = (self._files, cuts) if cuts else (self._files,)
        return digest(self._store.fingerprint(), *what, state_of_all(self._named()) if self._files else "")

    def _file(self, name: str, value: Any, cut: Window | None, row: Mapping[str, Any]) -> bytes | None:
        if value is None or value == "":
            return None
        path = self._inside(name, value)
        if cut is None:
            return read_file(path, value)
        offset, duration = (None if column is None else row[column] for column in (cut.offset, cut.duration))
        return window(path, offset, duration, value)

    def _inside(self, name: str, value: Any) -> str:
        """The path of a file; a link inside of `root` is its owner's choice, a name that leaves it is not."""
        if not isinstance(value, str):
            raise RecordError(f"column {name!r}: expected the path of a file, got {value!r}")
        path = os.path.normpath(os.path.join(self._root, value))
        if os.path.commonpath([path, self._root]) != self._root:
            raise RecordError(f"column {name!r}: {value} leads out of the manifest's root")
        return path

    def _named(self) -> Any:
        for index in range(len(self)):
            try:
                values = self._store.read(index, self._files)
                yield from ((values[n], self._inside(n, values[n])) for n in self._files if values[n])
            except RecordError:  # a record that fails names no file
                continue


SOURCE = Manifest
