"""Reading one file of a record, and digests of what stands on disk."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from pipelines.errors import RecordError

_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe would be waited for
_PART = 1 << 24


def open_file(path: str | os.PathLike[str], shown: str) -> BinaryIO:
    """A regular file, to read. `shown` is its name in messages, the same on every machine."""
    with _told(shown):
        return os.fdopen(_opened(path, shown)[0], "rb")


def read_file(path: str | os.PathLike[str], shown: str) -> bytes:
    """The bytes of a regular file."""
    with _told(shown):
        file, size = _opened(path, shown)
        try:  # by the system's own calls: a file object makes twice as many, each of which gives up the lock
            parts = [os.read(file, size + 1)]
            while len(parts[-1]) and sum(map(len, parts)) != size:
                parts.append(os.read(file, _PART))
        finally:
            os.close(file)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _opened(path: str | os.PathLike[str], shown: str) -> tuple[int, int]:
    """The descriptor of a regular file, and its size in bytes."""
    file = os.open(path, _READ)
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        os.close(file)
        raise RecordError(f"{shown} is not a regular file")
    return file, found.st_size


@contextmanager
def _told(shown: str) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise RecordError(f"cannot read {shown}: {e.strerror or e}") from e
    except ValueError as e:  # a NUL in the name
        raise RecordError(f"{shown!r} is not the name of a file") from e


def digest(*parts: Any) -> str:
    """16 hex digits that stand for plain JSON values."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def state_of(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Size and time of change of a file; None when it is not there."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns


def state_of_all(files: Iterable[tuple[str, str | os.PathLike[str]]]) -> str:
    """Digest of the names, sizes and times of files given as (name, path)."""
    hashed = hashlib.blake2b(digest_size=8)
    for name, path in files:
        hashed.update(f"{name}\0{state_of(path)}\n".encode("utf-8", "surrogatepass"))
    return hashed.hexdigest()


def state_of_tree(root: Path) -> str:
    """Digest of the names, sizes and times of all files under `root`, links followed."""
    return state_of_all(sorted(_files_under(root, "", set()))) if root.exists() else "none"


def _files_under(folder: Path | str, prefix: str, seen: set[str]) -> Iterable[tuple[str, str]]:
    real = os.path.realpath(folder)
    if real in seen:  # a link back to a folder that was walked
        return
    seen.add(real)
    if os.path.isfile(folder):
        yield prefix, str(folder)
        return
    try:
        entries = list(os.scandir(folder))
    except OSError:  # a folder that may not be listed: its name stands for it
        yield prefix, str(folder)
        return
    for entry in entries:
        if entry.is_dir():
            yield from _files_under(entry.path, f"{prefix}{entry.name}/", seen)
        else:
            yield prefix + entry.name, entry.path
