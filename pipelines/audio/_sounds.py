"""Sounds that a step takes from files of its own: noises, impulse responses."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.audio import _sinc
from pipelines.errors import SpecError

ENDINGS = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".w64", ".caf", ".opus")
MOST_SECONDS = 3600.0
"""Sounds longer than this in all are refused: they are held in memory."""


def sound_files(path: Path) -> tuple[Path, ...]:
    """The sound files that a path names: itself, or those in it and below, sorted."""
    if path.is_dir():
        return tuple(sorted(file for file in path.rglob("*") if file.suffix.lower() in ENDINGS))
    return (path,) if path.is_file() else ()


def check(path: Path, what: str) -> None:
    """SpecError unless there are sounds, each one readable and not too long in all; looks at headers only."""
    import soundfile

    files = sound_files(path)
    if not files:
        found = "it holds no file that ends in " + ", ".join(ENDINGS) if path.is_dir() else "there is none"
        raise SpecError(f"expected {what} in {path}, {found}")
    seconds = 0.0
    for file in files:
        try:
            seconds += soundfile.info(file).duration
        except (RuntimeError, OSError) as error:
            raise SpecError(f"expected {what}, but {file} cannot be read: {error}") from error
    if not 0 < seconds <= MOST_SECONDS:
        raise SpecError(f"expected {what} of at most {MOST_SECONDS:g} s in all, got {seconds:g} s in {path}")


@lru_cache(maxsize=8)
def sounds(path: Path, rate_hz: int) -> tuple[npt.NDArray[np.float32], ...]:
    """Every sound, float32[time], mono (the mean of its channels), at `rate_hz`."""
    import soundfile

    found = []
    for file in sound_files(path):
        try:
            sound, old_hz = soundfile.read(file, dtype="float32", always_2d=True)
        except (RuntimeError, OSError) as error:
            raise SpecError(f"{file} cannot be read: {error}") from error
        mono = sound.mean(1, dtype=np.float64).astype(np.float32)
        ratio = _sinc.reduced(old_hz, rate_hz)
        if ratio[0] != ratio[1] and len(mono):
            mono = _sinc.direct(mono, *ratio, "hann")
        if not len(mono) or not np.isfinite(mono).all():
            raise SpecError(f"{file} holds no finite samples")
        mono.setflags(write=False)
        found.append(mono)
    return tuple(found)
