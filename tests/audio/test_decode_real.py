"""audio.decode on real files, hard ones included, and against reference decodings of other programs."""

from __future__ import annotations

import io
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import soundfile

from pipelines.audio._headers import Kind, inspect
from pipelines.audio.decode import Decode
from pipelines.errors import RecordError
from pipelines.spec import BYTES

FOLDERS = (
    "audio_hardcases_audiomentations",
    "audio_flac_conformance",
    "audio_torchaudio_assets",
    "golden_mp3_minimp3",
)
# of all files there, texts included: what cannot be decoded at all is named here by its ending
NOT_SOUND = {"", ".txt", ".md", ".jsonl", ".ark", ".pcm", ".m4a"}
KEEP = Decode(channels="keep")


def _found(data: Path, folder: str, pattern: str = "*") -> list[Path]:
    files = sorted(p for p in (data / folder).rglob(pattern) if p.is_file())
    assert files, f"{folder} holds no {pattern}"
    return files


@pytest.fixture(scope="module")
def graph() -> Any:
    """The TensorFlow kernel traced once, as a tf.data graph holds it."""
    import tensorflow as tf

    return tf.function(KEEP.bind_tensorflow(BYTES), input_signature=[tf.TensorSpec((), tf.string)])


def assert_fails_alike(graph: Any, raw: bytes, reason: str) -> None:
    """In TensorFlow for the same reason, which holds no address: a quarantine list is the same in every run."""
    import tensorflow as tf

    with pytest.raises(tf.errors.OpError, match=re.escape(reason)):
        graph(raw)
    assert "0x" not in reason


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_file_ends_alike(folder: str, data: Path, graph: Any) -> None:
    """The same files fail; all others have the same length, rate and values; and the counts add up."""
    torch_kernel = KEEP.bind_torch(BYTES)
    files, counts = _found(data, folder), Counter[str]()
    for path in files:
        raw = path.read_bytes()
        try:
            wave, rate_hz = torch_kernel(raw)
        except RecordError as error:
            assert_fails_alike(graph, raw, str(error))
            counts["failed"] += 1
            continue
        counts["decoded"] += 1
        other, other_rate = graph(raw)
        assert (wave.shape, rate_hz) == (other.shape, int(other_rate)), path
        assert wave.shape[-1] > 0
        wrong = KEEP.agreement.excess(other.numpy(), wave.numpy())
        exact = inspect(raw).kind not in (Kind.MP3, Kind.VORBIS)
        assert wrong is None, (path, wrong)
        assert not exact or np.array_equal(other.numpy(), wave.numpy()), path
    sounds = [p for p in files if p.suffix not in NOT_SOUND and p.name not in ("LICENSE", "p286_011_license")]
    assert counts.total() == len(files) > 0
    assert 0 < counts["decoded"] <= len(files)
    assert counts["decoded"] >= 0.6 * len(sounds)  # flac: 12- and 20-bit and four faulty streams are unreadable


def test_kinds_of_real_files(data: Path) -> None:
    """Real files do take the framework's own decoder: the sniffing is not so strict that all go to the host."""
    kinds = Counter[str]()
    for folder in (*FOLDERS, "audio_librispeech_dali", "audio_librosa_data"):
        for path in _found(data, folder):
            try:
                kinds[inspect(path.read_bytes()).kind.name] += 1
            except RecordError:
                kinds["cut short"] += 1
    assert {"WAV_16", "WAV_24", "WAV_32", "WAV_FLOAT", "FLAC_16", "FLAC_24", "VORBIS", "MP3"} <= set(kinds)
    assert kinds["cut short"] == 0  # no good file is taken for a cut one


