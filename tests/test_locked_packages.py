"""Every companion library of the lock is imported and used: some install, pass `pip check`, and fail on first use."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from stacks import STACK, STACKS, holds

from pipelines import companions

LOCKS = Path(__file__).resolve().parents[1] / "locks"


def locked() -> dict[str, str]:
    """Name and version of each package the lock has for this Python."""
    from packaging.markers import Marker

    found = {}
    for line in (LOCKS / f"{STACK.lock}.txt").read_text(encoding="utf-8").splitlines():
        match = re.match(r"([A-Za-z0-9_.-]+)==(\S+)(?: ; (.*?))? *\\?$", line)
        if match and (match[3] is None or Marker(match[3]).evaluate()):
            found[match[1].lower().replace("_", "-")] = match[2]
    return found


def test_what_is_installed_is_what_the_lock_says() -> None:
    wanted = locked()
    assert len(wanted) > 100
    wrong = {
        name: (version, metadata.version(name)) for name, version in wanted.items() if metadata.version(name) != version
    }
    assert not wrong


@pytest.mark.parametrize("stack", STACKS)
def test_the_lock_names_hashes_and_no_address(stack: str) -> None:
    for name in (stack, f"{stack}-dev"):
        text = (LOCKS / f"{name}.txt").read_text(encoding="utf-8")
        packages = re.findall(r"^[A-Za-z0-9_.-]+==", text, flags=re.M)
        assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", text)) >= len(packages) > 80
        assert "://" not in text


@pytest.mark.parametrize("library", companions.INSTEAD)
def test_the_stack_holds_what_it_is_said_to_hold(library: str) -> None:
    """A library that is said to be lacking and yet works would have its tests left out for nothing."""
    assert companions.usable(library) is holds(library), companions.why_not(library)


def test_torch_torchaudio_torchvision() -> None:
    import torch
    import torchaudio
    from torchvision.transforms.v2 import functional as vision

    assert torchaudio.functional.resample(torch.ones(1, 441), 44100, 16000).shape == (1, 160)
    assert vision.resize(torch.zeros(3, 8, 6, dtype=torch.uint8), [4, 3], antialias=True).shape == (3, 4, 3)


@pytest.mark.needs("torchtext")
def test_torchtext() -> None:
    import torchdata
    import torchtext.transforms

    assert torchtext.transforms.Truncate(2)([1, 2, 3]) == [1, 2]
    assert torchdata.__version__


@pytest.mark.needs("tensorflow_io")
def test_tensorflow_and_io() -> None:
    import soundfile
    import tensorflow as tf
    import tensorflow_io as tfio

    wave = np.array([[0.5], [-0.5]], np.float32)
    import io

    buffer = io.BytesIO()
    soundfile.write(buffer, wave, 8000, format="FLAC", subtype="PCM_16")
    decoded = tfio.audio.decode_flac(tf.constant(buffer.getvalue()), dtype=tf.int16)
    assert decoded.numpy().tolist() == [[16384], [-16384]]


@pytest.mark.needs("tensorflow_text")
def test_tensorflow_text() -> None:
    import tensorflow as tf
    import tensorflow_text

    assert tensorflow_text.normalize_utf8(tf.constant(["e\u0301"]), "NFC").numpy() == ["é".encode()]


@pytest.mark.needs("keras_hub")
def test_keras_hub() -> None:
    import keras_hub
    import tensorflow as tf

    tokenizer = keras_hub.tokenizers.WordPieceTokenizer(vocabulary=["[UNK]", "a", "##b"])
    assert np.asarray(tokenizer(tf.constant(["ab"]))[0]).tolist() == [1, 2]


def test_tensorflow_datasets(tmp_path: Path) -> None:
    import tensorflow_datasets as tfds
    from PIL import Image

    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (4, 4)).save(tmp_path / split / name / "one.png")
    builder = tfds.ImageFolder(str(tmp_path))
    assert builder.info.features["label"].names == ["cat", "dog"]
    assert sum(1 for _ in builder.as_dataset(split="train")) == 2
    assert len(tfds.list_builders()) > 100


def test_pyarrow_protobuf_and_the_rest() -> None:
    import pyarrow as pa
    import sentencepiece
    import tokenizers
    from google.protobuf import struct_pb2

    assert pa.table({"a": [1, 2]}).num_rows == 2
    assert struct_pb2.Value(number_value=1).number_value == 1
    assert tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a")).encode("a").ids == [0]
    assert sentencepiece.__version__
