"""The rows of a table: CSV, TSV, JSONL (each also as .gz) and Parquet, one at a time."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.errors import RecordError, SourceError

Row = Mapping[str, Any] | RecordError
ENDINGS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
ROWS_AT_ONCE = 512
LONGEST_LINE = 1 << 27
LARGEST_ROW_GROUP = 1 << 32
_AT_ONCE = 1 << 26


def format_of(path: Path) -> str:
    """The format that the ending of a name stands for."""
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    form = ENDINGS.get(suffix.lower())
    if form is None or (form == "parquet" and path.suffix == ".gz"):
        raise SourceError(
            f"manifest: expected a name ending in {', '.join(ENDINGS)} (text also with .gz), got {path.name}"
        )
    return form


def rows_of(
    path: Path,
    columns: Sequence[str] | None,
    header: bool,
    longest: int = LONGEST_LINE,
    largest: int = LARGEST_ROW_GROUP,
) -> Iterator[Row]:
    """Each row as a mapping, or as the error that keeps it from being one.

    Raises:
        SourceError: no table, a line of more than `longest` characters, or a row group that unpacks to more than
            `largest` bytes.
    """
    form = format_of(path)
    try:
        if form == "parquet":
            yield from _parquet(path, largest)
        elif form == "jsonl":
            with path.open("rb") as raw, gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw as file:
                yield from _jsonl(_lines(file, longest, path))
        else:
            # a byte that is not UTF-8 becomes a lone surrogate, and so fails its own row alone
            how: dict[str, Any] = {"encoding": "utf-8-sig", "errors": "surrogateescape", "newline": ""}
            with gzip.open(path, "rt", **how) if path.suffix == ".gz" else path.open(**how) as text:
                yield from _separated(_lines(text, longest, path), longest, form, columns, header, path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as e:
        raise SourceError(f"manifest: {path} is damaged or not gzip: {e}") from e
    except OSError as e:
        raise SourceError(f"manifest: cannot read {path}: {e.strerror or e}") from e


def _lines(file: Any, longest: int, path: Path) -> Iterator[Any]:
    """The lines of a file, of which none is read that is too long to be held: little in a .gz may become much."""
    while line := file.readline(longest + 1):
        if len(line) > longest:
            raise SourceError(f"manifest: {path} has a line of more than {longest} characters (max_line)")
        yield line


def _separated(
    file: Iterator[str], longest: int, form: str, columns: Sequence[str] | None, header: bool, path: Path
) -> Iterator[Row]:
    """CSV is quoted as RFC 4180 says; TSV has no quotes, its lines and tabs are all there is."""
    csv.field_size_limit(max(csv.field_size_limit(), longest))  # its own, 128 KiB, is less than a long document
    reader = csv.reader(file, strict=True) if form == "csv" else _tabs(file)
    names = columns
    if header:
        first = next((cells for cells in reader if cells), None)
        if first is None:
            raise SourceError(f"manifest: {path} is empty")
        names = columns or first
    assert names is not None
    twice = {name for name in names if list(names).count(name) > 1}
    if twice or "" in names:
        wrong = f"{sorted(twice)[0]!r} twice" if twice else "a column without a name"
        raise SourceError(f"manifest: expected a name of its own for each column of {path}, got {wrong}")
    at = 0
    while True:
        at += 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as e:
            if "unexpected end of data" in str(e):
                raise SourceError(f"manifest: {path}: a quote opened in row {at} is never closed") from e
            yield RecordError(f"row {at} is not valid CSV: {e}")
            continue
        if not cells:  # an empty line is no row
            at -= 1
        elif len(cells) != len(names):
            yield RecordError(f"expected {len(names)} cells, got {len(cells)}")
        else:
            yield dict(zip(names, cells, strict=True))


def _tabs(file: Iterable[str]) -> Iterator[list[str]]:
    for line in file:
        line = line.removesuffix("\n").removesuffix("\r")
        yield line.split("\t") if line else []


def _jsonl(file: Iterable[bytes]) -> Iterator[Row]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
        except (ValueError, RecursionError) as e:
            yield RecordError(f"line {number} is not JSON: {e}")
            continue
        if isinstance(row, dict):
            yield row
        else:
            yield RecordError(f"line {number}: expected an object with named values, got {type(row).__name__}")


def _parquet(path: Path, largest: int) -> Iterator[Row]:
    try:
        texts = _shared_texts(pq.read_metadata(path))
        file = pq.ParquetFile(path, read_dictionary=texts)
    except (pa.ArrowException, OSError) as e:
        raise SourceError(f"manifest: {path} is not a readable Parquet file: {_first_line(e)}") from e
    with file:
        for group in range(file.num_row_groups):
            metadata = file.metadata.row_group(group)
            given, unpacked = 0, _told_size(metadata)
            try:
                _refuse_above(largest, unpacked, group, path)
                for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=[group]):
                    size = sum(_text_size(batch.column(name)) for name in texts)
                    unpacked += size
                    _refuse_above(largest, unpacked, group, path)
                    step = len(batch) if size <= _AT_ONCE else 1
                    for start in range(0, len(batch), step):
                        for row in batch.slice(start, step).to_pylist():
                            yield _plain(row)
                            given += 1
            except (pa.ArrowException, OSError) as e:  # a damaged row group: its remaining rows fail, others do not
                reason = f"row group {group} of {path.name} is damaged: {_first_line(e)}"
                yield from (RecordError(reason) for _ in range(metadata.num_rows - given))


def _shared_texts(metadata: Any) -> list[str]:
    """Columns of text or bytes that hold each value once; left so, a long one that stands in each row stays small."""
    names = set()
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            top = column.path_in_schema == metadata.schema.column(number).name
            if top and column.physical_type == "BYTE_ARRAY" and column.has_dictionary_page:
                names.add(column.path_in_schema)
    return sorted(names)


def _told_size(group: Any) -> int:
    """Bytes that a row group takes, by what it tells of itself: few of them may stand for very many equal numbers."""
    columns = [group.column(number) for number in range(group.num_columns)]
    return sum(max(column.total_uncompressed_size, 8 * column.num_values) for column in columns)


def _text_size(column: Any) -> int:
    if not pa.types.is_dictionary(column.type):
        return 0
    return pc.sum(pc.take(pc.binary_length(column.dictionary), column.indices)).as_py() or 0


def _refuse_above(largest: int, size: int, group: int, path: Path) -> None:
    if size > largest:
        raise SourceError(
            f"manifest: row group {group} of {path} unpacks to {size} bytes or more, expected at most {largest}"
            " (max_row_group)"
        )


def _plain(value: Any) -> Any:
    """Values that JSON has too, and bytes; dates, times and decimals as text."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return value if not value or isinstance(value[0], (int, float, str)) else [_plain(inner) for inner in value]
    return value if value is None or isinstance(value, (int, float, str, bytes)) else str(value)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
