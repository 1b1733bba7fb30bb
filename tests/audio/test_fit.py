"""audio.fit: what is kept, and where it stands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.audio.fit import Fit
from pipelines.errors import SpecError
from pipelines.spec import PER_RECORD, waveform

WHERE = ("start", "centre", "end")


@pytest.mark.parametrize(
    ("samples", "where", "expected"),
    [
        (3, "start", [1, 2, 3]),
        (3, "centre", [2, 3, 4]),
        (2, "centre", [2, 3]),
        (3, "end", [3, 4, 5]),
        (8, "start", [1, 2, 3, 4, 5, 0, 0, 0]),
        (8, "centre", [0, 1, 2, 3, 4, 5, 0, 0]),
        (8, "end", [0, 0, 0, 1, 2, 3, 4, 5]),
        (5, "centre", [1, 2, 3, 4, 5]),
    ],
)
def test_meaning(samples: int, where: Any, expected: list[int], framework: str, run: Any) -> None:
    wave = np.arange(1, 6, dtype=np.float32)
    step = Fit(samples=samples, where=where)
    assert run(step, waveform(PER_RECORD), wave, framework).tolist() == expected
    stereo = np.stack([wave, -wave])
    assert np.array_equal(run(step, waveform(8000, 2), stereo, framework), [expected, np.negative(expected)])


@settings(max_examples=25, deadline=None)  # a new shape is traced anew in torch and TensorFlow
@given(time=st.integers(1, 60), samples=st.integers(1, 60), where=st.sampled_from(WHERE))
def test_nothing_is_lost_that_fits(time: int, samples: int, where: Any, framework: str, run: Any) -> None:
    """The longest shared run is kept in order and the rest is 0."""
    wave = np.arange(1, time + 1, dtype=np.float32)
    got = run(Fit(samples=samples, where=where), waveform(None), wave, framework)
    kept = got[got > 0]
    assert got.shape == (samples,)
    assert len(kept) == min(time, samples)
    assert np.array_equal(np.diff(kept), np.ones(len(kept) - 1))


def test_seconds_and_refusals(framework: str, run: Any, errors: Any) -> None:
    assert Fit(seconds=1.5).out_spec(waveform(11025)).shape == (16538,)  # to the nearest sample
    with pytest.raises(SpecError, match=r"put audio\.resample before"):
        Fit(seconds=1).out_spec(waveform(PER_RECORD))
    with pytest.raises(SpecError, match="hold none"):
        Fit(seconds=1e-5).out_spec(waveform(8000))
    with pytest.raises(errors, match="at least 1 sample"):
        run(Fit(samples=4), waveform(8000), np.zeros(0, np.float32), framework)
    for bad, said in (({}, "neither"), ({"seconds": 1, "samples": 2}, "both"), ({"samples": 0}, "greater")):
        with pytest.raises(ValidationError, match=said):
            Fit.model_validate(bad)
