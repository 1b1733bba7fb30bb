"""The grid: the fixed cutting of an epoch's order into global batches, and who takes which rows.

Global batch g holds the positions [g·B·w, (g+1)·B·w) for batch size B and w ranks; rank r takes
its r-th part, and the last batch is split evenly. Failed records leave a batch shorter and are
never refilled, so the grid depends on nothing but the number of records and the config.

Buckets put another record at each position of a window, so all this holds for them too. Where they cut batches by a
budget, the order is one of batches for one rank each: a global batch is the next w of them, and when fewer than w are
left, each is split evenly among some of the ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.buckets import Buckets, Lengths, shared
from pipelines.draw import shuffled, variates

_LAID_OUT = 4
"""Windows whose layout is remembered."""
_LOOKED_AT = 1000
"""Batches whose padding tells that of all."""


@dataclass(frozen=True)
class Streams:
    """The streams of draws of a config, each with its variates: those of records, and those of batches."""

    record: Mapping[str, int] = field(default_factory=dict)
    batch: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Chunk:
    """One batch of the grid as one rank sees it: where its rows stand and what chance gives them.

    `start` and `stop` bound the global batch; `positions` and `indices` are int64[rows] of this
    rank's part; `draws` holds float64[rows, variates] per stream, and `batch_draws` float64[variates]
    per stream of the steps on the whole batch, the same on every rank. The batch is filled up to `fill`
    rows with rows that are not valid.
    """

    epoch: int
    start: int
    stop: int
    positions: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int64]
    draws: Mapping[str, npt.NDArray[np.float64]]
    batch_draws: Mapping[str, npt.NDArray[np.float64]]
    fill: int = 0

    def part(self, rows: list[int]) -> Chunk:
        """The chunk with some of its rows."""
        draws = {name: values[rows] for name, values in self.draws.items()}
        return replace(self, positions=self.positions[rows], indices=self.indices[rows], draws=draws)

    def with_draw(self, draw: Mapping[str, Sequence[float]]) -> Chunk:
        """The chunk with one draw for all rows, of each stream in `draw`."""
        rows = (len(self.indices), 1)
        return replace(self, draws={name: np.tile(np.array(one, np.float64), rows) for name, one in draw.items()})


@dataclass(frozen=True)
class Failure:
    """A quarantined record: which one, where in the order, and what failed why."""

    epoch: int
    position: int
    index: int
    key: str
    field: str
    step: str
    reason: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Grid:
    """Cuts epochs of `records` records into batches of `batch` rows for each of `world` ranks.

    `only` names the records there are, int64[records], where they are not all of the source: they keep their index, and
    with it their draws. With `buckets` that have a budget, `batch` is the most rows of a batch, None for no such limit.
    `fixed` asks for filler rows, which several ranks have in any case.
    """

    records: int
    batch: int | None
    shuffle: bool = False
    drop_last: bool = False
    seed: int = 0
    rank: int = 0
    world: int = 1
    only: npt.NDArray[np.int64] | None = None
    buckets: Buckets | None = None
    fixed: bool = False
    _laid_out: dict[tuple[int, int], tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def by_budget(self) -> bool:
        """Whether batches differ in their number of rows."""
        return self.buckets is not None and self.buckets.tokens is not None

    @property
    def fills(self) -> bool:
        """Whether short batches are filled up."""
        return self.fixed or self.world > 1

    @property
    def rows(self) -> int:
        """Rows of one global batch, where there is one number."""
        assert self.batch is not None, "batches are cut by a budget"
        return self.batch * self.world

    def batches(self, epoch: int = 0, position: int = 0) -> int:
        """Number of batches of an epoch from `position` on, the same on every rank; with a budget, epochs differ."""
        if self.by_budget:
            return sum(1 for _ in self.places(epoch, position))
        return -(-(self.end(epoch, position) - position) // self.rows)

    def end(self, epoch: int = 0, position: int = 0) -> int:
        """The position after the last batch of an epoch that goes on from `position`."""
        if not self.drop_last:
            return self.records
        if self.by_budget:
            return max((stop for _, stop in self.places(epoch, position)), default=position)
        return position + (self.records - position) // self.rows * self.rows

    def left_over(self, epoch: int = 0, position: int = 0) -> int:
        """Records of an epoch that `drop_last` leaves out."""
        return self.records - self.end(epoch, position)

    def is_over(self, epoch: int, position: int) -> bool:
        """Whether no batch of an epoch comes after `position`."""
        return next(self.places(epoch, position), None) is None

    def start_of(self, epoch: int, position: int) -> int:
        """Where the global batch begins that holds `position`, in an epoch that goes through from its beginning."""
        if not self.by_budget:
            return position // self.rows * self.rows
        begin = position // self._width * self._width if self.world == 1 else 0
        held = (start for start, stop in self.places(epoch, begin) if position < stop)
        return next(held, self.records)

    def places(self, epoch: int = 0, position: int = 0) -> Iterator[tuple[int, int]]:
        """Start and stop of each global batch of an epoch from `position` on."""
        if not self.by_budget:
            for start in range(position, self.end(epoch, position), self.rows):
                yield start, min(start + self.rows, self.records)
            return
        stops = self._stops(epoch, position)
        while group := list(islice(stops, self.world)):
            if len(group) == self.world or not self.drop_last:
                yield position, group[-1]
            position = group[-1]

    def chunks(self, epoch: int, streams: Streams, position: int = 0) -> Iterator[Chunk]:
        """The batches of an epoch from `position` on."""
        for start, stop in self.places(epoch, position):
            yield self.chunk(epoch, streams, start, stop)

    def chunk(self, epoch: int, streams: Streams, start: int, stop: int) -> Chunk:
        """The rows that this rank takes of the global batch [start, stop)."""
        first, last = self._part(epoch, start, stop)
        positions, indices = np.arange(first, last), self.indices(epoch, first, last)
        draws = {name: variates(self.seed, epoch, indices, name, n) for name, n in streams.record.items()}
        begin = np.array([start])
        batch = {name: variates(self.seed, epoch, begin, name, n)[0] for name, n in streams.batch.items()}
        return Chunk(epoch, start, stop, positions, indices, draws, batch, self._fill(indices))

    def indices(self, epoch: int, start: int, stop: int) -> npt.NDArray[np.int64]:
        """The records at the positions [start, stop) of an epoch."""
        if self.buckets is None:
            return self._ordered(epoch, start, stop)
        width = self._width
        parts = []
        for window in range(start // width, -(-stop // width)):
            begin = window * width
            parts.append(self._window(epoch, window)[0][max(start - begin, 0) : stop - begin])
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def padding(self, lengths: Lengths, epoch: int = 0) -> float:
        """The share of padding in an epoch's first thousand batches, padded to their longest records; for one rank."""
        held = padded = 0.0
        for start, stop in islice(self.places(epoch), _LOOKED_AT):
            found = lengths[self.indices(epoch, start, stop)]
            found = found[found >= 0] if self.buckets is None else found[self.buckets.fits(found)]
            held += float(found.sum())
            padded += len(found) * float(found.max(initial=0))
        return 1 - held / padded if padded else 0.0

    def _ordered(self, epoch: int, start: int, stop: int) -> npt.NDArray[np.int64]:
        """The records at some positions of the order that is not sorted by length."""
        positions = np.arange(start, stop)
        indices = shuffled(self.seed, epoch, positions, self.records) if self.shuffle else positions
        return indices if self.only is None else self.only[indices]

    @property
    def _width(self) -> int:
        assert self.buckets is not None
        return self.buckets.width(self.batch)

    def _window(self, epoch: int, number: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """A window's records in the order of their batches, and the positions at which these end."""
        found = self._laid_out.get((epoch, number))
        if found is None:
            assert self.buckets is not None
            begin = number * self._width
            ordered = self._ordered(epoch, begin, min(begin + self._width, self.records))
            chance = (self.seed, epoch, begin) if self.shuffle else None
            indices, stops = self.buckets.lay_out(ordered, self.batch, self.drop_last, chance)
            for old in list(self._laid_out)[: 1 - _LAID_OUT]:
                self._laid_out.pop(old, None)
            found = self._laid_out[epoch, number] = (indices, stops + begin)
        return found

    def _stops(self, epoch: int, position: int) -> Iterator[int]:
        """Where the batches of one rank each end that a budget makes, from `position` on."""
        for window in range(position // self._width, -(-self.records // self._width)):
            stops = self._window(epoch, window)[1]
            yield from stops[np.searchsorted(stops, position, side="right") :].tolist()

    def _part(self, epoch: int, start: int, stop: int) -> tuple[int, int]:
        """The positions that this rank takes of a global batch."""
        if not self.by_budget:
            n = stop - start
            return start + self.rank * n // self.world, start + (self.rank + 1) * n // self.world
        bounds = [start]
        for end in self._stops(epoch, start):
            bounds.append(min(end, stop))
            if end >= stop:
                break
        parts = shared(bounds, self.world)
        return parts[self.rank], parts[self.rank + 1]

    def _fill(self, indices: npt.NDArray[np.int64]) -> int:
        """Rows that a batch of these records is filled up to."""
        if not self.fills:
            return 0
        if not self.by_budget:
            assert self.batch is not None
            return self.batch
        assert self.buckets is not None
        return max(1, int(np.count_nonzero(self.buckets.fits(self.buckets.lengths[indices]))))
