"""What the torch engine does for speed: each worker keeps to one core, and a batch on a CPU goes through in parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from run.fakes import fake

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
