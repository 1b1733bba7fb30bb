"""Batches of like length: every record once, budgets kept, ranks equal, the rest the same for any number of ranks."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.buckets import UNKNOWN, Buckets, shared
from pipelines.draw import shuffled
from pipelines.grid import Chunk, Grid, Streams

NONE = Streams()


@st.composite
def grids(draw: st.DrawFn, budget: bool | None = None, drop_last: bool | None = False) -> Grid:
    """Grids with buckets: lengths known or not, many alike or none, some above the budget."""
    records = draw(st.integers(1, 150))
    most = draw(st.sampled_from([1, 5, 400]))
    lengths = np.array(draw(st.lists(st.integers(UNKNOWN, most), min_size=records, max_size=records)))
    if draw(st.booleans()):
        lengths = lengths / 4.0
        lengths[lengths < 0] = UNKNOWN
    by_budget = draw(st.booleans()) if budget is None else budget
    tokens = draw(st.sampled_from([1.0, 7.5, 300.0, 5000.0])) if by_budget else None
    buckets = Buckets(lengths, draw(st.integers(1, 60)), tokens, draw(st.integers(1, 4)))
    return Grid(
        records,
        draw(st.none() | st.integers(1, 20)) if by_budget else draw(st.integers(1, 20)),
        shuffle=draw(st.booleans()),
        drop_last=draw(st.booleans()) if drop_last is None else drop_last,
        seed=draw(st.integers(0, 2**31)),
        world=draw(st.integers(1, 5)),
        buckets=buckets,
    )


def epoch(grid: Grid, number: int = 0, position: int = 0) -> list[list[Chunk]]:
    """For each batch of the grid, the chunks of all ranks, each of which has as many."""
    ranks = [list(replace(grid, rank=r).chunks(number, NONE, position)) for r in range(grid.world)]
    assert len({len(chunks) for chunks in ranks}) == 1
    return [list(batch) for batch in zip(*ranks, strict=True)]


def in_order(batches: list[list[Chunk]]) -> list[int]:
    return [int(i) for batch in batches for chunk in batch for i in chunk.indices]


def good(grid: Grid, chunk: Chunk) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The lengths of a chunk's records that can be in a batch."""
    assert grid.buckets is not None
    lengths = grid.buckets.lengths[chunk.indices].astype(float)
    return lengths if grid.buckets.tokens is None else lengths[(lengths >= 0) & (lengths <= grid.buckets.tokens)]


@settings(max_examples=60, deadline=None)
@given(grids(), st.integers(0, 3))
def test_every_record_comes_once(grid: Grid, number: int) -> None:
    batches = epoch(grid, number)
    assert sorted(in_order(batches)) == list(range(grid.records))
    assert len(batches) == grid.batches(number)
    assert (batches[0][0].start, batches[-1][0].stop) == (0, grid.records)
    for batch in batches:
        positions = np.concatenate([chunk.positions for chunk in batch])
        np.testing.assert_array_equal(positions, np.arange(batch[0].start, batch[0].stop))


@settings(max_examples=60, deadline=None)
@given(grids(budget=True), st.integers(0, 3))
def test_no_batch_is_larger_than_the_budget(grid: Grid, number: int) -> None:
    assert grid.buckets is not None
    assert grid.buckets.tokens is not None
    for batch in epoch(grid, number):
        for chunk in batch:
            lengths = good(grid, chunk)
            assert len(lengths) * lengths.max(initial=0) <= grid.buckets.tokens
            assert grid.batch is None or len(lengths) <= grid.batch
            assert chunk.fill == (max(1, len(lengths)) if grid.world > 1 else 0)


@settings(max_examples=60, deadline=None)
@given(grids(), st.integers(0, 2), st.integers(1, 6), st.data())
def test_another_number_of_ranks_goes_on_with_the_same_order(
    grid: Grid, number: int, world: int, data: st.DataObject
) -> None:
    batches = epoch(grid, number)
    done = data.draw(st.integers(0, len(batches)))
    position = batches[done - 1][0].stop if done else 0
    rest = epoch(replace(grid, world=world), number, position)
    assert in_order(batches[:done]) + in_order(rest) == in_order(batches)
    again = epoch(grid, number, position)
    assert [[c.indices.tolist() for c in b] for b in again] == [[c.indices.tolist() for c in b] for b in batches[done:]]
    if done < len(batches):
        inside = data.draw(st.integers(position, batches[done][0].stop - 1))
        assert grid.start_of(number, inside) == position
    assert grid.start_of(number, grid.records) in (grid.records, batches[-1][0].start)


@settings(max_examples=60, deadline=None)
@given(grids(), st.integers(0, 2))
def test_records_stay_in_their_window(grid: Grid, number: int) -> None:
    assert grid.buckets is not None
    width = grid.buckets.width(grid.batch)
    plain = np.arange(grid.records)
    plain = shuffled(grid.seed, number, plain, grid.records) if grid.shuffle else plain
    found = grid.indices(number, 0, grid.records)
    for start in range(0, grid.records, width):
        assert sorted(found[start : start + width]) == sorted(plain[start : start + width])


