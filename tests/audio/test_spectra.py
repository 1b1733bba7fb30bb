"""audio.stft, mel, decibels and mfcc against librosa, scipy, MATLAB's and Whisper's values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import scipy.fft
import scipy.io
import scipy.signal
from pydantic import ValidationError

from pipelines.audio._spectrogram import window
from pipelines.audio.decibels import Decibels
from pipelines.audio.decode import Decode
from pipelines.audio.fbank import Fbank
from pipelines.audio.mel import Mel
from pipelines.audio.mfcc import Mfcc
from pipelines.audio.stft import Stft
from pipelines.errors import SpecError
from pipelines.spec import BYTES, PER_RECORD, Axis, Spec, waveform

# of the peak: a float32 FFT of up to 2048 points, against librosa in float64
FFT = 5e-7
SCIPY_WINDOWS = {"hann": "hann", "hamming": "hamming", "blackman": "blackman", "rect": "boxcar"}


def of_peak(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    assert a.shape == b.shape
    return float(np.abs(a - b).max() / np.abs(b).max())


@pytest.fixture(scope="module")
def speech(data: Path) -> Any:
    """Two seconds of LibriSpeech, 16 kHz."""
    raw = (data / "audio_librispeech_dali" / "flac" / "237-134500-0001.flac").read_bytes()
    return Decode().bind_torch(BYTES)(raw)[0].numpy()[:28001]


@pytest.mark.parametrize("name", SCIPY_WINDOWS)
@pytest.mark.parametrize("length", [1, 2, 320, 401])
def test_windows_are_scipys(name: Any, length: int) -> None:
    ours = window(name, length, length)
    assert np.abs(ours - scipy.signal.get_window(SCIPY_WINDOWS[name], length)).max() < 1e-12
    assert np.array_equal(window(name, length, length + 7), np.pad(ours, (3, 4)))


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"n_fft": 512, "win": 400, "hop": 160, "window": "hamming"},
        {"n_fft": 401, "win": 333, "hop": 77},  # odd sizes
        {"n_fft": 2048, "hop": 512, "centre": False, "window": "blackman"},
        {"n_fft": 64, "hop": 100, "window": "rect"},  # a hop longer than the frame
    ],
)
@pytest.mark.parametrize("output", ["complex", "magnitude", "power"])
def test_stft_is_librosas(params: dict[str, Any], output: Any, framework: str, run: Any, speech: Any) -> None:
    step = Stft.model_validate({**params, "output": output})
    got = run(step, waveform(16000), speech, framework)
    expected = librosa.stft(
        speech.astype(np.float64),
        n_fft=step.n_fft,
        hop_length=step.hop,
        win_length=step.win,
        window=SCIPY_WINDOWS[step.window],
        center=step.centre,
        pad_mode="reflect",
    )
    power = {"complex": expected, "magnitude": np.abs(expected), "power": np.abs(expected) ** 2}[output]
    assert of_peak(got, power) <= (2 * FFT if output == "power" else FFT)  # a square doubles the error
    assert step.out_spec(waveform(16000, time=len(speech))).shape == got.shape


@pytest.mark.parametrize("number", ["003", "004", "005", "006"])
def test_stft_golden(number: str, data: Path, framework: str, run: Any) -> None:
    """MATLAB's spectra of test1_22050.wav, frames from the first sample on."""
    golden = scipy.io.loadmat(data / "golden_librosa" / f"core-stft-{number}.mat")
    raw = (data / "golden_librosa" / Path(golden["wavfile"].item()).name).read_bytes()
    wave = Decode().bind_torch(BYTES)(raw)[0].numpy()
    step = Stft(
        n_fft=int(golden["nfft"].item()),
        hop=int(golden["hop_length"].item()),
        window="hann" if golden["hann_w"].item() else "rect",
        centre=False,
    )
    expected = golden["D"].conj()  # the script that made them transposed with ', which conjugates
    assert of_peak(run(step, waveform(22050), wave, framework), expected) <= FFT


@pytest.mark.parametrize("centre", [True, False])
def test_shortest_waveform(centre: bool, framework: str, run: Any, errors: Any) -> None:
    step = Stft(n_fft=64, hop=16, centre=centre)
    least = 33 if centre else 64
    assert run(step, waveform(8000), np.ones(least, np.float32), framework).shape[0] == 33
    for short in (0, 1, least - 1):
        with pytest.raises(errors, match=f"at least {least} samples"):
            run(step, waveform(8000), np.ones(short, np.float32), framework)
    with pytest.raises(SpecError, match=f"at least {least} samples"):
        step.out_spec(waveform(8000, time=least - 1))


