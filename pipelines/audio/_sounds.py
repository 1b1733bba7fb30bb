"""Sounds that a step takes from files of its own: noises, impulse responses."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.audio import _sinc
from pipelines.errors import SpecError

Sound = npt.NDArray[np.floating[Any]]
Prepare = Callable[[npt.NDArray[np.float32]], Sound]
"""What a step makes of a sound, float32[channel, time], before it is kept; ValueError says what is wrong with it."""

ENDINGS = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".w64", ".caf", ".opus")
MOST_SECONDS = 3600.0
"""A longer sound is refused: it is held in memory as a whole."""
MOST_KEPT = 1 << 29
"""Bytes of the sounds that are kept; those used longest ago make room."""


def sound_files(path: Path) -> tuple[Path, ...]:
    """The sound files that a path names: itself, or those in it and below, sorted."""
    if path.is_dir():
        return tuple(sorted(file for file in path.rglob("*") if file.suffix.lower() in ENDINGS))
    return (path,) if path.is_file() else ()


@dataclass(frozen=True)
class _State:
    """A file as it was found; one that has changed since is another."""

    file: Path
    size: int
    changed_ns: int

    @classmethod
    def of(cls, file: Path) -> _State:
        found = file.stat()
        return cls(file, found.st_size, found.st_mtime_ns)


class Sounds:
    """The sounds of a file or a folder at one rate: each is read when it is drawn, and kept while there is room."""

    def __init__(self, path: Path, rate_hz: int, what: str, prepare: Prepare) -> None:
        self._states, self._how = check(path, what), (rate_hz, prepare)
        if sum(map(_seconds, self._states)) * rate_hz * 8 <= MOST_KEPT:  # what is wrong is told before anything runs
            for state in self._states:
                _KEPT.sound(state, *self._how)

    def drawn(self, variate: float) -> Sound:
        """The sound that a variate in [0, 1) stands for; SpecError when it cannot be used."""
        return _KEPT.sound(self._states[int(variate * len(self._states))], *self._how)


def check(path: Path, what: str) -> tuple[_State, ...]:
    """Every sound that a path names; SpecError unless each is readable and not too long. Looks at headers only."""
    files = sound_files(path)
    if not files:
        found = "it holds no file that ends in " + ", ".join(ENDINGS) if path.is_dir() else "there is none"
        raise SpecError(f"expected {what} in {path}, {found}")
    states = tuple(map(_State.of, files))
    for state in states:
        try:
            seconds = _seconds(state)
        except (RuntimeError, OSError) as error:
            raise SpecError(f"expected {what}, but {state.file} cannot be read: {error}") from error
        if not 0 < seconds <= MOST_SECONDS:
            raise SpecError(f"expected {what} of at most {MOST_SECONDS:g} s each, got {seconds:g} s in {state.file}")
    return states


@lru_cache(maxsize=1 << 17)
def _seconds(state: _State) -> float:
    """How long a file lasts, in seconds."""
    import soundfile

    return float(soundfile.info(state.file).duration)


class _Kept:
    """The sounds used last, by file and what was made of them, in bounded memory; for many threads."""

    def __init__(self) -> None:
        self._held: OrderedDict[Any, Sound] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def sound(self, state: _State, rate_hz: int, prepare: Prepare) -> Sound:
        key = (state, rate_hz, prepare)
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        sound = _read(state.file, rate_hz, prepare)
        with self._lock:
            if key not in self._held:  # another thread may have been faster
                self._held[key] = sound
                self._bytes += sound.nbytes
            while self._bytes > MOST_KEPT and len(self._held) > 1:
                self._bytes -= self._held.popitem(last=False)[1].nbytes
        return sound


_KEPT = _Kept()


def _read(file: Path, rate_hz: int, prepare: Prepare) -> Sound:
    import soundfile

    try:
        sound, old_hz = soundfile.read(file, dtype="float32", always_2d=True)
        if not sound.size or not np.isfinite(sound).all():
            raise ValueError("it holds no samples, or some that are not finite")
        made = prepare(_sinc.resampled(sound.T, *_sinc.reduced(old_hz, rate_hz), "hann"))
    except (RuntimeError, OSError, ValueError) as error:
        raise SpecError(f"{file} cannot be used: {error}") from error
    made = np.ascontiguousarray(made)
    made.setflags(write=False)
    return made
