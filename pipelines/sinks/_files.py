"""Files that are whole or not there, a lock on a folder, and reading parts of a file."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from pipelines.errors import OutputError


def read_range(path: Path, start: int, size: int) -> bytes:
    """The `size` bytes from `start` on; ValueError when the file ends before.

    The file is opened anew each time, so that thousands of shards can be in use at once.
    """
    with open(path, "rb", buffering=0) as file:
        if size < 0 or start < 0 or start + size > os.fstat(file.fileno()).st_size:
            raise ValueError(f"{path.name} ends before byte {start + size}")
        parts, wanted = [], size
        while wanted:  # a single read may give less, 2 GiB at most
            part = os.pread(file.fileno(), wanted, start + size - wanted)
            if not part:
                raise ValueError(f"{path.name} ends before byte {start + size}")
            parts.append(part)
            wanted -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def sha256_of(path: Path) -> str:
    """SHA-256 of a whole file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot sync folders
            raise
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: str | bytes) -> None:
    """Write a whole file in one step: after a crash it is the old one or the new one."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace"))
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    sync(path.parent)


class FolderLock:
    """Held by the one run that writes a folder. It ends with the process, also when that is killed."""

    NAME: ClassVar[str] = ".lock"

    def __init__(self, folder: Path) -> None:
        self._path = folder / self.NAME
        while True:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_current():
                    return
            except BlockingIOError as error:
                os.close(self._file)
                raise OutputError(f"another run is writing to {folder}; wait until it is done") from error
            except OSError:
                os.close(self._file)
                raise
            os.close(self._file)  # the run that held it removed the file in between: take the new one

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file), os.lstat(self._path))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Remove the lock."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
        fcntl.flock(self._file, fcntl.LOCK_UN)  # a forked child may still hold the descriptor
        os.close(self._file)
