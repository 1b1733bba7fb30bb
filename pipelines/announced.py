"""Steps of other packages: what is installed may announce classes under names, as entry points of one group.

Looking for them imports nothing; a package is imported when a config names a step of it.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from pipelines.errors import UserError

GROUP = "pipelines.steps"
_NAME = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Announced:
    """A name and who announces it: `packages` are several where they clash."""

    name: str
    entries: tuple[EntryPoint, ...]

    @property
    def packages(self) -> tuple[str, ...]:
        return tuple(f"{entry.dist.name} {entry.dist.version}" if entry.dist else "?" for entry in self.entries)

    @property
    def where(self) -> str:
        """The package and its place in it: `mine-steps 1.0 (mine_steps.sharpen:Sharpen)`."""
        shown = zip(self.packages, self.entries, strict=True)
        return " and ".join(f"{package} ({entry.value})" for package, entry in shown)

    def load(self) -> object:
        """What is announced, imported; UserError with the package where that fails."""
        if len(self.entries) > 1:
            raise UserError(f"step {self.name!r} is announced by {self.where}; one of them has to be uninstalled")
        if not _NAME.fullmatch(self.name):
            raise UserError(
                f"step {self.name!r} of {self.where}: expected a name of two parts in lower case, like 'mine.sharpen'"
            )
        try:
            return self.entries[0].load()
        except Exception as error:  # whatever a package's import runs into
            raise UserError(
                f"step {self.name!r} of {self.where} cannot be loaded: {type(error).__name__}: {error}"
            ) from error


def announced() -> dict[str, Announced]:
    """All that installed packages announce, by name."""
    return _announced(tuple(sys.path))


@cache
def _announced(path: tuple[str, ...]) -> dict[str, Announced]:
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, []).append(entry)
    return {name: Announced(name, tuple(found[name])) for name in sorted(found)}


def code_digest(cls: type) -> str | None:
    """A hash of the package and the file that a class of another package comes from; None for the toolkit's own."""
    if cls.__module__.startswith("pipelines."):
        return None
    digest = blake2b(digest_size=8)
    found = announcement(cls)
    digest.update((found.where if found else "").encode())
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if file:
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()


def announcement(cls: type) -> Announced | None:
    """What announces a class that is loaded, or None."""
    for one in announced().values():
        entry = one.entries[0]
        if getattr(sys.modules.get(entry.module), entry.attr, None) is cls:
            return one
    return None
