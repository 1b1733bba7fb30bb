"""Many sound files in one call: each gives what it gives alone, in its place, and is looked at once."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import pipelines
from pipelines.audio import _headers
from pipelines.audio import decode as module
from pipelines.audio.decode import Decode
from pipelines.errors import RecordError
from pipelines.spec import BYTES

SUBTYPES = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT")


def encoded(number: int, subtype: str, channels: int = 1, form: str = "WAV") -> bytes:
    """A sound file of noise, whose length and rate are its own."""
    rng = np.random.default_rng(number)
    sound = rng.uniform(-0.9, 0.9, (50 + 38 * number, channels)).astype(np.float32)
    soundfile.write(held := io.BytesIO(), sound, (8000, 16000)[number % 2], format=form, subtype=subtype)
    return held.getvalue()


def need_alone(files: list[bytes], waves: Any, rates: Any) -> None:
    alone = Decode().bind_torch(BYTES)
    assert len(waves) == len(files)
    for data, wave, rate in zip(files, waves, rates, strict=True):
        expected, expected_rate = alone(data)
        assert int(rate) == expected_rate
        np.testing.assert_array_equal(np.asarray(wave), expected)


def in_torch(files: list[bytes]) -> tuple[list[Any], list[int]]:
    kernel = Decode().bind_torch_rows(BYTES)
    assert kernel is not None
    made = kernel(files)
    return [wave for wave, _ in made], [rate for _, rate in made]


def in_tensorflow(files: list[bytes]) -> tuple[list[Any], Any]:
    import tensorflow as tf

    kernel = Decode().bind_tensorflow_rows(BYTES)
    assert kernel is not None
    waves, rates = kernel(tf.constant(files))
    return list(waves), rates.numpy()


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_files_of_one_kind_and_of_several(subtype: str) -> None:
    alike = [encoded(number, subtype) for number in range(5)]
    mixed = [*alike, encoded(5, subtype, 2), encoded(6, "PCM_16", 3)]
    for files in (alike, alike[:1], mixed):
        need_alone(files, *in_torch(files))
        need_alone(files, *in_tensorflow(files))


def test_other_files_between_them_keep_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    files = [
        encoded(0, "PCM_16"),
        encoded(1, "PCM_16", 2, "FLAC"),
        encoded(2, "PCM_16"),
        encoded(3, "PCM_24", 1, "FLAC"),
    ]
    need_alone(files, *in_torch(files))
    looked: list[bytes] = []
    monkeypatch.setattr(module, "inspect", lambda data: looked.append(data) or _headers.inspect(data))
    in_torch(files)
    assert looked == files
    looked.clear()
    with pytest.raises((RecordError, tf.errors.OpError), match="no plain WAV"):
        in_tensorflow(files)
    assert looked == files[:2]


def test_a_file_that_is_not_finite_is_lost_alone(tmp_path: Path, framework: str) -> None:
    for number in range(4):
        sound = np.full(800, 0.1, np.float32)
        sound[5] = np.nan if number == 2 else 0.5
        soundfile.write(tmp_path / f"{number}.wav", sound, 8000, subtype="FLOAT")
    config = {
        "framework": framework,
        "source": {"folder": {"path": str(tmp_path), "files": "*.wav"}},
        "fields": {"wave": {"from": "file", "steps": ["audio.decode", {"audio.fit": {"samples": 800}}]}},
        "batch": {"size": 4},
        "on_error": {"at_most": 1.0},
    }
    pipe = pipelines.load(config, device="cpu")
    (batch,) = pipe
    assert np.asarray(batch["index"]).tolist() == [0, 1, 3]
    assert [(f.key, f.step) for f in pipe.quarantine] == [("2.wav", "audio.decode")]
    assert "not finite" in pipe.quarantine[0].reason