def test_mel_filters_golden(data: Path) -> None:
    """All of MATLAB's filter banks: 144 of area 1 and one of peak 1. Their edges are rounded there, hence 1e-12."""
    files = sorted((data / "golden_librosa").glob("feature-melfb*.mat"))
    assert len(files) > 100
    for path in files:
        golden = scipy.io.loadmat(path)
        rate_hz, n_fft = int(golden["sr"].item()), int(golden["nfft"].item())
        step = Mel(
            n_fft=n_fft,
            bands=int(golden["nfilts"].item()),
            low_hz=float(golden["fmin"].item()),
            high_hz=float(golden["fmax"].item()),
            scale="htk" if golden["htk"].item() else "slaney",
            norm="none" if "norm" in path.name else "area",
        )
        ours = np.pad(step.filters(rate_hz), ((0, 0), (0, n_fft - step.bins)))
        assert np.abs(ours - golden["wts"]).max() < 1e-12, path.name


@pytest.mark.parametrize("bands", [80, 128])
def test_mel_filters_are_whispers(bands: int, data: Path) -> None:
    """Whisper's are librosa's in float32."""
    with np.load(data / "golden_whisper" / "mel_filters.npz") as golden:
        expected = golden[f"mel_{bands}"]
    ours = Mel(n_fft=400, bands=bands, scale="slaney", norm="area").filters(16000)
    assert of_peak(ours.astype(np.float32), expected) < 1e-6


@pytest.mark.parametrize(
    "params",
    [
        {"bands": 64},
        {"n_fft": 512, "win": 400, "bands": 40, "low_hz": 20, "high_hz": 7600, "scale": "slaney", "norm": "area"},
        {"n_fft": 401, "hop": 200, "bands": 23, "power": 1, "window": "hamming"},
    ],
)
def test_mel_is_librosas(params: dict[str, Any], framework: str, run: Any, speech: Any) -> None:
    step = Mel.model_validate(params)
    expected = librosa.feature.melspectrogram(
        y=speech.astype(np.float64),
        sr=16000,
        n_fft=step.n_fft,
        win_length=step.win,
        hop_length=step.hop,
        window=SCIPY_WINDOWS[step.window],
        pad_mode="reflect",
        power=step.power,
        n_mels=step.bands,
        fmin=step.low_hz,
        fmax=step.high_hz,
        htk=step.scale == "htk",
        norm=None if step.norm == "none" else "slaney",
        dtype=np.float64,
    )
    assert of_peak(run(step, waveform(16000), speech, framework), expected) <= 1e-6  # FFT, squared, summed


def test_mel_refusals() -> None:
    for spec, said in ((waveform(PER_RECORD), "each record has its own"), (waveform(None), "none is known")):
        with pytest.raises(SpecError, match=said):
            Mel().out_spec(spec)
    with pytest.raises(SpecError, match="within half the rate"):
        Mel(high_hz=8001).out_spec(waveform(16000))
    for bad, said in (
        ({"low_hz": 100, "high_hz": 100}, "expected high_hz above"),
        ({"n_fft": 100, "win": 101}, "expected win of at most n_fft=100, got 101"),
        ({"bands": 0}, "greater"),
        ({"hop": 0}, "greater"),
        ({"norm": "slaney"}, "'none' or 'area'"),
    ):
        with pytest.raises(ValidationError, match=said):
            Mel.model_validate(bad)


LEVELS = Spec("float32", (Axis("band"), Axis("frame")))


@pytest.mark.parametrize("of", ["power", "magnitude"])
@pytest.mark.parametrize("top_db", [None, 80.0])
@pytest.mark.parametrize("reference", ["one", "max"])
def test_decibels_are_librosas(of: Any, top_db: Any, reference: Any, framework: str, run: Any, rng: Any) -> None:
    values = (10 ** rng.uniform(-14, 4, (40, 31))).astype(np.float32)
    values[0, 0] = 0
    step = Decibels(of=of, floor=1e-8, top_db=top_db, reference=reference)
    got = run(step, LEVELS.but(unit=of), values, framework)
    convert = librosa.power_to_db if of == "power" else librosa.amplitude_to_db
    ref = 1.0 if reference == "one" else np.max
    expected = convert(values.astype(np.float64), ref=ref, amin=1e-8, top_db=top_db)
    assert np.abs(got - expected).max() <= Decibels.agreement.absolute
    least = -80 if of == "power" else -160
    assert got.min() >= (least if reference == "one" else least - expected.max() - 80) - 1e-4
    assert reference == "one" or got.max() == 0


def test_what_is_relative_to_the_record(framework: str, run: Any) -> None:
    batch = np.float32([[[1e3, 1e-9]], [[1e-6, 1e-9]]])
    spec = Spec("float32", (Axis("band", 1), Axis("frame", 2)), "power")
    got = run(Decibels(reference="max", top_db=50), spec, batch, framework)
    assert np.abs(got - [[[0, -50]], [[0, -30]]]).max() < 1e-4


