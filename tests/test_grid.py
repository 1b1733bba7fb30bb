"""The grid: every record once, the same batches on every rank, resume anywhere, with any number of ranks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.draw import shuffled
from pipelines.grid import Chunk, Grid, Streams

STREAMS = {"picture/image.rotate/0": 1, "picture/image.crop/0": 5}
ALL = Streams(STREAMS, {"batch/image.mixup/0": 2})
grids = st.builds(
    Grid,
    records=st.integers(1, 200),
    batch=st.integers(1, 40),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**31),
    world=st.integers(1, 7),
)


def epoch(grid: Grid, number: int = 0, position: int = 0) -> list[list[Chunk]]:
    """The chunks of an epoch, for each batch of the grid those of all ranks."""
    ranks = [list(replace(grid, rank=r).chunks(number, ALL, position)) for r in range(grid.world)]
    assert len({len(chunks) for chunks in ranks}) == 1  # the same number of batches on every rank
    return [list(batch) for batch in zip(*ranks, strict=True)]


def in_order(batches: list[list[Chunk]]) -> list[int]:
    """Record indices in the epoch's global order."""
    return [int(i) for batch in batches for chunk in batch for i in chunk.indices]


@settings(max_examples=30, deadline=None)
@given(grids, st.integers(0, 5))
def test_every_record_comes_once(grid: Grid, number: int) -> None:
    batches = epoch(grid, number)
    assert sorted(in_order(batches)) == list(range(grid.records))
    assert len(batches) == grid.batches() == -(-grid.records // (grid.batch * grid.world))
    assert grid.left_over() == 0


@settings(max_examples=30, deadline=None)
@given(grids)
def test_batches_are_full_and_the_last_is_split_evenly(grid: Grid) -> None:
    *full, last = epoch(grid)
    assert all(len(chunk.indices) == grid.batch for batch in full for chunk in batch)
    rows = [len(chunk.indices) for chunk in last]
    assert max(rows) - min(rows) <= 1
    assert max(rows) <= grid.batch


@settings(max_examples=30, deadline=None)
@given(grids)
def test_drop_last_leaves_out_what_fills_no_batch(grid: Grid) -> None:
    kept = epoch(replace(grid, drop_last=True))
    assert all(len(chunk.indices) == grid.batch for batch in kept for chunk in batch)
    left_over = replace(grid, drop_last=True).left_over()
    assert len(in_order(kept)) + left_over == grid.records
    assert 0 <= left_over < grid.rows
    assert in_order(kept) == in_order(epoch(grid))[: len(in_order(kept))]


@settings(max_examples=30, deadline=None)
@given(grids, st.data())
def test_resume_gives_the_rest(grid: Grid, data: st.DataObject) -> None:
    batches = epoch(grid, 1)
    done = data.draw(st.integers(0, len(batches)))
    position = batches[done - 1][0].stop if done else 0
    rest = epoch(grid, 1, position)
    assert len(rest) == len(batches) - done
    for was, now in zip(batches[done:], rest, strict=True):
        for a, b in zip(was, now, strict=True):
            assert (a.start, a.stop) == (b.start, b.stop)
            np.testing.assert_array_equal(a.positions, b.positions)
            np.testing.assert_array_equal(a.indices, b.indices)
            assert all((a.draws[name] == b.draws[name]).all() for name in STREAMS)


@settings(max_examples=30, deadline=None)
@given(grids, st.integers(1, 9), st.integers(1, 40), st.data())
def test_another_number_of_ranks_regroups_the_rest(grid: Grid, world: int, batch: int, data: st.DataObject) -> None:
    batches = epoch(grid)
    done = data.draw(st.integers(0, len(batches)))
    position = batches[done - 1][0].stop if done else 0
    rest = epoch(replace(grid, world=world, batch=batch), position=position)
    assert in_order(batches[:done]) + in_order(rest) == in_order(batches)


@settings(max_examples=30, deadline=None)
@given(grids, st.integers(1, 9), st.integers(1, 40))
def test_a_record_has_the_same_draws_in_any_grouping(grid: Grid, world: int, batch: int) -> None:
    def by_record(g: Grid) -> dict[int, bytes]:
        return {
            int(index): b"".join(chunk.draws[name][row].tobytes() for name in STREAMS)
            for ranks in epoch(g)
            for chunk in ranks
            for row, index in enumerate(chunk.indices)
        }

    assert by_record(grid) == by_record(replace(grid, world=world, batch=batch, shuffle=not grid.shuffle))


def test_positions_and_indices_belong_together() -> None:
    grid = Grid(records=103, batch=8, shuffle=True, seed=4, world=3)
    for batch in epoch(grid, 2):
        positions = np.concatenate([chunk.positions for chunk in batch])
        np.testing.assert_array_equal(positions, np.arange(batch[0].start, batch[0].stop))
        for chunk in batch:
            np.testing.assert_array_equal(chunk.indices, shuffled(4, 2, chunk.positions, 103))
            assert {name: draw.shape for name, draw in chunk.draws.items()} == {
                name: (len(chunk.indices), count) for name, count in STREAMS.items()
            }


def test_epochs_differ_when_shuffled_and_only_then() -> None:
    grid = Grid(records=50, batch=8)
    assert in_order(epoch(grid, 0)) == in_order(epoch(grid, 1)) == list(range(50))
    shuffle = replace(grid, shuffle=True)
    assert in_order(epoch(shuffle, 0)) != in_order(epoch(shuffle, 1))
    assert in_order(epoch(shuffle, 0)) != in_order(epoch(replace(shuffle, seed=1), 0))


@pytest.mark.parametrize("records", [1, 2, 3])
def test_fewer_records_than_ranks(records: int) -> None:
    (batch,) = epoch(Grid(records=records, batch=4, world=5))
    assert in_order([batch]) == list(range(records))
    assert sorted(len(chunk.indices) for chunk in batch) == [0] * (5 - records) + [1] * records


@pytest.mark.parametrize("drop_last", [False, True])
def test_no_records_give_no_batches(drop_last: bool) -> None:
    grid = Grid(records=0, batch=4, shuffle=True, drop_last=drop_last)
    assert (grid.batches(), grid.left_over(), epoch(grid)) == (0, 0, [])


@settings(max_examples=30, deadline=None)
@given(grids, st.integers(0, 3))
def test_a_batch_has_one_draw_on_every_rank(grid: Grid, number: int) -> None:
    batches = epoch(grid, number)
    drawn = [chunks[0].batch_draws["batch/image.mixup/0"] for chunks in batches]
    assert all(
        np.array_equal(chunk.batch_draws["batch/image.mixup/0"], d)
        for c, d in zip(batches, drawn, strict=True)
        for chunk in c
    )
    assert len({d.tobytes() for d in drawn}) == len(batches)
    assert all(d.shape == (2,) for d in drawn)
