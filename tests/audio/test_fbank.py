"""audio.fbank against Kaldi's own output and torchaudio's port of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from pydantic import ValidationError

from pipelines.audio import Fbank
from pipelines.errors import SpecError
from pipelines.spec import PER_RECORD, waveform

MONO = waveform(16000)


def ark(path: Path) -> np.ndarray[Any, Any]:
    """float64[frame, band] of a Kaldi text archive of one matrix."""
    lines = path.read_text().replace("]", "").splitlines()[1:]
    return np.array([line.split() for line in lines if line.strip()], np.float64)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("test.txt", {"bands": 23}),
        ("test-40.txt", {"bands": 40}),
        ("test-40-no-snip-edges.txt", {"bands": 40, "edges": "reflect"}),
    ],
)
def test_kaldis_own_features(name: str, params: Any, framework: str, run: Any, data: Path) -> None:
    """Of a sweep: the file has seven digits of logarithms of 30, and in empty bands Kaldi's float32 rounding."""
    wave, rate_hz = soundfile.read(data / "golden_kaldifeat" / "test.wav", dtype="float32")
    golden = ark(data / "golden_kaldifeat" / name).T
    found = run(Fbank(**params), waveform(rate_hz), wave, framework)
    assert found.shape == golden.shape
    energies = np.exp(golden)
    assert np.max(np.abs(np.exp(found) - energies) / energies.max(0)) < 1.2e-5
    loud = energies > 1e-4 * energies.max(0)
    assert np.abs(found - golden)[loud].max() < 1e-3


@pytest.mark.parametrize("params", [{}, {"edges": "reflect", "bands": 128, "window": "hann"}, {"scale": 1.0}])
def test_speech_is_torchaudios(params: Any, framework: str, run: Any, data: Path) -> None:
    import torch
    from torchaudio.compliance import kaldi

    wave, _ = soundfile.read(data / "audio_librispeech_dali/flac/237-134500-0001.flac", dtype="float32", frames=40001)
    step = Fbank(**params)
    expected = kaldi.fbank(
        torch.from_numpy(wave)[None] * step.scale,
        num_mel_bins=step.bands,
        dither=0.0,
        snip_edges=step.edges == "snip",
        window_type={"hann": "hanning"}.get(step.window, step.window),
    ).numpy()
    # float32 throughout, down to the energies of almost silent bands
    np.testing.assert_allclose(run(step, MONO, wave, framework), expected.T, atol=2e-3)


def test_lengths(framework: str, run: Any, errors: Any) -> None:
    noise = np.random.default_rng(1).uniform(-1, 1, 2000).astype(np.float32)
    for time, snip, reflect in ((400, 1, 3), (559, 1, 3), (560, 2, 4), (2000, 11, 13)):
        for edges, frames in (("snip", snip), ("reflect", reflect)):
            step = Fbank(edges=edges)
            assert run(step, MONO, noise[:time], framework).shape == (80, frames)
            assert step.out_spec(waveform(16000, time=time)).shape == (80, frames)
    assert run(Fbank(edges="reflect"), MONO, noise[:80], framework).shape == (80, 1)  # mirrored more than once
    for step, least in ((Fbank(), 400), (Fbank(edges="reflect"), 80)):
        with pytest.raises(errors, match=f"at least {least} samples"):
            run(step, MONO, noise[: least - 1], framework)
        with pytest.raises(SpecError, match=f"at least {least} samples"):
            step.out_spec(waveform(16000, time=least - 1))
    np.testing.assert_allclose(run(Fbank(), MONO, np.zeros(400, np.float32), framework), np.log(2**-23), rtol=1e-7)


def test_refusals() -> None:
    with pytest.raises(SpecError, match="each record has its own"):
        Fbank().out_spec(waveform(PER_RECORD))
    with pytest.raises(SpecError, match="within half the rate"):
        Fbank(high_hz=8001).out_spec(MONO)
    with pytest.raises(SpecError, match=r"at least 2 samples in a frame and 1 in a hop, got .*hop_ms=0\.01"):
        Fbank(hop_ms=0.01).out_spec(MONO)
    with pytest.raises(ValidationError, match="expected high_hz above low_hz=20"):
        Fbank(high_hz=10)
