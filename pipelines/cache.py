"""Values kept on disk from one epoch, or one run, to the next. Knows no framework.

A cache folder holds segments: `NAME.data`, the bytes of the values one after the other, and `NAME.index`, which
record lies where. Each process writes segments of its own, so several may use a folder at once, and an index is
renamed into place after its data: what was half-written is never seen. Every value is read with its checksum; one
that does not fit is as good as missing, and is made again.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import threading
import uuid
from pathlib import Path
from typing import Any

import crc32c
import numpy as np
import numpy.typing as npt

from pipelines.spec import Spec

SEGMENT = 1 << 30
"""Bytes after which a new segment is begun."""
_TOLD = 64 << 20  # bytes after which the index is written anew: a killed process loses no more
_ABSENT = -1


class Cache:
    """One folder of values of one spec, by record index. Safe in threads and beside other processes."""

    def __init__(self, folder: Path, spec: Spec, records: int, most_bytes: int) -> None:
        self._folder, self._spec, self._most = folder, spec, most_bytes
        self._lock = threading.Lock()
        # segment, offset, checksum and sizes of each record's value
        self._places = np.full((records, 3 + len(spec.axes)), _ABSENT, np.int64)
        self._files: list[int] = []
        self._seen: set[str] = set()
        self._own: _Segment | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.refresh()
        (folder / "used").touch()
        self._room = most_bytes - _size(folder.parent)

    def refresh(self) -> None:
        """Take up what other processes have finished since."""
        with self._lock:
            for index in sorted(self._folder.glob("*.index")):
                if index.name not in self._seen and (self._own is None or index.stem != self._own.name):
                    self._seen.add(index.name)
                    self._take(index)

    def _take(self, index: Path) -> None:
        try:
            rows = np.load(index, allow_pickle=False)
            file = os.open(index.with_suffix(".data"), os.O_RDONLY)
        except (OSError, ValueError):  # removed by a process that made room, or damaged
            return
        fits = rows.ndim == 2 and rows.shape[1] == self._places.shape[1] and rows.dtype == np.int64
        rows = rows[(rows[:, 0] >= 0) & (rows[:, 0] < len(self._places))] if fits else rows[:0]
        if not len(rows):
            os.close(file)
            return
        self._files.append(file)
        self._places[rows[:, 0], 0] = len(self._files) - 1
        self._places[rows[:, 0], 1:] = rows[:, 1:]

    def get(self, index: int) -> npt.NDArray[Any] | None:
        """The value of a record; None when it is not kept, or no longer what was written."""
        segment, offset, checksum, *shape = self._places[index].tolist()
        if segment == _ABSENT:
            return None
        dtype = np.dtype(self._spec.dtype)
        size = math.prod(shape) * dtype.itemsize
        there = os.fstat(self._files[segment]).st_size  # an index that is wrong must not have memory taken
        fits = min([offset, *shape]) >= 0 and 0 <= size <= there - offset
        data = os.pread(self._files[segment], size, offset) if fits else b""
        if not fits or len(data) != size or crc32c.crc32c(data) != checksum:
            self._places[index, 0] = _ABSENT
            return None
        return np.frombuffer(data, dtype).reshape(shape)

    def put(self, index: int, value: npt.NDArray[Any]) -> None:
        """Keep the value of a record, unless there is no room left for it."""
        data = np.ascontiguousarray(value, dtype=self._spec.dtype).tobytes()
        with self._lock:
            if len(data) > self._room and not self._make_room(len(data)):
                return
            try:
                self._append(index, data, value.shape)
            except OSError:  # a full disk: the run goes on without
                self._room = 0

    def _append(self, index: int, data: bytes, shape: tuple[int, ...]) -> None:
        if self._own is not None and self._own.size >= SEGMENT:
            self._own.tell()
            self._own = None
        if self._own is None:
            self._own = _Segment(self._folder)
            self._files.append(self._own.file)
        own = self._own
        row = (own.size, crc32c.crc32c(data), *shape)
        own.append(index, data, row)
        self._places[index, 1:] = row
        self._places[index, 0] = self._files.index(own.file)
        self._room -= len(data)

    def _make_room(self, wanted: int) -> bool:
        """Remove the folders that were used longest ago until `wanted` bytes fit; the own one stays."""
        others = [folder for folder in self._folder.parent.iterdir() if folder.is_dir() and folder != self._folder]
        for folder in sorted(others, key=_used):
            if self._room >= wanted:
                break
            shutil.rmtree(folder, ignore_errors=True)  # a process that reads there has its files open
            self._room = self._most - _size(self._folder.parent)
        return self._room >= wanted

    def tell(self) -> None:
        """Let other processes, and later runs, see what was kept so far."""
        with self._lock, contextlib.suppress(OSError):
            if self._own is not None:
                self._own.tell()


class _Segment:
    """A segment that this process writes."""

    def __init__(self, folder: Path) -> None:
        self.name = uuid.uuid4().hex
        self._path = folder / f"{self.name}.data"
        self.file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        self.size = self._told = 0
        self._rows: list[tuple[int, ...]] = []

    def append(self, index: int, data: bytes, row: tuple[int, ...]) -> None:
        """Write at the end; a value that does not fit on the disk leaves no trace in the index."""
        left = memoryview(data)
        while left:
            left = left[os.pwrite(self.file, left, self.size + len(data) - len(left)) :]
        self._rows.append((index, *row))
        self.size += len(data)
        if self.size - self._told >= _TOLD:
            self.tell()

    def tell(self) -> None:
        """Write the index, whole or not at all."""
        if not self._rows or self._told == self.size:
            return
        new = self._path.with_suffix(".new")
        with open(new, "wb") as file:
            np.save(file, np.array(self._rows, np.int64))
        new.replace(self._path.with_suffix(".index"))
        self._told = self.size


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def _used(folder: Path) -> float:
    try:
        return (folder / "used").stat().st_mtime
    except OSError:
        return 0.0
