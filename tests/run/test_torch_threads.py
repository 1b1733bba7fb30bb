"""What the torch engine does for speed: each worker keeps to one core, and a batch on a CPU goes through in parts."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
import torch
from run.fakes import fake

from pipelines.runtime import _lanes
from pipelines.runtime import torch as engine


@pytest.fixture
def _two_threads() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_two_threads")
def test_each_worker_keeps_its_ops_on_one_core_and_the_consumer_keeps_its_own() -> None:
    with engine._Workers(2) as pool:
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


def settle(lanes: _lanes.Lanes, clock: Clock, rate: dict[int, float], waited: bool = True) -> list[int]:
    """Hand over batches of ten records, as many a second as `rate` says of each limit; the limits there were."""
    limits = [lanes.limit]
    for _ in range(500):
        clock.now += 10 / rate[lanes.limit]
        lanes.delivered(10, waited)
        if lanes.limit != limits[-1]:
            limits.append(lanes.limit)
    return limits


@pytest.mark.parametrize(
    ("rate", "limits"),
    [
        ({8: 800, 4: 790, 2: 400, 1: 200}, [8, 4, 8]),
        ({8: 100, 4: 200, 2: 400, 1: 350}, [8, 4, 2, 1, 2]),
        ({8: 100, 4: 110, 2: 120, 1: 130}, [8, 4, 2, 1]),
        ({8: 100, 4: 104, 2: 400, 1: 400}, [8, 4, 8]),
    ],
    ids=["cores help", "some help", "the lock is all", "by chance"],
)
def test_workers_are_halved_as_long_as_that_makes_more(
    monkeypatch: pytest.MonkeyPatch, rate: dict[int, float], limits: list[int]
) -> None:
    clock = Clock(monkeypatch)
    lanes = _lanes.Lanes(8, fixed=False)
    assert settle(lanes, clock, rate) == limits
    assert lanes.settled


def test_nothing_is_tried_while_the_consumer_is_slower_or_when_the_number_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    lanes = _lanes.Lanes(8, fixed=False)
    assert settle(lanes, clock, {8: 100}, waited=False) == [8]
    assert not lanes.settled
    assert settle(_lanes.Lanes(8, fixed=True), clock, {8: 100}) == [8]


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
