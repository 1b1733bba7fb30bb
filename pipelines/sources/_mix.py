"""Several sources as one, each with a share of the records."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny

from pipelines.draw import shuffled
from pipelines.sources._base import Source, SourceConfig
from pipelines.sources._files import digest
from pipelines.spec import TEXT, Spec

NAME = "[A-Za-z0-9_.-]+"


class Share(BaseModel):
    """How much of a mix one source is."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    weight: Annotated[float, Field(gt=0, description="Its share of the records, against the weights of the others.")]
    name: Annotated[
        str | None, Field(pattern=f"^{NAME}$", description="What its records' keys begin with; else the source's name.")
    ] = None


class Part(BaseModel):
    """One source of a mix."""

    model_config = ConfigDict(frozen=True)

    name: str
    weight: float
    source: SerializeAsAny[SourceConfig]


class Mix(SourceConfig):
    """Records of several sources in the proportion of their weights, evenly spread.

    An epoch is as long as it takes for every record to come at least once. The source that is largest for its weight
    comes once; of the others some, or all, come again, each time with draws of its own: those of the last, partial
    turn are chosen at random, the same in every epoch.
    Values: those that are of one kind in all sources that have them, absent in the others; `mix`, the source's name.
    Key: the source's name, for the n-th copy of a record followed by #n, and the record's own key.
    """

    parts: tuple[Part, ...]

    def open(self, taken: Callable[[Source], Source] = lambda source: source) -> Source:
        """The mix of what `taken` gives of each source, which is how a split keeps all copies of a record together."""
        return MixedSource([Opened(part.name, part.weight, taken(part.source.open())) for part in self.parts])


@dataclass(frozen=True)
class Opened:
    """A source of a mix that is open."""

    name: str
    weight: float
    source: Source


class MixedSource(Source):
    """Records by index: an order in which each source is spread evenly, held as 8 bytes a record."""

    def __init__(self, parts: Sequence[Opened]) -> None:
        self._parts = parts
        self.values = _values(parts)
        records = max(len(part.source) / part.weight for part in parts)
        counts = [max(len(part.source), round(records * part.weight)) for part in parts]
        self._starts = np.cumsum([0, *counts])
        when = np.concatenate([(np.arange(count) + 0.5) / count for count in counts])
        self._order: npt.NDArray[np.int64] = np.argsort(when, kind="stable")

    def __len__(self) -> int:
        return len(self._order)

    def key(self, index: int) -> str:
        part, turn, place = self._at(index)
        return f"{part.name}{f'#{turn + 1}' if turn else ''}/{part.source.key(place)}"

    def read(self, index: int, names: Collection[str]) -> dict[str, Any]:
        part, _, place = self._at(index)
        own = [name for name in names if name in part.source.values and name != "mix"]
        found = part.source.read(place, own) if own else {}
        return {name: part.name if name == "mix" else found.get(name) for name in names}

    def fingerprint(self) -> str:
        return digest("mix", [[part.name, part.weight, part.source.fingerprint()] for part in self._parts])

    def _at(self, index: int) -> tuple[Opened, int, int]:
        """The source of a record, how often it came before, and its index there."""
        number = self._order[index]
        which = int(np.searchsorted(self._starts, number, side="right")) - 1
        part = self._parts[which]
        turn, place = divmod(int(number - self._starts[which]), len(part.source))
        if turn:
            place = int(shuffled(0, turn, np.array([place]), len(part.source))[0])
        return part, turn, place


def _values(parts: Sequence[Opened]) -> dict[str, Spec]:
    """What a field can name: values that are of one kind in all sources that have them."""
    found = {name for part in parts for name in part.source.values} - {"mix"}
    made = {name: _joined([part.source.values.get(name) for part in parts]) for name in sorted(found)}
    return {"mix": TEXT} | {name: spec for name, spec in made.items() if spec is not None}


def _joined(specs: Sequence[Spec | None]) -> Spec | None:
    """The one spec of a value in all sources; None when it is of several kinds."""
    there = [spec for spec in specs if spec is not None]
    optional = len(there) < len(specs) or any(spec.optional for spec in there)
    ranges = {spec.range for spec in there}
    span = ranges.pop() if len(ranges) == 1 else None
    kinds = {spec.but(range=span, optional=optional) for spec in there}
    return kinds.pop() if len(kinds) == 1 else None