@pytest.mark.parametrize("kind", ["flac", "ogg"])
def test_librispeech_references(kind: str, data: Path, framework: str, run: Any) -> None:
    """DALI's int16 decodings: FLAC exactly; Vorbis within 1 level, the float clipped to 16 bits as they are."""
    references = _found(data, f"audio_librispeech_dali/{kind}", "*.npy")
    for reference in references:
        wave, rate_hz = run(Decode(), BYTES, reference.with_suffix(f".{kind}").read_bytes(), framework)
        expected = np.load(reference).reshape(-1)
        assert rate_hz == 16000
        levels = np.clip(np.round(wave * 32768.0), -32768, 32767)
        assert levels.shape == expected.shape
        assert np.abs(levels - expected).max() <= (0 if kind == "flac" else 1)


def test_librispeech_formats_agree(data: Path, framework: str, run: Any) -> None:
    """The same utterance as WAV and as FLAC is the same waveform."""
    for wav in _found(data, "audio_librispeech_dali/wav", "*.wav")[:5]:
        flac = wav.parent.parent / "flac" / f"{wav.stem}.flac"
        waves = [run(Decode(), BYTES, p.read_bytes(), framework)[0] for p in (wav, flac)]
        assert np.array_equal(*waves)


def test_minimp3_references(data: Path, framework: str, run: Any) -> None:
    """The ISO streams' 16-bit reference: within 1 level of rounding, where the reference goes."""
    for stream in _found(data, "golden_mp3_minimp3", "*.bit"):
        wave, _ = run(KEEP, BYTES, stream.read_bytes(), framework)
        reference = np.frombuffer(stream.with_suffix(".pcm").read_bytes(), "<i2").reshape(-1, len(wave)).T
        # the reference decoder leaves out the last frame of some streams, at most 1152 samples
        assert 0 <= wave.shape[1] - reference.shape[1] <= 1152, stream.name
        levels = np.clip(wave[:, : reference.shape[1]] * 32768.0, -32768, 32767)
        assert np.abs(levels - reference).max() <= 1.01, stream.name  # 1 level of theirs, rounding of ours


@pytest.mark.parametrize("number", ["001", "002"])
def test_librosa_load(number: str, data: Path, framework: str, run: Any) -> None:
    """What MATLAB's wavread gave for the same file, all channels and their mean."""
    golden = scipy.io.loadmat(data / "golden_librosa" / f"core-load-{number}.mat")
    mono = bool(golden["mono"])
    path = data / "golden_librosa" / Path(golden["wavfile"].item()).name
    wave, rate_hz = run(Decode() if mono else KEEP, BYTES, path.read_bytes(), framework)
    assert rate_hz == golden["sr"].item()
    expected = golden["y"].reshape(wave.shape)
    assert np.abs(wave - expected).max() <= (3e-8 if mono else 0)  # the mean is rounded to float32


def test_mp3_without_a_length_is_whole(data: Path, framework: str, run: Any) -> None:
    """Files whose encoder left no tag: libsndfile alone stops at its guess of the length."""
    raw = (data / "audio_torchaudio_assets" / "steam-train-whistle-daniel_simon.mp3").read_bytes()
    tagged, _ = run(KEEP, BYTES, raw, framework)
    size = 144_000 * 128 // 44100  # the first frame, 128 kbit/s at 44.1 kHz, holds only the tag
    second = raw.find(raw[:2], size - 2)
    untagged, _ = run(KEEP, BYTES, raw[second:], framework)
    plain = soundfile.read(io.BytesIO(raw[second:]), dtype="float32")[0]
    assert untagged.shape[1] % 1152 == 0
    assert untagged.shape[1] >= max(tagged.shape[1], len(plain))
    delay = int(np.argmax([np.abs(np.dot(tagged[0, :20000], untagged[0, d : d + 20000])) for d in range(1500)]))
    shared = min(tagged.shape[1], untagged.shape[1] - delay)
    # the same frames decoded by the same decoder, or in TensorFlow by the other one
    assert np.abs(tagged[:, :shared] - untagged[:, delay : delay + shared]).max() <= 4e-6
