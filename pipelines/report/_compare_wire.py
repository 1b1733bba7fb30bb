"""What the driver of `compare` and its two worker processes share: which records, and how values travel.

Values travel as .npz files of plain arrays (never pickles), text and bytes as their bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.grid import Grid
from pipelines.report._evenly import evenly
from pipelines.runtime._chain import Carried
from pipelines.spec import Spec

Arrays = dict[str, npt.NDArray[Any]]
Place = tuple[int, int]
"""A batch of the grid: the positions [start, stop)."""


def spread_batches(grid: Grid, epoch: int, records: int) -> list[Place]:
    """Batches with at most `records` records together, spread evenly over the epoch; the last one may be cut."""
    every = list(replace(grid, drop_last=False).places(epoch))
    count = min(len(every), -(-records // mean_rows(grid, epoch)))
    places = []
    for number in evenly(len(every), count):
        start, stop = every[number]
        stop = min(stop, start + records)
        records -= stop - start
        places += [(start, stop)] if stop > start else []
    return places


def mean_rows(grid: Grid, epoch: int) -> int:
    """Rows of a global batch of the epoch, on average if they differ."""
    return -(-grid.records // replace(grid, drop_last=False).batches(epoch)) if grid.by_budget else grid.rows


def spread(places: list[Place], count: int) -> list[int]:
    """At most `count` positions, spread evenly over `places`."""
    positions = np.concatenate([np.arange(*place) for place in places])
    return [int(positions[place]) for place in evenly(len(positions), count)]


def put(arrays: Arrays, name: str, value: Any, spec: Spec) -> None:
    """Add one record's value, as `to_numpy` gives it; nothing for None, which is an absent value."""
    if value is None:
        return
    if spec.is_numeric:
        arrays[name] = np.ascontiguousarray(value) if np.ndim(value) else np.asarray(value)
    elif spec.axes:
        parts = [_bytes(token) for token in value]
        arrays[name] = np.frombuffer(b"".join(parts), np.uint8)
        arrays[f"{name} sizes"] = np.array([len(part) for part in parts], np.int64)
    else:
        arrays[name] = np.frombuffer(_bytes(value), np.uint8)


def take(arrays: Mapping[str, npt.NDArray[Any]], name: str, spec: Spec) -> Any:
    """The value that `put` was given."""
    if name not in arrays:
        return None
    held = arrays[name]
    if spec.is_numeric:
        return held
    if not spec.axes:
        return _text(held.tobytes(), spec)
    ends = np.cumsum(arrays[f"{name} sizes"])
    return [_text(part.tobytes(), spec) for part in np.split(held, ends)[:-1]]


def put_carried(arrays: Arrays, name: str, values: tuple[Any, ...], rates: tuple[int | None, ...], specs: Any) -> None:
    """Add what flows between two nodes: one or several values, each with its sampling rate where it has one."""
    for place, (value, rate, spec) in enumerate(zip(values, rates, specs, strict=True)):
        put(arrays, f"{name}/{place}", value, spec)
        if rate is not None:
            arrays[f"{name}/{place} rate"] = np.array(rate, np.int64)


def take_carried(arrays: Mapping[str, npt.NDArray[Any]], name: str, specs: tuple[Spec, ...]) -> Carried | None:
    """What `put_carried` was given, or None where nothing was."""
    values = tuple(take(arrays, f"{name}/{place}", spec) for place, spec in enumerate(specs))
    if any(value is None for value in values):
        return None
    rates = (arrays.get(f"{name}/{place} rate") for place in range(len(specs)))
    return tuple((value, None if rate is None else int(rate)) for value, rate in zip(values, rates, strict=True))


def write(path: Path, arrays: Arrays) -> None:
    """Write arrays to a file; an array that would need a pickle is a fault of ours."""
    wrong = [name for name, array in arrays.items() if array.dtype.hasobject]
    if wrong:
        raise TypeError(f"{', '.join(wrong)}: expected plain arrays")
    with path.open("wb") as file:
        np.savez(file, **arrays)


def read(path: Path) -> Any:
    """The arrays in a file, each read when it is asked for."""
    return np.load(path, allow_pickle=False)


def _bytes(value: str | bytes) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def _text(value: bytes, spec: Spec) -> str | bytes:
    return value if spec.dtype == "bytes" else value.decode("utf-8", "surrogatepass")
