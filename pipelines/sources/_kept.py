"""Results kept on disk: made once under a temporary name, renamed into place, found again by what they are."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import platformdirs

from pipelines.errors import SourceError
from pipelines.sources._files import digest


def cache_folder() -> Path:
    """Where things that can be made again are kept: $PIPELINES_CACHE, or the user's cache folder."""
    named = os.environ.get("PIPELINES_CACHE")
    return Path(named) if named else Path(platformdirs.user_cache_dir("multimodal-pipelines"))


def kept(
    label: str,
    what: Mapping[str, Any],
    where: str,
    state: Callable[[], str],
    build: Callable[[Path], None],
    *,
    fetches: bool = False,
) -> tuple[Path, str]:
    """The folder that `build` fills, and its fingerprint; built only where it is not there yet.

    `what` (plain JSON) and `state()` (a digest of the files read) decide the content, `where` (a path) only
    keeps equal content of different places apart. When the files change, the new result replaces the
    old one. With `fetches`, `build` may change the files itself.
    """
    stem = f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', label)}-{digest(what, where)}"
    home = cache_folder() / "sources"

    def place(now: str) -> Path:
        return home / f"{stem}-{now}"

    before = state()
    if not place(before).is_dir():
        try:
            home.mkdir(parents=True, exist_ok=True)
            with alone(home / f"{stem}.lock"):
                before = _build_at(home, stem, place, state, build, fetches)
        except OSError as e:
            raise SourceError(
                f"cannot keep {label} in {home}: {e.strerror or e}; PIPELINES_CACHE names another folder for it"
            ) from e
    return place(before), digest(what, before)


def _build_at(
    home: Path,
    stem: str,
    place: Callable[[str], Path],
    state: Callable[[], str],
    build: Callable[[Path], None],
    fetches: bool,
) -> str:
    before = state()
    if place(before).is_dir():  # made by another process while this one waited
        return before
    for left in home.glob(f"{stem}.building-*"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f"{stem}.building-", dir=home))
    try:
        build(work)
        after = state()
        if after != before and not fetches:
            raise SourceError("the files changed while they were read; run again when nothing writes to them")
        older = [old for old in home.glob(f"{stem}-*") if old != place(after)]
        if not place(after).is_dir():
            work.rename(place(after))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    for old in older:
        shutil.rmtree(old, ignore_errors=True)
    return after


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock `path`; the system frees it when this process ends, however it ends."""
    import fcntl

    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
