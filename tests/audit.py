"""What code does behind one's back, as the interpreter's audit events tell it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

RUNS_CODE = {"os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "pickle.find_class", "exec", "compile"}
WRITES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
_watched: list[tuple[str, Any]] | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched is None:
        return
    if event in RUNS_CODE or event == "import":
        _watched.append((event, arguments[0]))
    elif event in WRITES or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
        paths = arguments[: 1 if event == "open" else 2]  # a file may be opened by its number
        _watched.extend(("write", path) for path in paths if isinstance(path, (str, bytes, os.PathLike)))


sys.addaudithook(_hook)


@contextmanager
def watching() -> Iterator[list[tuple[str, Any]]]:
    """What the body looks for to import, whatever of it runs code, and the paths that it writes to, as "write"."""
    global _watched
    _watched = seen = []
    try:
        yield seen
    finally:
        _watched = None
