"""Word vectors from a text file: one word a line, then its numbers, as GloVe and fastText publish them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipelines.errors import SpecError
from pipelines.text._files import read

_MEANT = "a file of word vectors (a word and its numbers a line)"


class Table(NamedTuple):
    """`rows` holds the place of each word's vector in `vectors`, float32[word, feature]."""

    rows: dict[str, int]
    vectors: np.ndarray[Any, np.dtype[np.float32]]


def table(path: Path) -> Table:
    """The words and vectors of a file, read once for each state of it."""
    return read(path, _table)


def _table(path: Path) -> Table:
    rows: dict[str, int] = {}
    vectors: list[np.ndarray[Any, np.dtype[np.float32]]] = []
    size: int | None = None
    announced: int | None = None
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip(" \t\r\n")
            except UnicodeDecodeError as error:
                raise _wrong(path, number, "it is not UTF-8 text") from error
            entries = line.split(" ")
            if number == 1 and len(entries) == 2 and all(entry.isdecimal() for entry in entries):
                announced, size = int(entries[0]), int(entries[1])
                continue
            if size is None:
                size = len(entries) - 1
            # a few words of the published files have spaces in them
            word, numbers = " ".join(entries[:-size]), entries[-size:]
            if size < 1 or len(entries) <= size or not word:
                raise _wrong(path, number, f"expected a word and {max(size, 1)} numbers, got {line[:40]!r}")
            try:
                with np.errstate(over="ignore"):
                    vector = np.array(list(map(float, numbers)), np.float32)
            except ValueError as error:
                raise _wrong(
                    path, number, f"expected {size} numbers after {word[:40]!r}, got {numbers[0][:40]!r}"
                ) from error
            if not np.isfinite(vector).all():
                raise _wrong(path, number, f"a number of {word[:40]!r} is not finite in float32")
            rows[word] = len(vectors)
            vectors.append(vector)
    if not vectors:
        raise SpecError(f"{path} is not {_MEANT}: it is empty")
    if announced is not None and announced != len(vectors):
        raise SpecError(f"{path} is not complete: line 1 says {announced} words, it has {len(vectors)}")
    return Table(rows, np.stack(vectors))


def _wrong(path: Path, line: int, why: str) -> SpecError:
    return SpecError(f"{path} is not {_MEANT}: line {line}: {why}")
