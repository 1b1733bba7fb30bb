"""Damaged sounds and pictures: no crash, no hang, and the same records fail on both frameworks."""

from __future__ import annotations

import faulthandler
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import damaged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.audio.decode import Decode as DecodeSound
from pipelines.audio.decode import _example_files
from pipelines.image.decode import Decode as DecodePicture
from pipelines.image.decode import _files as example_pictures
from pipelines.pipeline import load
from pipelines.runtime._chain import is_machines_fault
from pipelines.spec import BYTES
from pipelines.step import Step

SOUNDS = ("audio_hardcases_audiomentations", "audio_flac_conformance", "audio_torchaudio_assets", "golden_mp3_minimp3")
PICTURES = ("image_hardcases_pillow", "image_dali_formats", "image_torchvision_assets")
SEEDS = st.integers(0, 2**32 - 1)
QUICK = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
HANG_S = 60

Attempt = Callable[[bytes], Any]


def small(data: Path, folders: tuple[str, ...], most: int) -> list[bytes]:
    """The real files that are small enough to be tried by the hundred."""
    found = [p for folder in folders for p in sorted((data / folder).rglob("*.*")) if p.is_file()]
    text = (".txt", ".md", ".json", ".jsonl")
    return [p.read_bytes() for p in found if p.stat().st_size < most and p.suffix not in text]


@pytest.fixture(scope="module")
def sounds(data: Path) -> list[bytes]:
    return [*_example_files(np.random.default_rng(0)), *small(data, SOUNDS, 100_000)]


@pytest.fixture(scope="module")
def pictures(data: Path) -> list[bytes]:
    return [*example_pictures(np.random.default_rng(0)), *small(data, PICTURES, 40_000)]


@pytest.fixture(scope="module", autouse=True)
def _no_hang() -> Iterator[None]:
    faulthandler.dump_traceback_later(10 * HANG_S, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def both(step: Step) -> tuple[Attempt, Attempt]:
    """The kernels, each giving a result or the error of the record."""
    import tensorflow as tf

    kernels = [
        step.bind_torch(BYTES),
        tf.function(step.bind_tensorflow(BYTES), input_signature=[tf.TensorSpec((), tf.string)]),
    ]

    def attempt(kernel: Any) -> Attempt:
        def run(raw: bytes) -> Any:
            try:
                return kernel(raw)
            except Exception as error:
                if is_machines_fault(error):
                    pytest.fail(f"a whole run would stop: {error!r}")
                return error

        return run

    return attempt(kernels[0]), attempt(kernels[1])


def fare_alike(a: Any, b: Any) -> bool:
    """Whether both succeeded; AssertionError when only one did."""
    failed = [isinstance(result, Exception) for result in (a, b)]
    assert failed[0] == failed[1], (a, b)
    return not failed[0]


@pytest.fixture(scope="module")
def decode_sound() -> tuple[Attempt, Attempt]:
    return both(DecodeSound(channels="keep"))


@pytest.fixture(scope="module")
def decode_picture() -> tuple[Attempt, Attempt]:
    return both(DecodePicture(mode="rgba", max_pixels=4_000_000))


@QUICK
@given(seed=SEEDS)
def test_damaged_sounds_fare_alike(sounds: list[bytes], decode_sound: tuple[Attempt, Attempt], seed: int) -> None:
    raw = damaged(sounds, np.random.default_rng(seed))
    a, b = (attempt(raw) for attempt in decode_sound)
    if fare_alike(a, b):
        assert int(a[1]) == int(b[1])
        wrong = DecodeSound.agreement.excess(b[0].numpy(), a[0].numpy())
        assert wrong is None, wrong


@QUICK
@given(seed=SEEDS)
def test_damaged_pictures_fare_alike(pictures: list[bytes], decode_picture: tuple[Attempt, Attempt], seed: int) -> None:
    raw = damaged(pictures, np.random.default_rng(seed))
    a, b = (attempt(raw) for attempt in decode_picture)
    if fare_alike(a, b):
        pixels = np.moveaxis(a.numpy(), 0, -1)
        assert pixels.shape == b.shape
        if raw[:2] != b"\xff\xd8":  # what libjpeg makes of damaged pixels is its own, as the step says
            np.testing.assert_array_equal(pixels, b.numpy())


@pytest.mark.parametrize("kind", ["sounds", "pictures"])
def test_every_damaged_record_is_accounted_for(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """A folder of them through both engines: nothing is lost, and the same keys are quarantined."""
    files = request.getfixturevalue(kind)
    for seed in range(60):
        (tmp_path / f"{seed:02}.bin").write_bytes(damaged(files, np.random.default_rng([1, seed])))
    (tmp_path / "60.bin").write_bytes(files[0])  # one that is sound
    name = "audio.decode" if kind == "sounds" else "image.decode"
    document: dict[str, Any] = {
        "source": {"folder": {"path": str(tmp_path), "files": "*.bin"}},
        "fields": {"value": {"from": "file", "steps": [{name: {} if kind == "sounds" else {"max_pixels": 4_000_000}}]}},
        "batch": {"size": 8},
        "on_error": {"at_most": 1.0},
    }
    if kind == "sounds":
        document["fields"]["value"]["steps"] += [{"audio.fit": {"samples": 16}}]
    lost = {}
    for framework in ("torch", "tensorflow"):
        pipe = load(document, framework=framework, device="cpu", threads=2)
        delivered = sum(len(d.positions) for d in pipe.epoch())
        assert pipe.counts.read == 61 == delivered + len(pipe.quarantine)
        assert all(failure.reason for failure in pipe.quarantine)
        lost[framework] = [(failure.key, failure.field, failure.step) for failure in pipe.quarantine]
    assert lost["torch"] == lost["tensorflow"]
    assert 0 < len(lost["torch"]) < 61
