"""The random steps of audio: what each draw does, against other libraries; nothing when serving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import scipy.signal
import soundfile
from pydantic import ValidationError

from pipelines.audio import Gain, Noise, PitchShift, Reverb, Shift, SpecAugment, TimeStretch, _sounds
from pipelines.audio.noise import mono
from pipelines.draw import normals
from pipelines.errors import SpecError
from pipelines.native import to_native, to_numpy
from pipelines.spec import Axis, Spec, waveform
from pipelines.step import Step

MONO = waveform(16000)
FOLDER = Path(__file__).parents[2] / "pipelines" / "audio" / "_example"
LEVELS = Spec("float32", (Axis("band", 40), Axis("frame")))


def drawn(step: Step, value: Any, draw: Any, framework: str, spec: Spec = MONO) -> Any:
    variates = Spec("float64", (Axis("variate"),))
    given = [to_native(value, spec, framework)]
    if step.variates():
        given.append(to_native(np.array(draw, np.float64), variates, framework))
    return to_numpy(step.bind(framework, spec)(*given), step.out_spec(spec))


@pytest.fixture
def sound(rng: np.random.Generator) -> np.ndarray[Any, Any]:
    return np.asarray(rng.normal(0, 0.2, 8001), np.float32)


STEPS = [
    Gain(), Shift(seconds=(0, 0.1)), Noise(), Noise(folder=FOLDER, snr_db=0), Reverb(responses=FOLDER),
    TimeStretch(), PitchShift(semitones=(-5, 5)),
]  # fmt: skip


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.step_name())
def test_serving_changes_nothing(step: Step, framework: str, sound: Any) -> None:
    np.testing.assert_array_equal(drawn(step, sound, step.serving, framework), sound)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.step_name())
def test_probability_is_the_share_that_changes(step: Step, sound: Any) -> None:
    rare = step.model_copy(update={"probability": 0.25})
    draw = np.full(step.variates(), 0.7)
    for chance, changes in ((0.0, True), (0.2499, True), (0.25, False), (1 - 2.0**-32, False)):
        draw[0] = chance
        found = drawn(rare, sound[:2000], draw, "torch")
        assert (found.shape != (2000,) or not np.array_equal(found, sound[:2000])) == changes


@pytest.mark.parametrize(
    ("step", "probable"),
    [
        (Gain(db=6), Gain(db=6, probability=0.5)),
        (Shift(seconds=0.01), Shift(seconds=0.01, probability=0.5)),
        (Reverb(responses=FOLDER / "room.wav"), Reverb(responses=FOLDER / "room.wav", probability=0.5)),
        (TimeStretch(rate=(0.9, 0.9)), TimeStretch(rate=0.9, probability=0.5)),
        (PitchShift(semitones=4), PitchShift(semitones=4, probability=0.5)),
    ],
    ids=lambda step: step.step_name(),
)
def test_what_is_fixed_is_no_chance(step: Step, probable: Step, framework: str, sound: Any) -> None:
    """It is served as it was trained, and takes part in the cache: there is nothing to draw. Batches go through too."""
    assert (step.variates(), probable.variates()) == (0, 2)
    found = drawn(step, sound, None, framework)
    np.testing.assert_array_equal(found, drawn(probable, sound, (0.0, 0.7), framework))
    assert found.shape != sound.shape or not np.array_equal(found, sound)
    if step.batches:
        both = np.stack([sound, sound[::-1]])
        np.testing.assert_allclose(drawn(step, both, None, framework)[0], found, atol=1e-7)  # reverb: float64 FFTs


def test_gain(framework: str, sound: Any) -> None:
    found = drawn(Gain(db=(-10, 10)), sound, (0, 0.8), framework)
    np.testing.assert_allclose(found, sound * 10 ** (6 / 20), rtol=3e-7)
    assert np.abs(drawn(Gain(db=40, clip=True), sound, (0, 0), framework)).max() == 1


def test_shift(framework: str, sound: Any) -> None:
    later = drawn(Shift(seconds=(-0.1, 0.1)), sound, (0, 0.75), framework)
    np.testing.assert_array_equal(later, np.concatenate([np.zeros(800, np.float32), sound[:-800]]))
    wrapped = drawn(Shift(share=(-1, 1), wrap=True), sound, (0, 0.25), framework)
    np.testing.assert_array_equal(wrapped, np.roll(sound, -4000))  # floor(-0.5 * 8001 + 0.5)
    assert not drawn(Shift(share=1.0), sound, (0, 0), framework).any()


@pytest.mark.parametrize("folder", [None, FOLDER])
@pytest.mark.parametrize("snr_db", [-5.0, 20.0])
def test_noise_stands_as_far_below_as_asked(folder: Any, snr_db: float, framework: str, sound: Any) -> None:
    found = drawn(Noise(folder=folder, snr_db=snr_db), sound, (0, 0, 0.3, 0.6), framework)
    added = found.astype(np.float64) - sound
    reached = 10 * np.log10(np.sum(sound.astype(np.float64) ** 2) / np.sum(added**2))
    assert reached == pytest.approx(snr_db, abs=1e-4)  # float32 rounding of the sum


def test_noise_is_torchaudios(framework: str, sound: Any) -> None:
    import torch
    from torchaudio.functional import add_noise

    noise = normals(np.array([0.3, 0.6]), len(sound))
    expected = add_noise(torch.from_numpy(sound).double(), torch.from_numpy(noise), torch.tensor(7.0))
    found = drawn(Noise(snr_db=(5, 9)), sound, (0, 0.5, 0.3, 0.6), framework)
    np.testing.assert_allclose(found, expected, atol=2e-7)


def test_noise_from_a_folder_is_repeated_and_brought_to_the_rate(framework: str, sound: Any) -> None:
    """The second sound has 1200 samples at 8 kHz: 2400 at 16 kHz, which are over three times in the waveform."""
    found = drawn(Noise(folder=FOLDER, snr_db=0), sound, (0, 0, 0.99, 0.5), framework) - sound
    np.testing.assert_allclose(found[:2400], found[2400:4800], atol=1e-6)
    room, _ = soundfile.read(FOLDER / "room.wav")
    theirs = scipy.signal.resample_poly(room, 2, 1)
    np.testing.assert_allclose(np.corrcoef(np.roll(found[:2400], 1200), theirs)[0, 1], 1, atol=2e-2)  # other filters


def test_a_long_noise_is_never_spliced(framework: str, tmp_path: Path) -> None:
    """Of a sound that is long enough the part is whole, and each part comes with the same chance."""
    ramp = np.stack([np.arange(1, 101), np.arange(1, 101)], 1) / 200  # two channels that are alike
    soundfile.write(tmp_path / "ramp.wav", ramp, 16000, subtype="FLOAT")
    step, wave = Noise(folder=tmp_path, snr_db=0), np.full(60, 0.25, np.float32)
    firsts = []
    for where in (0.0, 0.25, 0.5, 1 - 2.0**-32):
        noise = drawn(step, wave, (0, 0, 0, where), framework).astype(np.float64) - wave
        steps = np.diff(noise)
        np.testing.assert_allclose(steps, steps.mean(), rtol=1e-3)  # float32 differences of 1/100 of the sum
        firsts.append(round(noise[0] / steps.mean()) - 1)
    assert firsts == [0, 10, 20, 40]


def test_many_sounds_are_read_when_they_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        soundfile.write(tmp_path / f"{number}.wav", np.full(4000, (number + 1) / 10), 16000, subtype="FLOAT")
    (tmp_path / "6.wav").write_bytes((tmp_path / "5.wav").read_bytes()[:3000] + b"\xff" * 4000)  # NaN in the middle
    monkeypatch.setattr(_sounds, "_KEPT", _sounds._Kept())
    with pytest.raises(SpecError, match=r"6\.wav cannot be used: .*not finite"):
        _sounds.Sounds(tmp_path, 16000, "noise", mono)  # all have room: what is wrong is told at once
    monkeypatch.setattr(_sounds, "_KEPT", kept := _sounds._Kept())
    monkeypatch.setattr(_sounds, "MOST_KEPT", 40_000)  # two of these
    held = _sounds.Sounds(tmp_path, 16000, "noise", mono)
    assert not kept._held
    for _ in range(2):
        levels = [float(held.drawn((number + 0.5) / 7)[0]) for number in range(6)]
        np.testing.assert_allclose(levels, np.arange(1, 7) / 10, rtol=1e-6)
        assert kept._bytes == sum(sound.nbytes for sound in kept._held.values()) <= 40_000
    assert held.drawn(0.75) is held.drawn(0.8)  # it was kept
    with pytest.raises(SpecError, match=r"6\.wav cannot be used"):
        held.drawn(0.99)
    soundfile.write(tmp_path / "0.wav", np.full(4001, 0.9), 16000)
    assert len(_sounds.Sounds(tmp_path, 16000, "noise", mono).drawn(0)) == 4001  # a file that changed is another


def test_no_noise_leaves_the_record_as_it_is(framework: str) -> None:
    wave = np.array([0.1, np.nan, np.inf], np.float32)
    found = drawn(Noise(probability=0.5), wave, (0.5, 0.5, 0.1, 0.2), framework)
    np.testing.assert_array_equal(found, wave)


def test_silence_gets_no_noise(framework: str) -> None:
    assert not drawn(Noise(), np.zeros(50, np.float32), (0, 0.5, 0.1, 0.2), framework).any()


def test_responses_of_differing_lengths_and_channels(framework: str, sound: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rooms = [rng.normal(size=(n, 2)) * np.exp(-np.arange(n) / 50)[:, None] / 9 for n in (700, 90)]
    for number, room in enumerate(rooms):
        soundfile.write(tmp_path / f"{number}.wav", room, 16000, subtype="FLOAT")
    draws = np.array([[0.1, 0.2], [0.9, 0.2], [0.3, 0.7]])
    step = Reverb(responses=tmp_path, probability=0.5)
    waves = np.stack([sound[:3000], sound[3000:6000], sound[5001:]])
    found = drawn(step, waves, draws, framework)
    for wave, got, room in zip(waves, found, (rooms[0], None, rooms[1]), strict=True):
        if room is None:
            np.testing.assert_array_equal(got, wave)
            continue
        first = room[np.abs(room[:, 0]).argmax() :, 0]
        expected = scipy.signal.fftconvolve(wave.astype(np.float64), first / np.linalg.norm(first))[: len(wave)]
        np.testing.assert_allclose(got, expected, atol=2e-7)  # the file holds float32, and so does the result
    soundfile.write(tmp_path / "2.wav", np.zeros(50), 16000)
    with pytest.raises(SpecError, match=r"2\.wav cannot be used: its first channel is silent"):
        step.bind(framework, MONO)


def test_reverb_is_a_convolution(framework: str, sound: Any) -> None:
    response, rate_hz = soundfile.read(FOLDER / "room.wav")
    assert rate_hz == 8000
    response = response[np.abs(response).argmax() :]
    expected = scipy.signal.fftconvolve(sound.astype(np.float64), response / np.sqrt(np.sum(response**2)))[: len(sound)]
    step = Reverb(responses=FOLDER / "room.wav")
    np.testing.assert_allclose(drawn(step, sound, (0, 0.4), framework, waveform(8000)), expected, atol=2e-7)


def test_spec_augment_masks(framework: str, rng: np.random.Generator) -> None:
    levels = rng.normal(size=(40, 90)).astype(np.float32)
    step = SpecAugment(frequency_masks=1, frequency_width=9, time_masks=1, time_width=50, time_share=0.1, value=-7)
    draw = np.zeros(41)
    draw[1:5] = 0.55, 0.5, 0.99, 0.25  # floor(5.5) bands from floor(0.5 * 36); floor(9.9) frames from floor(0.25 * 82)
    expected = levels.copy()
    expected[18:23] = -7
    expected[:, 20:29] = -7
    np.testing.assert_array_equal(drawn(step, levels, draw, framework, LEVELS), expected)
    np.testing.assert_array_equal(drawn(SpecAugment(), levels, SpecAugment.serving, framework, LEVELS), levels)
    rare = step.model_copy(update={"probability": 0.25})
    for chance, masks in ((0.2499, True), (0.25, False)):
        draw[0] = chance
        found = drawn(rare, levels, draw, framework, LEVELS)
        np.testing.assert_array_equal(found, expected if masks else levels)
    draw[0] = 0
    mean = drawn(step.model_copy(update={"value": "mean"}), levels, draw, framework, LEVELS)
    np.testing.assert_allclose(mean[20], levels.astype(np.float64).mean(), atol=1e-7)


def test_spec_augment_places_are_even(rng: np.random.Generator) -> None:
    """Every width comes as often as any other: u in steps of 1/10 gives each of 0 to 9 once."""
    step = SpecAugment(frequency_masks=1, frequency_width=9, time_masks=0, value=9)
    widths = []
    for u in np.arange(10) / 10 + 0.05:
        found = drawn(step, np.zeros((40, 3), np.float32), [0, u, 0.3, *[0] * 38], "torch", LEVELS)
        widths.append(int((found[:, 0] == 9).sum()))
    assert widths == list(range(10))


@pytest.mark.parametrize("rate", [0.7, 1.0, 1.3, 2.0])
def test_time_stretch_is_librosas(rate: float, framework: str) -> None:
    sound = (np.sin(2 * np.pi * 440 * np.arange(16000) / 16000) * np.hanning(16000)).astype(np.float32)
    found = drawn(TimeStretch(rate=rate), sound, (0, 0), framework)
    expected = librosa.effects.time_stretch(sound.astype(np.float64), rate=rate, n_fft=1024, hop_length=256)
    np.testing.assert_allclose(found, expected, atol=6e-8)  # float64, rounded once


@pytest.mark.parametrize("semitones", [-7, 3, 12])
def test_pitch_shift_is_librosas(semitones: int, framework: str) -> None:
    """It resamples with another filter: both leave the tone as it is, but for the ripple of six zero crossings."""
    sound = (np.sin(2 * np.pi * 440 * np.arange(16000) / 16000) * np.hanning(16000)).astype(np.float32)
    how = {"n_fft": 1024, "hop_length": 256, "res_type": "soxr_vhq"}
    expected = librosa.effects.pitch_shift(sound.astype(np.float64), sr=16000, n_steps=semitones, **how)
    np.testing.assert_allclose(drawn(PitchShift(semitones=semitones), sound, None, framework), expected, atol=1e-3)


@pytest.mark.parametrize("semitones", [-7, 3, 12])
def test_pitch_shift_moves_a_tone(semitones: int, framework: str) -> None:
    sound = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000).astype(np.float32)
    found = drawn(PitchShift(semitones=semitones), sound, (0, 0), framework)
    assert found.shape == sound.shape
    spectrum = np.abs(np.fft.rfft(found[2000:14000] * np.hanning(12000), 1 << 18))
    hertz = spectrum.argmax() * 16000 / (1 << 18)
    assert 1200 * abs(np.log2(hertz / (440 * 2 ** (semitones / 12)))) < 3  # cents


@pytest.mark.parametrize("make", [lambda path: Noise(folder=path), lambda path: Reverb(responses=path)])
def test_folders_without_sounds_are_told_before_anything_runs(make: Any, tmp_path: Path) -> None:
    for path, says in ((tmp_path, "it holds no file that ends in"), (tmp_path / "none", "there is none")):
        with pytest.raises(SpecError, match=says):
            make(path).out_spec(MONO)
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(SpecError, match=r"a\.wav cannot be read"):
        make(tmp_path).out_spec(MONO)
    with pytest.raises(SpecError, match="rate"):
        make(FOLDER).out_spec(waveform(None))


@pytest.mark.parametrize(
    ("step", "params", "says"),
    [
        (Gain, {"db": [3, 1]}, "expected the smaller number first"),
        (Shift, {}, "expected seconds or share, got neither"),
        (Shift, {"share": 1.5}, r"share: expected numbers in \[-1, 1\], got 1.5"),
        (Shift, {"seconds": [-1e9, 0]}, r"seconds: expected numbers in \[-3600, 3600\]"),
        (Gain, {"db": 800}, r"db: expected numbers in \[-120, 120\]"),
        (Noise, {"snr_db": [-800, 0]}, r"snr_db: expected numbers in \[-120, 120\]"),
        (TimeStretch, {"rate": 0}, r"expected numbers in \[0.1, 10\]"),
        (TimeStretch, {"hop": 600}, "hop=600 must be <= 512"),
        (PitchShift, {"semitones": 40}, r"expected numbers in \[-36, 36\]"),
        (Noise, {"probability": 2}, "less than or equal to 1"),
    ],
)
def test_faults(step: type[Step], params: Any, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        step.model_validate(params)