@settings(max_examples=60, deadline=None)
@given(grids(drop_last=True))
def test_drop_last_leaves_out_what_fills_no_batch(grid: Grid) -> None:
    batches = epoch(grid)
    assert len(batches) == grid.batches()
    end = batches[-1][0].stop if batches else 0
    assert (grid.end(), grid.left_over()) == (end, grid.records - end)
    assert grid.is_over(0, end)
    for batch in batches:
        assert grid.by_budget or all(len(chunk.indices) == grid.batch for chunk in batch)
        assert all(len(chunk.indices) for chunk in batch)  # a batch for every rank
    if not grid.by_budget:
        assert grid.left_over() < grid.rows


def greedy(lengths: list[float], rows: int | None, tokens: float) -> list[int]:
    """Where batches end when each takes sorted records one by one as long as they fit."""
    stops, start = [], 0
    for place, length in enumerate(lengths):
        if (place + 1 - start) * length > tokens or (rows and place - start >= rows):
            stops.append(place)
            start = place
    return [*stops, len(lengths)] if lengths else stops


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=80),
    st.none() | st.integers(1, 9),
    st.integers(50, 400),
)
def test_batches_take_as_many_as_fit(lengths: list[int], rows: int | None, tokens: int) -> None:
    buckets = Buckets(np.array(lengths), 1000, tokens)
    indices, stops = buckets.lay_out(np.arange(len(lengths)), rows, False, None)
    assert indices.tolist() == sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    assert stops.tolist() == greedy(sorted(lengths), rows, tokens)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=9), st.integers(1, 9))
def test_a_part_never_holds_rows_of_two_batches_unless_it_holds_them_whole(sizes: list[int], ranks: int) -> None:
    bounds = [0, *np.cumsum(sizes).tolist()]
    parts = shared(bounds, ranks)
    assert (len(parts), parts[0], parts[-1]) == (ranks + 1, 0, bounds[-1])
    assert parts == sorted(parts)
    for start, stop in pairwise(parts):
        inside = [bound for bound in bounds if start < bound < stop]
        assert not inside or {start, stop} <= set(bounds)


@pytest.mark.parametrize("tokens", [None, 4000.0])
def test_ranks_that_step_together_have_batches_of_like_length(tokens: float | None) -> None:
    lengths = np.random.default_rng(0).integers(1, 200, 4000)
    grid = Grid(4000, 16 if tokens is None else None, shuffle=True, world=4, buckets=Buckets(lengths, 1024, tokens, 4))
    longest = [[int(lengths[chunk.indices].max()) for chunk in batch] for batch in epoch(grid)]
    apart = replace(grid, buckets=replace(Buckets(lengths, 1024, tokens)))
    others = [[int(lengths[chunk.indices].max()) for chunk in batch] for batch in epoch(apart)]
    together, alone = (np.mean([max(step) - min(step) for step in steps]) for steps in (longest, others))
    assert (
        together < 0.2 * alone
    )  # 16 neighbours of 1024 records span a 64th of the lengths, any batches on average more
    assert all(step == sorted(step) for step in longest[:-1])


def test_shuffled_batches_are_not_in_order_of_length_and_differ_by_epoch() -> None:
    lengths = np.random.default_rng(1).integers(1, 500, 2048)
    grid = Grid(2048, 32, shuffle=True, buckets=Buckets(lengths, 1024))
    longest = [[int(lengths[chunk.indices].max()) for (chunk,) in epoch(grid, number)] for number in range(2)]
    assert longest[0] != longest[1]
    steps = np.sign(np.diff(longest[0]))
    assert 0.3 < np.mean(steps > 0) < 0.7
    plain = [int(lengths[chunk.indices].max()) for (chunk,) in epoch(replace(grid, shuffle=False))]
    assert plain == sorted(plain[:32]) + sorted(plain[32:])


def test_like_lengths_save_padding() -> None:
    """Lengths of a log-normal spread, as texts and utterances have; the grid tells the share of padding."""
    lengths = np.random.default_rng(2).lognormal(4, 0.6, 5000).astype(int)
    grid = Grid(5000, 50, shuffle=True, buckets=Buckets(lengths, 2500))
    chunks = [chunk for (chunk,) in epoch(grid)]
    padded = sum(50 * int(lengths[chunk.indices].max()) for chunk in chunks)
    assert grid.padding(lengths) == pytest.approx(1 - lengths.sum() / padded)
    assert grid.padding(lengths) < 0.1 < 0.5 < replace(grid, buckets=None).padding(lengths)


@pytest.mark.parametrize("tokens", [None, 20_000.0, 1.0])
def test_a_window_of_a_million_records_takes_no_seconds(tokens: float | None) -> None:
    lengths = np.random.default_rng(3).integers(1, 2 if tokens == 1 else 1000, 1_000_000)
    grid = Grid(1_000_000, 64, shuffle=True, buckets=Buckets(lengths, 1_000_000, tokens))
    begin = time.process_time()
    next(grid.chunks(0, NONE))
    assert time.process_time() - begin < 5  # 0.6 measured, 1.8 with a million batches
