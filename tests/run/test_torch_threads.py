"""What the torch engine does for speed: each worker keeps to one core, and a batch on a CPU goes through in parts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from run.fakes import fake

from pipelines.runtime import _clock, _lanes
from pipelines.runtime import torch as engine


@pytest.fixture
def _two_threads() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_two_threads")
def test_each_worker_keeps_its_ops_on_one_core_and_the_consumer_keeps_its_own() -> None:
    with engine._Workers(2, _clock.Clock()) as pool:
        assert torch.get_num_threads() == 2
        assert [pool.submit(torch.get_num_threads).result() for _ in range(8)] == [1] * 8
    assert torch.get_num_threads() == 2


FIELDS: dict[str, Any] = {
    "picture": {
        "from": "picture",
        "steps": [{"image.rotate": {"degrees": [-30, 30]}}, {"image.normalize": {"mean": 0.5}}],
    },
    "number": {"from": "number"},
}


def test_a_batch_in_parts_is_the_same_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [dict(batch) for batch in fake("torch", fields=FIELDS)]
    for values in (1, 3 * 8 * 6 * 3):
        monkeypatch.setattr(engine, "AT_ONCE", values)
        parts = list(fake("torch", fields=FIELDS))
        assert len(parts) == len(whole)
        for a, b in zip(whole, parts, strict=True):
            assert a["key"] == b["key"]
            np.testing.assert_array_equal(a["picture"], b["picture"])


class Clock:
    """Time that passes as the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(_lanes.time, "perf_counter", lambda: self.now)


def settle(lanes: _lanes.Lanes, clock: Clock, rate: Callable[[int], float], waited: bool = True) -> list[int]:
    """Hand over batches of ten records, as many a second as `rate` says of each limit; the limits there were."""
    limits = [lanes.limit]
    for _ in range(1000):
        clock.now += 10 / rate(lanes.limit)
        lanes.delivered(10, waited)
        if lanes.limit != limits[-1]:
            limits.append(lanes.limit)
        if lanes.settled and clock.now > 4:
            break
    return limits


@pytest.mark.parametrize(
    ("rate", "settled"),
    [
        ({8: 800, 4: 500, 2: 300, 1: 150}, 8),
        ({8: 100, 4: 200, 2: 400, 1: 350}, 2),
        ({8: 100, 4: 110, 2: 120, 1: 130}, 1),
        ({8: 105, 4: 100, 2: 60, 1: 30}, 4),
    ],
    ids=["cores help", "some help", "the lock is all", "as good by half"],
)
def test_workers_are_halved_as_long_as_half_make_about_as_much(
    monkeypatch: pytest.MonkeyPatch, rate: dict[int, float], settled: int
) -> None:
    lanes = _lanes.Lanes(8, fixed=False)
    settle(lanes, Clock(monkeypatch), rate.__getitem__)
    assert lanes.settled
    assert lanes.limit == settled


@pytest.mark.parametrize("fast", [True, False])
def test_what_gets_faster_or_slower_all_the_time_favours_no_number(monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    clock = Clock(monkeypatch)
    lanes = _lanes.Lanes(2, fixed=False)
    settle(lanes, clock, lambda limit: limit * 100 * (1 + (clock.now if fast else -clock.now) / 10))
    assert lanes.settled
    assert lanes.limit == 2


@pytest.mark.parametrize("batches", [0, 3, 5, 7, 9, 11], ids="{} batches before a pause".format)
def test_a_choice_made_on_a_disturbed_machine_is_made_again(monkeypatch: pytest.MonkeyPatch, batches: int) -> None:
    clock = Clock(monkeypatch)
    lanes = _lanes.Lanes(2, fixed=False)
    settle(lanes, clock, {2: 100.0, 1: 100.0}.__getitem__)
    assert lanes.limit == 1
    for _ in range(batches):
        clock.now += 10 / (100 * lanes.limit)
        lanes.delivered(10, waited=True)
    clock.now += 100 * _lanes.PAUSE_S  # nothing runs meanwhile
    lanes.delivered(10, waited=False)
    begun, tried = clock.now, 0.0
    for _ in range(1000):
        clock.now += 10 / (100 * lanes.limit)
        lanes.delivered(10, waited=True)
        tried = tried or (clock.now - begun) * (not lanes.settled)
    assert tried == pytest.approx(_lanes.PAUSE_S, rel=0.2)
    assert lanes.settled
    assert lanes.limit == 2


def test_one_disturbance_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers are slow throughout the first trial, and by its end only."""
    lanes = _lanes.Lanes(2, fixed=False)
    asked: list[int] = []

    def rate(limit: int) -> float:
        asked.append(limit)
        back = asked[asked.index(1) :].count(2) if 1 in asked else 0  # batches of two workers after those of one
        return 100.0 if limit == 1 else 60.0 if back <= back_in_trial else 200.0

    back_in_trial = 1 + 2 * _lanes.LEAST_BATCHES  # under way, passed over, measured
    settle(lanes, Clock(monkeypatch), rate)
    assert 1 in asked
    assert lanes.settled
    assert lanes.limit == 2


def test_workers_that_use_their_cores_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    monkeypatch.setattr(_lanes.time, "thread_time", lambda: 0.9 * clock.now)
    lanes = _lanes.Lanes(8, fixed=False)
    limits = set()
    for _ in range(200):
        with lanes:
            clock.now += 0.1
        lanes.delivered(10, waited=True)
        limits.add(lanes.limit)
    assert limits == {8}


def test_nothing_is_tried_while_the_consumer_is_slower_or_when_the_number_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    lanes = _lanes.Lanes(8, fixed=False)
    assert settle(lanes, clock, {8: 100.0}.__getitem__, waited=False) == [8]
    assert settle(_lanes.Lanes(8, fixed=True), clock, {8: 100.0}.__getitem__) == [8]


def test_no_more_work_at_once_than_the_limit() -> None:
    lanes = _lanes.Lanes(4, fixed=True)
    lanes.limit = 2
    working: list[int] = []
    most: list[int] = []

    def work() -> None:
        with lanes:
            working.append(1)
            most.append(len(working))
            time.sleep(0.01)
            working.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 2
    assert len(most) == 8
