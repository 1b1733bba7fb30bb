"""Pictures and sounds as files without loss, and the names of the parts of each library's records."""

from __future__ import annotations

import importlib
import io
import struct

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from pipelines.errors import RecordError
from pipelines.sources import _encode
from pipelines.sources._names import KNOWN
from pipelines.sources._torch_reader import NO_DATASETS, _namer

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I", "F", "CMYK"])
def test_pictures_lose_nothing(mode: str) -> None:
    if mode == "I":
        image = Image.fromarray(RNG.integers(-(2**31), 2**31 - 1, (11, 17)).astype(np.int32))
    elif mode == "I;16":
        image = Image.fromarray(RNG.integers(0, 2**16, (11, 17)).astype(np.uint16))
    elif mode == "F":
        image = Image.fromarray(RNG.normal(size=(11, 17)).astype(np.float32))
    else:
        image = Image.fromarray(RNG.integers(0, 256, (11, 17, 4), np.uint8), "RGBA").convert(mode)
    assert image.mode == mode
    read = Image.open(io.BytesIO(_encode.picture(image)))
    # Pillow opens a 16-bit PNG as 32-bit: the same numbers
    np.testing.assert_array_equal(np.asarray(read), np.asarray(image))
    assert _encode.picture(image) == _encode.picture(image)  # no times in the file


@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("frames", [0, 1, 801])
def test_sounds_lose_nothing(channels: int, frames: int) -> None:
    floats = RNG.normal(size=(channels, frames)).astype(np.float32) * 3  # also beyond [-1, 1]
    whole = RNG.integers(-32768, 32768, (channels, frames)).astype(np.int16)
    for samples, dtype in ((floats, "float32"), (whole, "int16")):
        held = _encode.wav(samples, 22050)
        read, rate = soundfile.read(io.BytesIO(held), dtype=dtype, always_2d=True)
        np.testing.assert_array_equal(read.T, samples)
        assert rate == 22050
        assert struct.unpack("<I", held[4:8])[0] == len(held) - 8
    with pytest.raises(RecordError, match="do not fit into a WAV file"):
        _encode.wav(np.zeros((0, 5), np.float32), 8000)


@pytest.mark.needs("torchtext")
def test_every_data_set_has_names() -> None:
    importlib.import_module("torchtext").disable_torchtext_deprecation_warning()
    held = {library: set(importlib.import_module(f"{library}.datasets").__all__) for library in KNOWN}
    assert set(KNOWN["torchaudio"]) == held["torchaudio"]
    assert set(KNOWN["torchtext"]) == held["torchtext"]
    # other classes of torchvision give a picture and a label
    assert set(KNOWN["torchvision"]) <= held["torchvision"] - set(NO_DATASETS)
    assert [len(names) for names in held.values()] == [22, 31, 72]


def test_each_waveform_goes_with_its_rate() -> None:
    clean, noisy = torch.rand(1, 80) - 0.5, torch.rand(1, 160) - 0.5
    item = (clean, 8000, noisy, 16000, "p226", "001", "s", 1)
    values = _namer("torchaudio", "DR_VCTK", None, None)(item)
    assert list(values)[:4] == ["clean_waveform", "clean_sample_rate", "noisy_waveform", "noisy_sample_rate"]
    assert soundfile.info(io.BytesIO(values["clean_waveform"])).samplerate == 8000
    assert soundfile.info(io.BytesIO(values["noisy_waveform"])).samplerate == 16000
    values = _namer("torchaudio", "LibriMix", None, None)((8000, clean, [clean, noisy]))
    assert soundfile.info(io.BytesIO(values["mixture"])).samplerate == 8000
    read, _ = soundfile.read(io.BytesIO(values["sources"]["1"]), dtype="float32")
    np.testing.assert_array_equal(read, noisy[0].numpy())
    values = _namer("torchaudio", "VoxCeleb1Verification", None, None)((clean, noisy, 16000, 1, "a", "b"))
    assert soundfile.info(io.BytesIO(values["waveform1"])).samplerate == 16000
    stems = torch.rand(4, 2, 80)
    values = _namer("torchaudio", "MUSDB_HQ", None, None)((stems, 44100, 80, "track"))
    assert _encode.plain(values["waveforms"]).shape == (4, 2, 80)
