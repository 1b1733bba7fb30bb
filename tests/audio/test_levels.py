"""audio.normalize, pre_emphasis, mu_law, channels, delta, inverse_stft and trim_silence against other libraries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import librosa
import librosa.effects as effects
import numpy as np
import pytest
from pydantic import ValidationError
from scipy import ndimage

from pipelines.audio import Channels, Delta, InverseStft, MuLaw, Normalize, PreEmphasis, Stft, TrimSilence
from pipelines.errors import OutputError, SpecError, UserError
from pipelines.spec import PER_RECORD, Axis, Spec, waveform

MONO = waveform(16000)
BANDS = Spec("float32", (Axis("band", 5), Axis("frame")))


@pytest.fixture
def sound(rng: np.random.Generator) -> np.ndarray[Any, Any]:
    return np.asarray(rng.normal(0, 0.2, 4001), np.float32)


def test_peak_and_rms(framework: str, run: Any, sound: Any) -> None:
    assert np.abs(run(Normalize(db=-6), MONO, sound, framework)).max() == pytest.approx(10**-0.3, rel=2e-7)
    found = run(Normalize(mode="rms"), MONO, sound, framework).astype(np.float64)
    assert np.sqrt(np.mean(found**2)) == pytest.approx(0.1, rel=2e-7)
    # TensorFlow takes values below 1e-38 for 0, and 1 / 1e-42 is beyond float32
    for silence in (np.zeros(9), [0, 1e-42, -1e-39], [1e-31]):
        for mode in ("peak", "rms"):
            assert not run(Normalize(mode=mode), MONO, np.array(silence, np.float32), framework).any()
    for quiet in (1e-29, 3e38):
        found = run(Normalize(), MONO, np.array([0, quiet, -quiet / 2], np.float32), framework)
        np.testing.assert_array_equal(found, np.array([0, 1, -0.5], np.float32))
    stereo = np.stack([sound, sound / 4])
    found = run(Normalize(), waveform(16000, 2), stereo, framework)
    np.testing.assert_allclose(found[1], found[0] / 4, rtol=3e-7)  # one factor for the record


def test_a_record_by_itself_is_sklearns(framework: str, run: Any, rng: np.random.Generator) -> None:
    from sklearn.preprocessing import StandardScaler

    features = (rng.normal(-60, 3, (5, 77)) * np.arange(5)[:, None]).astype(np.float32)
    features[2] = -80.3  # as sums of such a number may not be exact, its deviation may not be 0
    found = run(Normalize(mode="record"), BANDS, features, framework)
    np.testing.assert_allclose(found, StandardScaler().fit_transform(features.T.astype(np.float64)).T, atol=6e-7)
    assert not found[[0, 2]].any()
    assert not run(Normalize(mode="record"), BANDS, features[:, :1], framework).any()
    assert run(Normalize(mode="record"), BANDS, features[:, :0], framework).shape == (5, 0)
    stereo = rng.normal(0.1, 0.2, (2, 400)).astype(np.float32)
    found = run(Normalize(mode="record"), waveform(16000, 2), stereo, framework).astype(np.float64)
    np.testing.assert_allclose([found.mean(-1), found.std(-1) - 1], 0, atol=1e-7)


def test_bands_are_learnt_from_all_frames(framework: str, run: Any, tmp_path: Path, rng: np.random.Generator) -> None:
    values = [(rng.normal(7, 3, (5, n)) * np.arange(5)[:, None]).astype(np.float32) for n in (1, 40, 0, 333)]
    step = Normalize(mode="bands", file=tmp_path / "bands.json")
    assert not step.is_fitted()
    with pytest.raises(SpecError, match="make it with: pipelines fit"):
        step.out_spec(BANDS)
    step.fit(values)
    every = np.concatenate(values, 1).astype(np.float64)
    held = json.loads((tmp_path / "bands.json").read_text())
    np.testing.assert_allclose(held["mean"], every.mean(1), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(held["deviation"], [1.0, *every.std(1)[1:]], rtol=1e-12)  # the first band never changes
    found = np.concatenate([run(step, BANDS, value, framework) for value in values], 1).astype(np.float64)
    np.testing.assert_allclose(found[1:].mean(1), 0, atol=1e-6)
    np.testing.assert_allclose(found[1:].std(1), 1, atol=1e-6)
    with pytest.raises(SpecError, match="expected the 5 bands"):
        step.out_spec(Spec("float32", (Axis("band", 6), Axis("frame"))))
    with pytest.raises(UserError, match="no record has a frame"):
        step.fit([values[2]])
    with pytest.raises(UserError, match="expected finite values"):
        step.fit([values[0], np.full((5, 2), -np.inf, np.float32)])
    inside = Normalize(mode="bands", file=tmp_path / "new" / "bands.json")
    inside.fit(values)
    assert inside.numbers()[0].tolist() == step.numbers()[0].tolist()
    with pytest.raises(OutputError, match="cannot write"):
        Normalize(mode="bands", file=tmp_path / "bands.json" / "x").fit(values)
    (tmp_path / "bands.json").write_text("[1]")
    with pytest.raises(SpecError, match="does not hold the mean"):
        step.out_spec(BANDS)


def test_pre_emphasis_is_librosas(framework: str, run: Any, sound: Any) -> None:
    expected = effects.preemphasis(sound.astype(np.float64), coef=0.97, zi=[0.0])
    np.testing.assert_allclose(run(PreEmphasis(), MONO, sound, framework), expected, atol=1.2e-7)  # two float32 steps


def test_mu_law_is_torchaudios_and_librosas(framework: str, run: Any, sound: Any) -> None:
    import torch
    from torchaudio.functional import mu_law_decoding, mu_law_encoding

    sound = np.clip(sound * 3, -1, 1)
    classes = run(MuLaw(), MONO, sound, framework)
    theirs = mu_law_encoding(torch.from_numpy(sound), 256).numpy()
    assert np.mean(classes != theirs) <= 1e-3  # theirs is float32, off by a class at the edge of one
    assert np.abs(classes - theirs).max() <= 1
    for count in (2, 255, 256, 65536):
        expected = mu_law_encoding(torch.from_numpy(sound).double(), count).numpy()
        np.testing.assert_array_equal(run(MuLaw(classes=count), MONO, sound, framework), expected)
    np.testing.assert_array_equal(
        classes, np.floor((librosa.mu_compress(sound.astype(np.float64), quantize=False) + 1) / 2 * 255 + 0.5)
    )
    spec = MuLaw().out_spec(MONO)
    back = run(MuLaw(direction="decode"), spec, classes, framework)
    np.testing.assert_allclose(back, mu_law_decoding(torch.from_numpy(classes), 256), atol=3e-7)  # float32 powers
    assert np.abs(back - sound).max() < 0.025  # half a class of 256, where it is widest
    np.testing.assert_array_equal(run(MuLaw(), MONO, back, framework), classes)
    with pytest.raises(SpecError, match=r"expected classes in \[0, 15\]"):
        MuLaw(direction="decode", classes=16).out_spec(spec)


def test_channels(framework: str, run: Any, rng: np.random.Generator, errors: Any) -> None:
    sound = rng.normal(size=(3, 50)).astype(np.float32)
    three, several = waveform(8000, 3), waveform(8000).but(axes=(Axis("channel"), Axis("time")))
    np.testing.assert_allclose(run(Channels(count=1), three, sound, framework), librosa.to_mono(sound), atol=2e-7)
    np.testing.assert_array_equal(run(Channels(pick=2), three, sound, framework), sound[2])
    np.testing.assert_array_equal(run(Channels(count=2), several, sound[:1], framework), sound[[0, 0]])
    with pytest.raises(SpecError, match="expected 1 or 2 channels, got 3"):
        Channels(count=2).out_spec(three)
    for step, says in ((Channels(count=2), "expected 1 or 2"), (Channels(pick=3), "expected more than 3")):
        with pytest.raises(errors, match=rf"{says} channels, got[^0-9]*3"):
            run(step, several, sound, framework)
    with pytest.raises(errors, match=r"expected more than 0 channels, got[^0-9]*0"):
        run(Channels(count=1), several, sound[:0], framework)
    with pytest.raises(ValidationError, match="expected count or pick, got both"):
        Channels(count=1, pick=0)


def test_delta_is_torchaudios_and_librosas(framework: str, run: Any, rng: np.random.Generator) -> None:
    features = rng.normal(size=(13, 60)).astype(np.float32)
    spec = Spec("float32", (Axis("band", 13), Axis("frame")))
    found = run(Delta(width=9), spec, features, framework)
    assert found.shape == (26, 60)
    np.testing.assert_array_equal(found[:13], features)
    inside = librosa.feature.delta(features.astype(np.float64), width=9)[:, 4:-4]  # its ends are fitted lines
    np.testing.assert_allclose(found[13:, 4:-4], inside, atol=1e-6)
    twice = run(Delta(width=5, order=2), spec, features, framework)
    once = run(Delta(width=5, keep=False), spec, features, framework)
    np.testing.assert_allclose(twice[26:], run(Delta(width=5, keep=False), spec, once, framework), atol=1e-6)
    # slopes of levels are small beside their rounding in float32
    levels = (features * 0.01 - 80).astype(np.float32)
    weights = np.arange(-2, 3) / 10
    expected = ndimage.correlate1d(levels.astype(np.float64), weights, mode="nearest")
    np.testing.assert_allclose(run(Delta(keep=False), spec, levels, framework), expected, rtol=1e-6, atol=1e-12)
    still = run(Delta(keep=False, order=2), spec, np.full((13, 7), -80.3, np.float32), framework)
    assert np.abs(still).max() < 1e-12
    with pytest.raises(ValidationError, match="width=4 must be odd"):
        Delta(width=4)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"n_fft": 512, "win": 400, "hop": 100, "window": "hamming"},
        {"n_fft": 64, "hop": 16},
        {"n_fft": 401, "win": 333, "hop": 77},
        {"n_fft": 400, "hop": 330},  # hardly any overlap
        {"n_fft": 256, "hop": 128, "window": "blackman"},
    ],
)
def test_inverse_stft_is_librosas_and_the_inverse(params: Any, framework: str, run: Any, sound: Any) -> None:
    forward = Stft(**params)
    backward = InverseStft(**params, rate_hz=16000)
    spectrum = run(forward, MONO, sound, framework)
    found = run(backward, forward.out_spec(MONO), spectrum, framework)
    np.testing.assert_allclose(found, sound[: len(found)], atol=1e-6)  # two float32 transforms
    changed = (spectrum * np.linspace(0.5, 2, spectrum.shape[1])).astype(np.complex64)  # no waveform has just these
    expected = librosa.istft(
        changed.astype(np.complex128),
        hop_length=forward.hop,
        win_length=forward.win,
        n_fft=forward.n_fft,
        window=forward.window,
    )
    found = run(backward, forward.out_spec(MONO), changed, framework)
    size = min(len(found), len(expected))  # librosa's is one sample shorter for an odd n_fft
    assert len(found) - size <= forward.n_fft % 2
    np.testing.assert_allclose(found[:size], expected[:size], atol=1e-6 * np.abs(expected).max())  # a float32 FFT
    assert backward.out_spec(forward.out_spec(MONO)).rate_hz == 16000
    with pytest.raises(SpecError, match="bins for n_fft"):
        backward.out_spec(Spec("complex64", (Axis("bin", 7), Axis("frame"))))
    with pytest.raises(ValidationError, match="centre: expected true"):
        InverseStft(centre=False)
    for hop, window in (
        (399, "hann"),
        (401, "rect"),
        (350, "blackman"),
    ):  # torch.istft fails for some, others are noise
        with pytest.raises(ValidationError, match=f"hop={hop} is too long for a {window} window of 400 samples"):
            InverseStft(hop=hop, window=window)


def test_inverse_stft_of_a_stated_length(framework: str, run: Any, sound: Any, errors: Any) -> None:
    spectrum, spec = run(Stft(), MONO, sound, framework), Stft().out_spec(MONO)
    for samples in (3999, 3841, 1):  # 26 frames are centred on samples 0 to 4000
        step = InverseStft(samples=samples)
        np.testing.assert_allclose(run(step, spec, spectrum, framework), sound[:samples], atol=1e-6)
        assert step.out_spec(spec).shape == (samples,)
    with pytest.raises(errors, match="at least 27 frames"):
        run(InverseStft(samples=4001), spec, spectrum, framework)
    with pytest.raises(SpecError, match="samples=4001 must be <= 4000, what 26 frames hold"):
        InverseStft(samples=4001).out_spec(spec.but(axes=(spec.axes[0], Axis("frame", 26))))


@pytest.mark.parametrize("where", ["both", "start", "end"])
@pytest.mark.parametrize("channels", [None, 2])
def test_trim_is_librosas(where: Any, channels: Any, framework: str, run: Any, rng: np.random.Generator) -> None:
    for first, last, time in ((3000, 9000, 12000), (0, 5000, 5001), (700, 7777, 7777), (5, 9, 300)):
        sound = rng.normal(0, 1e-4, (*[channels] * bool(channels), time)).astype(np.float32)
        sound[..., first:last] += rng.normal(0, 0.1, last - first).astype(np.float32)
        step = TrimSilence(floor_db=-40, frame=512, hop=128, where=where)
        found = run(step, waveform(16000, channels), sound, framework)
        _, (begin, end) = effects.trim(sound, top_db=40, frame_length=512, hop_length=128)
        begin, end = 0 if where == "end" else begin, time if where == "start" else end
        np.testing.assert_array_equal(found, sound[..., begin:end])


def test_trim_takes_quiet_recordings_as_it_takes_loud_ones(framework: str, run: Any, sound: Any) -> None:
    sound = np.concatenate([np.zeros(3000, np.float32), sound])
    step = TrimSilence(frame=512, hop=128)
    loud, quiet = (run(step, MONO, sound * np.float32(scale), framework) for scale in (1, 2**-10))
    np.testing.assert_array_equal(quiet * 1024, loud)
    assert 4001 <= len(loud) <= 4001 + 512
    # librosa takes 1e-5 for the zeros, which is within 60 dB of this sound
    assert len(effects.trim(sound / 1024, top_db=60, frame_length=512, hop_length=128)[0]) == len(sound)


def test_trim_hears_what_is_quiet_after_what_is_loud(run: Any, rng: np.random.Generator) -> None:
    """-114 dB below the loud part: a running sum of squares would not move any more."""
    loud, quiet = rng.uniform(-1, 1, 2_000_000), rng.uniform(-1, 1, 20_000) * 2e-6
    sound = np.concatenate([loud, quiet, np.zeros(9000)]).astype(np.float32)
    found = run(TrimSilence(floor_db=-120), MONO, sound, "torch")
    assert 0 <= len(found) - 2_020_000 <= 2048


def test_silence_fails(framework: str, run: Any, errors: Any) -> None:
    with pytest.raises(errors, match="silent"):
        run(TrimSilence(), MONO, np.zeros(5000, np.float32), framework)
    for wrong in (np.nan, np.inf):
        with pytest.raises(errors, match="expected finite samples"):
            run(TrimSilence(), MONO, np.array([0.5, wrong, 0.5], np.float32), framework)
    found, rate = run(TrimSilence(), waveform(PER_RECORD), np.ones(5000, np.float32), framework, 8000)
    assert (found.shape, rate) == ((5000,), 8000)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"mode": "bands"}, "file: expected with mode: bands"),
        ({"file": "x.json"}, "file: expected with mode: bands"),
        ({"mode": "bands", "file": "x.json", "db": 1}, "db: expected only with"),
        ({"mode": "record", "db": 1}, "db: expected only with mode: peak or rms, got 'record'"),
    ],
)
def test_normalize_faults(params: Any, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Normalize.model_validate(params)
