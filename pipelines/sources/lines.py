"""Lines of a text file."""

from __future__ import annotations

import gzip
import os
import weakref
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from pipelines.errors import RecordError, SourceError
from pipelines.sources._base import Source, SourceConfig
from pipelines.sources._files import digest, state_of
from pipelines.sources._kept import kept
from pipelines.spec import TEXT
from pipelines.step import ConfigPath

CHUNK = 1 << 24
HELD = 1 << 25
"""Bytes of a file that is kept in memory as a whole."""
BOM = b"\xef\xbb\xbf"
LONGEST_LINE = 1 << 27
MOST_UNPACKED = 1 << 36


class Lines(SourceConfig):
    r"""Each line of a UTF-8 text file is a record; a name ending in .gz is read through gzip.

    Values: `text`, the line without its end. Lines end in \n or \r\n; other separators are text. Empty
    lines are records too; a byte order mark at the start of the file is left out.
    Key: the number of the line, from 1.
    A line that is not UTF-8, or has more than `max_bytes`, fails alone. A .gz file is unpacked once into the cache, and
    refused where that gives more than `max_unpacked` bytes.
    """

    path: ConfigPath
    max_bytes: Annotated[int, Field(gt=0)] = LONGEST_LINE
    max_unpacked: Annotated[int, Field(gt=0)] = MOST_UNPACKED

    def open(self) -> Source:
        if state_of(self.path) is None or not self.path.is_file():
            raise SourceError(f"lines: expected a text file, there is none at {self.path}")
        if self.path.suffix != ".gz":
            return LinesSource(self.path, self.path.name, self.path, self.max_bytes)
        folder, _ = kept(
            f"lines-{self.path.name}",
            {"source": "lines"},
            str(self.path.resolve()),
            lambda: digest(state_of(self.path)),
            lambda work: self._unpack(work / "text"),
        )
        return LinesSource(folder / "text", self.path.name, self.path, self.max_bytes)

    def _unpack(self, to: Path) -> None:
        with to.open("wb") as out:
            for block in unpacked(self.path, self.max_unpacked, "lines"):
                out.write(block)


def unpacked(path: Path, most: int, source: str) -> Iterator[bytes]:
    """The content of a .gz file in blocks; SourceError where it is damaged, or as soon as it is more than `most`."""
    total = 0
    try:
        with gzip.open(path) as packed:
            while block := packed.read(CHUNK):
                total += len(block)
                if total > most:
                    raise SourceError(f"{source}: {path} unpacks to more than {most} bytes (max_unpacked)")
                yield block
    except (EOFError, gzip.BadGzipFile, zlib.error) as e:
        raise SourceError(f"{source}: {path} is damaged or not gzip: {e}") from e


class LinesSource(Source):
    """Random access to the lines of `path` by the offset of each; `original` is the file the user named."""

    values = {"text": TEXT}  # noqa: RUF012  # never changed

    def __init__(self, path: Path, shown: str, original: Path, max_bytes: int = LONGEST_LINE) -> None:
        self._shown, self._most = shown, max_bytes
        self._original = original
        try:
            self._file = os.open(path, os.O_RDONLY)
        except OSError as e:
            raise SourceError(f"lines: cannot read {path}: {e.strerror}") from e
        weakref.finalize(self, os.close, self._file)
        # a call of the system for each line gives up the interpreter's lock, and waits for it again
        size = os.fstat(self._file).st_size
        self._held = os.pread(self._file, size, 0) if size <= HELD else None
        self._starts = self._index()
        if len(self) == 0:
            raise SourceError(f"lines: {self._original} holds no lines")

    def __len__(self) -> int:
        return len(self._starts) - 1

    def key(self, index: int) -> str:
        return str(index + 1)

    def read(self, index: int, names: Collection[str]) -> dict[str, Any]:
        begin, end = int(self._starts[index]), int(self._starts[index + 1])
        if end - begin > self._most + 2:  # with its end
            raise RecordError(
                f"line {index + 1} of {self._shown} has {end - begin} bytes, more than max_bytes={self._most}"
            )
        line = self._part(begin, end)
        if len(line) != end - begin:
            raise RecordError(f"{self._shown} became shorter while it was read")
        line = line[: -(2 if line.endswith(b"\r\n") else line.endswith(b"\n")) or None]
        if index == 0:
            line = line.removeprefix(BOM)
        try:
            return {"text": line.decode()}
        except UnicodeDecodeError as e:
            found = f"byte 0x{line[e.start]:02x} at place {e.start}"
            raise RecordError(f"line {index + 1} of {self._shown} is not UTF-8: {found}") from e

    def fingerprint(self) -> str:
        return digest("lines", state_of(self._original))

    def _part(self, begin: int, end: int) -> bytes:
        return os.pread(self._file, end - begin, begin) if self._held is None else self._held[begin:end]

    def _index(self) -> np.ndarray[Any, Any]:
        """Where each line begins, and where the last one ends."""
        found = [np.zeros(1, np.int64)]
        begin = 0
        while chunk := self._part(begin, begin + CHUNK):
            found.append(np.flatnonzero(np.frombuffer(chunk, np.uint8) == ord("\n")) + (begin + 1))
            begin += len(chunk)
        starts = np.concatenate(found)
        return starts if starts[-1] == begin else np.append(starts, begin)


SOURCE = Lines
