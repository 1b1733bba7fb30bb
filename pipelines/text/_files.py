"""Vocabulary and model files: read once for each state of the file, checked, and written as a whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pipelines.errors import OutputError, SpecError

T = TypeVar("T")


def read(path: Path, parse: Callable[[Path], T]) -> T:
    """`parse(path)`, kept until the file changes. Raises SpecError where there is no such file."""
    try:
        state = os.stat(path)
    except OSError as error:
        raise SpecError(f"there is no file {path}") from error
    if path.is_dir():
        raise SpecError(f"expected a file, got the folder {path}")
    parsed: T = _parsed(parse, path, state.st_mtime_ns, state.st_size)
    return parsed


@lru_cache(maxsize=32)
def _parsed(parse: Callable[[Path], Any], path: Path, mtime_ns: int, size: int) -> Any:
    return parse(path)


def text_of(path: Path, meant: str) -> str:
    """The file's text, or SpecError when it is no text at all."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path} is not {meant}: it is not UTF-8 text (byte {error.start})") from error
    if "\0" in text:
        raise SpecError(f"{path} is not {meant}: it is a binary file")
    if not text.strip():
        raise SpecError(f"{path} is not {meant}: it is empty")
    return text


def vocabulary(path: Path) -> tuple[str, ...]:
    """The tokens of a vocabulary file: one a line, its id the number of lines above it."""
    return read(path, _vocabulary)


def _vocabulary(path: Path) -> tuple[str, ...]:
    meant = "a vocabulary (one token a line, each once)"
    # only line feeds end a line: some tokens are other separators
    tokens = tuple(line.removesuffix("\r") for line in text_of(path, meant).removesuffix("\n").split("\n"))
    lines: dict[str, int] = {}
    for number, token in enumerate(tokens, 1):
        if not token:
            raise SpecError(f"{path} is not {meant}: line {number} is empty")
        if token in lines:
            raise SpecError(f"{path} is not {meant}: lines {lines[token]} and {number} are both {token[:40]!r}")
        lines[token] = number
    return tokens


def lines(tokens: Iterable[str]) -> bytes:
    """The content of a vocabulary file."""
    return "".join(f"{token}\n" for token in tokens).encode()


def write(contents: Mapping[Path, bytes]) -> None:
    """Put each content at its path, as a whole or not at all; of several files, none is there until all are.

    Old files of a set go before the first new one comes, so that a set is never half old and half new.
    """
    parts: dict[Path, str] = {}
    path = Path()
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, parts[path] = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.chmod(parts[path], 0o644)  # mkstemp makes files that only their owner reads
        for path in list(contents)[1:]:
            path.unlink(missing_ok=True)
        for path in contents:
            os.replace(parts[path], path)
            del parts[path]
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
    finally:
        for part in parts.values():
            with suppress(OSError):
                os.unlink(part)
