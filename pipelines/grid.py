"""The grid: the fixed cutting of an epoch's order into global batches, and who takes which rows.

Global batch g holds the positions [g·B·w, (g+1)·B·w) for batch size B and w ranks; rank r takes
its r-th part, and the last batch is split evenly. Failed records leave a batch shorter and are
never refilled, so the grid depends on nothing but the number of records and the config.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.draw import shuffled, variates


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
    per stream of the steps on the whole batch, the same on every rank.
    """

    epoch: int
    start: int
    stop: int
    positions: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int64]
    draws: Mapping[str, npt.NDArray[np.float64]]
    batch_draws: Mapping[str, npt.NDArray[np.float64]]


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
    with it their draws.
    """

    records: int
    batch: int
    shuffle: bool = False
    drop_last: bool = False
    seed: int = 0
    rank: int = 0
    world: int = 1
    only: npt.NDArray[np.int64] | None = None

    @property
    def rows(self) -> int:
        """Rows of one global batch."""
        return self.batch * self.world

    def batches(self, position: int = 0) -> int:
        """Number of batches of an epoch from `position` on; the same on every rank."""
        left = self.records - position
        return left // self.rows if self.drop_last else -(-left // self.rows)

    def left_over(self, position: int = 0) -> int:
        """Records of an epoch that `drop_last` leaves out."""
        return (self.records - position) % self.rows if self.drop_last else 0

    def chunks(self, epoch: int, streams: Streams, position: int = 0) -> Iterator[Chunk]:
        """The batches of an epoch from `position` on."""
        for g in range(self.batches(position)):
            start = position + g * self.rows
            stop = min(start + self.rows, self.records)
            yield self.chunk(epoch, streams, start, stop)

    def chunk(self, epoch: int, streams: Streams, start: int, stop: int) -> Chunk:
        """The rows that this rank takes of the global batch [start, stop)."""
        n = stop - start
        positions = np.arange(start + self.rank * n // self.world, start + (self.rank + 1) * n // self.world)
        indices = shuffled(self.seed, epoch, positions, self.records) if self.shuffle else positions
        indices = indices if self.only is None else self.only[indices]
        first = np.array([start])
        draws = {name: variates(self.seed, epoch, indices, name, n) for name, n in streams.record.items()}
        batch = {name: variates(self.seed, epoch, first, name, n)[0] for name, n in streams.batch.items()}
        return Chunk(epoch, start, stop, positions, indices, draws, batch)