def test_top_db_is_of_each_record(framework: str, run: Any) -> None:
    """A loud record in a batch does not lift a quiet one."""
    batch = np.float32([[[1e3, 1e-9]], [[1e-6, 1e-9]]])
    spec = Spec("float32", (Axis("band", 1), Axis("frame", 2)), "power")
    got = run(Decibels(top_db=50), spec, batch, framework)
    assert np.abs(got - [[[30, -20]], [[-60, -90]]]).max() < 1e-4


def test_decibels_refusals(framework: str, run: Any, errors: Any) -> None:
    for spec in (waveform(8000), LEVELS.but(unit="dB"), LEVELS.but(dtype="complex64"), LEVELS.but(unit="magnitude")):
        with pytest.raises(SpecError, match="expected"):
            Decibels().out_spec(spec)
    with pytest.raises(errors, match="at least 1 value"):
        run(Decibels(), LEVELS, np.zeros((4, 0), np.float32), framework)
    for bad in ({"floor": 0}, {"floor": 1e-45}, {"top_db": -1}, {"of": "energy"}):
        with pytest.raises(ValidationError):
            Decibels.model_validate(bad)


@pytest.mark.parametrize("coefficients", [1, 13, 40])
def test_mfcc_is_librosas(coefficients: int, framework: str, run: Any, rng: Any) -> None:
    levels = rng.uniform(-100, 40, (40, 77)).astype(np.float32)
    spec = Spec("float32", (Axis("band", 40), Axis("frame")), "dB")
    got = run(Mfcc(coefficients=coefficients), spec, levels, framework)
    assert of_peak(got, librosa.feature.mfcc(S=levels, n_mfcc=coefficients)) < 1e-6
    assert of_peak(got, scipy.fft.dct(levels.astype(np.float64), axis=0, norm="ortho")[:coefficients]) < 1e-6


def test_mfcc_is_kaldis(framework: str, run: Any, data: Path) -> None:
    """All but the first, for which Kaldi puts the energy of the frame unless told otherwise."""
    raw = (data / "golden_kaldifeat" / "test.wav").read_bytes()
    wave = Decode().bind_torch(BYTES)(raw)[0].numpy()
    lines = (data / "golden_kaldifeat" / "test-mfcc.txt").read_text().replace("]", "").splitlines()[1:]
    golden = np.array([line.split() for line in lines if line.strip()], np.float64).T
    step, levels = Fbank(bands=23), run(Fbank(bands=23), waveform(16000), wave, framework)
    found = run(Mfcc(coefficients=13, lifter=22), step.out_spec(waveform(16000)), levels, framework)
    # of a sweep, whose empty bands are Kaldi's float32 rounding: 0.02 of a log, summed over the bands and lifted
    np.testing.assert_allclose(found[1:], golden[1:], atol=0.1)
    assert of_peak(found[1:], golden[1:]) < 2e-3


def test_mfcc_matrix_is_torchaudios() -> None:
    from torchaudio.functional import create_dct

    theirs = create_dct(20, 64, "ortho").numpy().T
    assert np.abs(Mfcc(coefficients=20).matrix(64) - theirs).max() < 1e-6  # theirs is computed in float32


def test_mfcc_refusals() -> None:
    spec = Spec("float32", (Axis("band", 12), Axis("frame")), "dB")
    with pytest.raises(SpecError, match="at most 12 coefficients"):
        Mfcc(coefficients=13).out_spec(spec)
    for wrong in (spec.but(unit="power"), spec.but(axes=(Axis("band"), Axis("frame"))), waveform(8000)):
        with pytest.raises(SpecError, match="expected"):
            Mfcc().out_spec(wrong)


def test_the_whole_chain_on_speech(framework: str, run: Any, speech: Any) -> None:
    """Waveform to coefficients through all specs, against librosa's own chain with the same parameters."""
    spec, value = waveform(16000), speech
    for step in (Mel(bands=40), Decibels(floor=1e-6), Mfcc(coefficients=13)):
        value, spec = run(step, spec, value, framework), step.out_spec(spec)
    mel = librosa.feature.melspectrogram(
        y=speech, sr=16000, n_fft=400, hop_length=160, pad_mode="reflect", n_mels=40, htk=True, norm=None
    )
    expected = librosa.feature.mfcc(S=librosa.power_to_db(mel, ref=1.0, amin=1e-6, top_db=None), n_mfcc=13)
    assert of_peak(value, expected) < 1e-5  # librosa's chain is float32 too; near the floor a log multiplies rounding
