"""Windows of long sound files: the same samples as the whole file's, on both frameworks, read quickly; what is wrong, told."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import pipelines
from pipelines.audio.decode import Decode
from pipelines.errors import ConfigError
from pipelines.spec import BYTES

REAL = ["audio_librosa_data/**/*.ogg", "audio_librispeech_dali/**/*.wav", "audio_librispeech_dali/**/*.flac", "audio_librispeech_dali/**/*.ogg", "audio_torchaudio_assets/**/*.mp3"]  # fmt: skip


def table(folder: Path, rows: list[tuple[Any, ...]]) -> Path:
    path = folder / "table.csv"
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("audio", "start", "length"), *rows])
    return path


def source(path: Path, **changes: Any) -> dict[str, Any]:
    window = {"offset": "start", "duration": "length"}
    return {"manifest": {"path": str(path), "files": ["audio"], "windows": {"audio": window}} | changes}


def load(path: Path, framework: str, **changes: Any) -> Any:
    fields = {
        "wave": {
            "from": "audio",
            "steps": [{"audio.decode": {"channels": "keep"}}, {"audio.resample": {"rate_hz": 8000}}],
        }
    }
    document = {
        "framework": framework,
        "source": source(path, **changes),
        "fields": fields,
        "on_error": {"at_most": 1.0},
    }
    return pipelines.load(document, device="cpu")


@pytest.mark.parametrize("pattern", REAL)
def test_a_window_holds_the_samples_of_the_whole(pattern: str, data: Path, tmp_path: Path) -> None:
    files = sorted(data.glob(pattern))
    assert files, pattern
    decode = Decode(channels="keep").bind_torch(BYTES)
    for file in files[:3]:
        whole, rate = decode(file.read_bytes())
        seconds = whole.shape[1] / rate
        rows = [(file, seconds * 0.3, seconds * 0.25), (file, 0.0123, ""), (file, "", 0.1), (file, seconds - 0.2, 0.15)]
        opened = pipelines.load(
            {
                "framework": "torch",
                "source": source(table(tmp_path, rows), root="/"),
                "fields": {"start": {"from": "start"}},
            }
        ).source
        for number, (_, start, length) in enumerate(rows):
            part, same = decode(opened.read(number, ["audio"])["audio"])
            first = round(float(start or 0) * rate)
            stop = first + round(float(length) * rate) if length != "" else whole.shape[1]
            assert same == rate
            # Vorbis and MP3 frames that begin elsewhere are summed in another order
            limit = 0 if file.suffix in (".wav", ".flac") else 4e-6
            np.testing.assert_allclose(part.numpy(), whole[:, first:stop].numpy(), atol=limit)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_frameworks_decode_windows_alike(subtype: str, tmp_path: Path, rng_sound: np.ndarray[Any, Any]) -> None:
    soundfile.write(tmp_path / "a.wav", rng_sound, 16000, subtype=subtype)
    rows = [("a.wav", 0.1, 0.5), ("a.wav", 0.7, 0.2), ("a.wav", "", "")]
    found = []
    for framework in ("torch", "tensorflow"):
        pipe = load(table(tmp_path, rows), framework)
        found.append({r["key"]: r["wave"] for d in pipe.epoch() for r in pipe.engine.unbatch(d)})
        assert pipe.counts.delivered == 3
    for key, wave in found[0].items():
        np.testing.assert_allclose(wave, found[1][key], atol=1e-6)  # audio.resample's own bound
    assert [found[0][str(n)].shape[1] for n in range(3)] == [4000, 1600, 16000]


@pytest.fixture(scope="module")
def rng_sound() -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).uniform(-0.9, 0.9, (32000, 2))


def test_one_second_of_an_hour_is_quick(tmp_path: Path) -> None:
    with soundfile.SoundFile(tmp_path / "long.flac", "w", 16000, 1, subtype="PCM_16") as file:
        second = (np.sin(np.arange(16000) / 7) * 9000).astype(np.int16)
        for _ in range(3600):
            file.write(second)
    opened = load(table(tmp_path, [("long.flac", 3333.25, 1)]), "torch").source
    begin = time.perf_counter()
    part, _ = soundfile.read(io.BytesIO(opened.read(0, ["audio"])["audio"]), dtype="int16")
    taken = time.perf_counter() - begin
    np.testing.assert_array_equal(part, np.concatenate([second[4000:], second[:4000]]))
    assert taken < 0.5  # decoding all of it takes seconds


def test_what_is_wrong_with_a_window_fails_its_record_alone(framework: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(8000), 8000)
    (tmp_path / "text.wav").write_text("no sound")
    rows = [
        ("a.wav", 0.5, 0.5),
        ("a.wav", -1, 0.5),
        ("a.wav", 0.75, 0.5),
        ("a.wav", 3, ""),
        ("a.wav", "half", 0.5),
        ("a.wav", 0, 0),
        ("none.wav", 0, 1),
        ("text.wav", 0, 1),
        ("../a.wav", 0, 1),
        ("a.wav", "nan", 1),
    ]
    pipe = load(table(tmp_path, rows), framework)
    assert sum(len(batch["key"]) for batch in pipe) == 1
    reasons = {f.key: f.reason for f in pipe.quarantine}
    assert sorted(reasons) == [str(n) for n in range(1, 10)]
    for number, says in enumerate(
        [">= 0, got '-1'", "goes past the end of a.wav, which lasts 1 s", "goes past the end", ">= 0, got 'half'"]
        + ["duration is 0 s", "none.wav", "libsndfile cannot read a window of text.wav", "leads out of", "got 'nan'"],
        1,
    ):
        assert says in reasons[str(number)]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"windows": {"audio": {"offset": "strat"}}}, "no column 'strat' .*did you mean 'start'"),
        ({"windows": {"audoi": {"offset": "start"}}}, "expected a column of `files`, got 'audoi'"),
        ({"windows": {"audio": {}}}, "offset, duration or both, got neither"),
    ],
)
def test_faults(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(8000), 8000)
    with pytest.raises(ConfigError, match=says):
        load(table(tmp_path, [("a.wav", 0, 1)]), "torch", **changes)
