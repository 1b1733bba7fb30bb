"""A batch goes through the steps column by column; a record that fails there is found, alone, by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from run.fakes import ABSENT, CLASSES, MISLABELLED, UNREADABLE, fake

from pipelines.audio.fit import Fit
from pipelines.runtime._chain import Chain

FIELDS: dict[str, Any] = {
    "wave": {"from": "wave", "steps": [{"audio.fit": {"samples": 6}}]},
    "number": {"from": "number"},
}


def test_only_the_records_that_fail_are_lost(framework: str) -> None:
    """Every fifth waveform of the fake source is empty, and audio.fit takes a batch's waveforms together."""
    pipe = fake(framework, lost=(), fields=FIELDS)
    seen = []
    for batch in pipe:
        seen += np.asarray(batch["index"]).tolist()
        for index, wave in zip(np.asarray(batch["index"]), np.asarray(batch["wave"]), strict=True):
            expected = np.random.default_rng(int(index))
            expected.integers(0, 256, (8, 6, 3))
            np.testing.assert_array_equal(wave[: index % 5], expected.random(index % 5).astype(np.float32))
            assert not wave[index % 5 :].any()
    assert sorted(seen) == [i for i in range(50) if i % 5]
    assert sorted(f.index for f in pipe.quarantine) == list(range(0, 50, 5))
    assert {(f.field, f.step) for f in pipe.quarantine} == {("wave", "audio.fit")}
    assert pipe.counts.as_dict() == {"read": 50, "delivered": 40, "quarantined": 10, "left_over": 0}


def test_a_good_batch_goes_through_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    alone: list[int] = []
    pass_one = Chain._pass
    monkeypatch.setattr(
        Chain, "_pass", lambda self, number, *rest: alone.append(number) or pass_one(self, number, *rest)
    )
    singles: list[Any] = []
    bind = Fit.bind_torch
    monkeypatch.setattr(
        Fit, "bind_torch", lambda self, x: (k := bind(self, x)) and (lambda w: singles.append(w) or k(w))
    )
    pipe = fake("torch", lost=(), fields=FIELDS)
    batches = list(pipe)
    assert len(batches) == 13
    assert alone == []
    together = [len(np.asarray(batch["index"])) for batch in batches]
    assert 0 < len(singles) < sum(together)  # only batches with an empty waveform went one by one


def test_memory_that_runs_out_is_not_the_records_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(rows: list[Any]) -> list[Any]:
        raise MemoryError

    monkeypatch.setattr(Fit, "bind_torch_rows", lambda self, x: broken)
    with pytest.raises(MemoryError):
        list(fake("torch", lost=(), fields=FIELDS))


LABELS: dict[str, Any] = {
    "class": {"from": "label", "steps": [{"label.index": CLASSES}]},
    "number": {"from": "number"},
    "needed": {"from": "needed"},
}


@pytest.mark.parametrize("beside", [{}, {"picture": {"from": "picture"}}], ids=["columns alone", "beside rows"])
@pytest.mark.parametrize("lost", [(), (MISLABELLED,), (UNREADABLE,), (ABSENT,)], ids=["none", "step", "read", "absent"])
def test_tensorflow_goes_row_by_row_only_where_a_column_fails(beside: dict[str, Any], lost: tuple[int, ...]) -> None:
    pipe = fake("tensorflow", lost=lost, fields=LABELS | beside)
    assert pipe.engine._columns == set(LABELS)
    again: list[int] = []
    alone = pipe.engine._alone
    pipe.engine._alone = lambda ticket: again.append(int(ticket[1])) or alone(ticket)
    batches = list(pipe)
    indices = np.concatenate([np.asarray(batch["index"]) for batch in batches])
    assert sorted(indices.tolist()) == [i for i in range(50) if i not in lost]
    np.testing.assert_array_equal(np.concatenate([np.asarray(batch["class"]) for batch in batches]), indices % 2)
    assert [failure.index for failure in pipe.quarantine] == list(lost)
    assert len(again) == (0 if lost in ((), (UNREADABLE,)) else 1)  # what cannot be read never reaches the columns
