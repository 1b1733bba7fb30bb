"""Length bucketing: how the records of one window of an epoch's order are put into batches of like length.

A window is so many positions of the order. Its records are sorted by length, equal ones by position, and cut into
batches: of so many rows, or of as many as keep rows x longest within a budget (the padded size of a batch). The batches
are put in an order drawn from (seed, epoch, window), so that a model does not see short records first. So the batches
of an epoch are a function of (config, lengths, seed, epoch), whatever the number of ranks.

Source: sorting within pools and the budget are those of fairseq's batch_by_size and lhotse's DynamicBucketingSampler.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.draw import variates

Ints = npt.NDArray[np.int64]
Lengths = npt.NDArray[Any]
"""A length for each record, int64 or float64; below 0 where it is not known."""

UNKNOWN = -1
_STREAM = "batch/bucket"


@dataclass(frozen=True, eq=False)
class Buckets:
    """Records of known `lengths`, by record index, put together in windows of `window` positions.

    `tokens` is the budget of a batch, None where batches have a number of rows; `ranks` is how many batches of like
    length stand side by side, for ranks that take a batch each at the same time.
    """

    lengths: Lengths
    window: int
    tokens: float | None = None
    ranks: int = 1

    def fits(self, lengths: Lengths) -> npt.NDArray[np.bool_]:
        """Which of the records of these lengths can be in a batch: with a budget, the known ones within it."""
        return lengths >= 0 if self.tokens is None else (lengths >= 0) & (lengths <= self.tokens)

    def width(self, rows: int | None) -> int:
        """Positions of a window: with a number of rows, a multiple of that, so that only the last batch is short."""
        unit = 1 if self.tokens is not None or rows is None else rows * self.ranks
        return -(-self.window // unit) * unit

    def lay_out(
        self, indices: Ints, rows: int | None, drop_last: bool, chance: tuple[int, int, int] | None
    ) -> tuple[Ints, Ints]:
        """The records `indices` of a window in the order of their batches, and where each batch ends among them.

        `rows` is the most that a batch may have. `chance` is (seed, epoch, first position of the window), None where
        batches stay sorted. Records that cannot be in a batch stand in the first one and do not count there. A last
        batch that is short of `rows` stays last; with `drop_last`, chance or the order says which records are in it,
        not their length.
        """
        lengths = self.lengths[indices]
        if self.tokens is None:
            assert rows is not None, "without a budget there is a number of rows"
            whole = len(indices) - len(indices) % rows if drop_last else len(indices)
            order = np.argsort(lengths[:whole], kind="stable")
            order = np.concatenate([order, np.arange(whole, len(indices))])
            stops = np.minimum(np.arange(rows, len(indices) + rows, rows), len(indices))
            groups = len(indices) // rows // self.ranks
        else:
            fits = self.fits(lengths)
            order = np.argsort(np.where(fits, lengths, UNKNOWN), kind="stable")
            lost = len(indices) - int(np.count_nonzero(fits))
            stops = self._even(lost, _cut(lengths[order[lost:]], rows, self.tokens) + lost)
            stops = stops if len(stops) else np.array([len(indices)])
            groups = len(stops) // self.ranks
        if chance is not None:
            order, stops = _mixed(order, stops, groups, self.ranks, chance)
        return indices[order], stops

    def _even(self, start: int, stops: Ints) -> Ints:
        """The batches that end at `stops`, the last few shared out so that their number is a multiple of `ranks`."""
        left = len(stops) % self.ranks
        if not left:
            return stops
        kept = stops[: len(stops) - left]
        bounds = [int(kept[-1]) if len(kept) else start, *stops[len(kept) :].tolist()]
        return np.concatenate([kept, np.unique(shared(bounds, self.ranks))[1:]])


def shared(bounds: Sequence[int], ranks: int) -> list[int]:
    """Bounds of `ranks` parts of the batches between `bounds`: whole batches, or an even share of one where there are
    fewer batches than ranks. No part holds rows of two batches then, so each stays within what its batch keeps to.
    """
    batches = len(bounds) - 1
    if batches >= ranks:
        return [bounds[rank * batches // ranks] for rank in range(ranks + 1)]
    made = [bounds[0]]
    for rank in range(ranks):
        batch = rank * batches // ranks
        first, last = (-(-number * ranks // batches) for number in (batch, batch + 1))
        start, stop = bounds[batch], bounds[batch + 1]
        made.append(start + (rank + 1 - first) * (stop - start) // (last - first))
    return made


def _cut(lengths: Lengths, rows: int | None, tokens: float) -> Ints:
    """Where batches of sorted records end, each as long as rows x longest <= `tokens`; an empty text counts as one."""
    if not len(lengths):
        return np.zeros(0, np.int64)
    cost = np.maximum(lengths, 1) if lengths.dtype.kind == "i" else lengths
    start = np.arange(len(lengths))
    low = start + 1  # for each record, the end of a batch that begins with it, by bisection
    high = np.minimum(start + rows, len(lengths)) if rows else np.full(len(lengths), len(lengths))
    while (low < high).any():
        middle = (low + high + 1) // 2
        fits = (middle - start) * cost[middle - 1] <= tokens
        low, high = np.where(fits, middle, low), np.where(fits, high, middle - 1)
    ends, stops = low.tolist(), [0]
    while stops[-1] < len(lengths):
        stops.append(ends[stops[-1]])
    return np.array(stops[1:])


def _mixed(order: Ints, stops: Ints, groups: int, ranks: int, chance: tuple[int, int, int]) -> tuple[Ints, Ints]:
    """The first `groups` groups of `ranks` batches in a drawn order, what comes after them where it is."""
    seed, epoch, first = chance
    drawn = np.argsort(variates(seed, epoch, first + np.arange(groups), _STREAM, 1)[:, 0], kind="stable")
    batches = (drawn[:, None] * ranks + np.arange(ranks)).reshape(-1)
    batches = np.concatenate([batches, np.arange(groups * ranks, len(stops))])
    sizes = np.diff(stops, prepend=0)
    starts, sizes = (stops - sizes)[batches], sizes[batches]
    stops = np.cumsum(sizes)
    return order[np.arange(len(order)) + np.repeat(starts - (stops - sizes), sizes)], stops
