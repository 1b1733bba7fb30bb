"""Matching files below a folder: `*`, `?` and `[..]` within a name, `**` for any number of folders."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import Formatter


def check_glob(pattern: str) -> str:
    """The pattern itself, or ValueError."""
    parts = pattern.split("/")
    if not pattern or "" in parts or ".." in parts or "." in parts or parts[-1] == "**":
        raise ValueError(f"expected a pattern of file names below `path`, such as *.wav or **/*.png, got {pattern!r}")
    if any("**" in part and part != "**" for part in parts):
        raise ValueError(f"expected ** to stand alone between slashes, got {pattern!r}")
    return pattern


def matcher(patterns: Sequence[str]) -> re.Pattern[str]:
    """What matches the paths, with slashes, of the files that one of the patterns means."""
    return re.compile("|".join(f"(?:{_regex(pattern)})" for pattern in patterns))


def _regex(pattern: str) -> str:
    out = []
    *folders, name = pattern.split("/")
    for part in folders:
        out.append(r"(?:(?!\.)[^/]+/)*" if part == "**" else _part(part) + "/")
    return "".join(out) + _part(name)


def _part(part: str) -> str:
    hidden = "" if part.startswith(".") else r"(?!\.)"
    # fnmatch's own wild cards match slashes; within one name they must not
    inner = "".join({"*": "[^/]*", "?": "[^/]"}.get(piece) or _literal(piece) for piece in _pieces(part))
    return f"{hidden}{inner}"


def _pieces(part: str) -> list[str]:
    return re.findall(r"\[[!]?\]?[^\]/]*\]|.", part, re.DOTALL)


def _literal(piece: str) -> str:
    if len(piece) == 1:
        return re.escape(piece)
    translated = fnmatch.translate(piece)  # a set such as [a-c] or [!x], as fnmatch reads it
    return "(?!/)" + translated[len("(?s:") : translated.rindex(")")]


def depth(patterns: Sequence[str]) -> int | None:
    """How many folders deep the patterns can reach; None for any number."""
    return None if any("**" in p.split("/") for p in patterns) else max(p.count("/") for p in patterns)


@dataclass(frozen=True)
class Found:
    """A file below the folder: its path with slashes, and whether it is a link."""

    name: str
    is_link: bool


def walk(root: str, deepest: int | None) -> Iterator[Found]:
    """All files below `root`; linked folders are not entered."""
    waiting = [("", 0)]
    while waiting:
        prefix, level = waiting.pop()
        with os.scandir(os.path.join(root, prefix)) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if deepest is None or level < deepest:
                        waiting.append((f"{prefix}{entry.name}/", level + 1))
                elif not (entry.is_symlink() and entry.is_dir()):
                    yield Found(prefix + entry.name, entry.is_symlink())


class NamePattern:
    """A pattern such as `{digit}_{speaker}_{take}`: each part is as short as can be, the last takes the rest."""

    def __init__(self, pattern: str) -> None:
        try:
            pieces = list(Formatter().parse(pattern))
        except ValueError as e:
            raise ValueError(f"expected a pattern such as {{digit}}_{{speaker}}, got {pattern!r}: {e}") from e
        out: list[str] = []
        self.text = pattern
        self.parts: list[str] = []
        for literal, part, form, conversion in pieces:
            out.append(re.escape(literal))
            if part is None:
                continue
            if not part.isidentifier() or form or conversion:
                raise ValueError(f"expected the name of a part between braces, got {{{part}}} in {pattern!r}")
            if part in self.parts:
                raise ValueError(f"expected different names of parts, got {{{part}}} twice in {pattern!r}")
            if self.parts and not literal:
                raise ValueError(f"expected something between the parts, got {pattern!r}")
            self.parts.append(part)
            out.append(f"(?P<{part}>.+?)")
        if not self.parts:
            raise ValueError(f"expected at least one part in braces, got {pattern!r}")
        self._match = re.compile("".join(out), re.DOTALL).fullmatch

    def read(self, stem: str) -> dict[str, str] | None:
        """The parts of a file's name without its ending; None when it does not match."""
        found = self._match(stem)
        return found.groupdict() if found else None
