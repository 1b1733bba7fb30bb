"""Vocabulary and model files: read once for each state of the file, and checked to be what they should be."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pipelines.errors import SpecError

T = TypeVar("T")


def read(path: Path, parse: Callable[[Path], T]) -> T:
    """`parse(path)`, kept until the file changes. Raises SpecError where there is no such file."""
    try:
        state = os.stat(path)
    except OSError as error:
        raise SpecError(f"there is no file {path}") from error
    if path.is_dir():
        raise SpecError(f"expected a file, got the folder {path}")
    return _parsed(parse, path, state.st_mtime_ns, state.st_size)  # type: ignore[no-any-return]  # what `parse` gives


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
