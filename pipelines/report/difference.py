"""How far apart two output folders are, record by record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.errors import UserError
from pipelines.sources.shards import SOURCE
from pipelines.step import difference


@dataclass(frozen=True)
class OutputDifference:
    """What separates two outputs of one config.

    `fields` holds, for each field, the largest absolute difference over all records that both
    folders hold: 0 where every value is the same, infinite where a shape, a text or an absence
    differs; `units` the unit of each. `only_first` and `only_second` are the keys that one folder
    alone holds.
    """

    records: int
    fields: Mapping[str, float]
    units: Mapping[str, str]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]

    @property
    def same_keys(self) -> bool:
        """Whether both folders hold the same records."""
        return not self.only_first and not self.only_second

    @property
    def largest(self) -> float:
        """The largest difference in any field; infinite when the folders hold other records."""
        return max(self.fields.values(), default=0.0) if self.same_keys else float("inf")

    def __str__(self) -> str:
        """`mel 0.002 dB, picture 1e-05`: the fields that differ, or `none`."""
        parts = [f"{name} {gap:.2g} {self.units[name]}".rstrip() for name, gap in self.fields.items() if gap]
        if not self.same_keys:
            parts.append(f"{len(self.only_first) + len(self.only_second)} records are on one side only")
        return ", ".join(parts) or "none"


def compare_outputs(first: Path, second: Path) -> OutputDifference:
    """Compare what two runs wrote: the records are matched by key, whatever their order or format.

    Raises UserError when the folders hold other fields, SourceError when one is no finished output.
    """
    a, b = (SOURCE(path=folder).open() for folder in (first, second))
    names = sorted(a.values.keys() - {"key", "index"})
    if names != sorted(b.values.keys() - {"key", "index"}):
        raise UserError(f"{first} and {second} hold other fields: {', '.join(a.values)} and {', '.join(b.values)}")
    places = {b.key(i): i for i in range(len(b))}
    largest = dict.fromkeys(names, 0.0)
    only_first = []
    for i in range(len(a)):
        key = a.key(i)
        place = places.pop(key, None)
        if place is None:
            only_first.append(key)
            continue
        x, y = a.read(i, names), b.read(place, names)
        for name in names:
            largest[name] = max(largest[name], _gap(x[name], y[name]))
    units = {name: a.values[name].unit for name in names}
    return OutputDifference(len(a) - len(only_first), largest, units, tuple(only_first), tuple(places))


def _gap(x: Any, y: Any) -> float:
    if isinstance(x, (np.ndarray, np.generic, int, float)) and isinstance(y, (np.ndarray, np.generic, int, float)):
        return difference(np.asarray(x), np.asarray(y))
    return 0.0 if type(x) is type(y) and x == y else float("inf")
