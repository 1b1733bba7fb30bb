"""audio.decode on files made here: every coding, every damage."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
import soundfile
from pydantic import ValidationError

from pipelines.audio import _mp3
from pipelines.audio._crc import crc16
from pipelines.audio._headers import Kind, inspect
from pipelines.audio.decode import Decode
from pipelines.errors import RecordError, SpecError
from pipelines.spec import BYTES, TEXT

KEEP = Decode(channels="keep")


def made(sound: np.ndarray[Any, Any], rate_hz: int = 16000, name: str = "WAV", subtype: str = "PCM_16") -> bytes:
    held = io.BytesIO()
    soundfile.write(held, sound, rate_hz, format=name, subtype=subtype)
    return held.getvalue()


def riff(*chunks: tuple[bytes, bytes], told: int | None = None) -> bytes:
    """A WAV file of chunks; `told` replaces the size of the last."""
    body = b"WAVE"
    for name, data in chunks:
        size = told if told is not None and name == chunks[-1][0] else len(data)
        body += name + struct.pack("<I", size) + data + bytes(len(data) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def pcm(rate_hz: int = 16000, channels: int = 1, bits: int = 16, tag: int = 1) -> bytes:
    block = channels * bits // 8
    return struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * block % 2**32, block, bits)


@pytest.mark.parametrize(
    ("name", "subtype", "kind"),
    [
        ("WAV", "PCM_U8", Kind.WAV_U8),
        ("WAV", "PCM_16", Kind.WAV_16),
        ("WAV", "PCM_24", Kind.WAV_24),
        ("WAV", "PCM_32", Kind.WAV_32),
        ("WAV", "FLOAT", Kind.WAV_FLOAT),
        ("WAVEX", "PCM_24", Kind.WAV_24),
        ("WAVEX", "PCM_32", Kind.WAV_32),
        ("WAVEX", "FLOAT", Kind.WAV_FLOAT),
        ("FLAC", "PCM_S8", Kind.FLAC_8),
        ("FLAC", "PCM_16", Kind.FLAC_16),
        ("FLAC", "PCM_24", Kind.FLAC_24),
        ("WAV", "DOUBLE", Kind.HOST),
        ("WAV", "ULAW", Kind.HOST),
        ("WAV", "IMA_ADPCM", Kind.HOST),
        ("RF64", "PCM_16", Kind.HOST),
        ("AIFF", "PCM_16", Kind.HOST),
    ],
)
def test_integer_and_float_codings_are_exact(
    name: str, subtype: str, kind: Kind, framework: str, run: Any, rng: np.random.Generator
) -> None:
    """What libsndfile gives, bit for bit, over the whole range of the coding."""
    channels = 1 if subtype == "IMA_ADPCM" else 3
    raw = made(rng.uniform(-1, 1, (5002, channels)), 22050, name, subtype)
    assert inspect(raw).kind == kind
    wave, rate_hz = run(KEEP, BYTES, raw, framework)
    expected = soundfile.read(io.BytesIO(raw), dtype="float32", always_2d=True)[0].T
    assert rate_hz == 22050
    assert np.array_equal(wave, expected)


@pytest.mark.parametrize(("bits", "dtype", "offset"), [(8, "u1", 128), (16, "<i2", 0), (32, "<i4", 0)])
def test_full_scale(bits: int, dtype: str, offset: int, framework: str, run: Any) -> None:
    """A level is its integer over 2^(bits - 1): -1 is the lowest, and 32 bits are not read as floats."""
    half = 2 ** (bits - 1)
    # among 32-bit patterns, those that are NaN and infinity as floats
    levels = [-half, -1, 0, 1, half - 1, 0x7FC00001 % half, 0x7F800000 % half]
    raw = riff((b"fmt ", pcm(bits=bits)), (b"data", (np.array(levels) + offset).astype(dtype).tobytes()))
    if len(raw) % 2:
        raw += b"\0"
    wave, _ = run(Decode(), BYTES, raw, framework)
    assert np.array_equal(wave, (np.array(levels) / half).astype(np.float32))


def test_channels(framework: str, run: Any, rng: np.random.Generator, errors: Any) -> None:
    raw = made(rng.uniform(-1, 1, (999, 5)), name="FLAC")
    every, _ = run(KEEP, BYTES, raw, framework)
    assert every.shape == (5, 999)
    assert np.array_equal(run(Decode(), BYTES, raw, framework)[0], every.mean(0, dtype=np.float64).astype(np.float32))
    for channel in (0, 4):
        assert np.array_equal(run(Decode(channels=channel), BYTES, raw, framework)[0], every[channel])
    with pytest.raises(errors, match="channel 5 was asked for, the file has 5"):
        run(Decode(channels=5), BYTES, raw, framework)


def test_wav_layouts_that_mislead_decoders(framework: str, run: Any, rng: np.random.Generator) -> None:
    """Odd and unknown chunks, before and behind the sound, an unpadded end, and a size left open by a stream."""
    sound = rng.integers(-(2**15), 2**15, 500).astype("<i2")
    fmt, data = (b"fmt ", pcm()), (b"data", sound.tobytes())
    files = {
        "list before": riff((b"LIST", b"INFOabcd"), fmt, data),
        "odd list before": riff(fmt, (b"LIST", b"INFOabc"), data),
        "unknown before": riff(fmt, (b"zzzz", b"12345678"), data),
        "list behind": riff(fmt, data, (b"LIST", b"INFOabcd")),
        "odd list behind": riff(fmt, data, (b"LIST", b"INFOabc")),
        "junk behind": riff(fmt, data) + b"\0\1junk junk",
        "streamed": riff(fmt, data, told=0xFFFFFFFF),
        "size of the file wrong": riff(fmt, data)[:4] + b"\0\0\0\0" + riff(fmt, data)[8:],
    }
    for what, raw in files.items():
        wave, _ = run(Decode(), BYTES, raw, framework)
        assert np.array_equal(wave, sound / np.float32(32768)), what


@pytest.mark.parametrize(
    ("what", "raw", "reason"),
    [
        ("nothing", b"", "the file is empty"),
        ("text", b"It was a dark and stormy night.", "cannot decode"),
        ("header only", riff((b"fmt ", pcm()), (b"data", b"")), "no samples"),
        ("absurd rate", riff((b"fmt ", pcm(1_092_676)), (b"data", bytes(64))), "1092676 Hz, expected 100 to 768000"),
        ("low rate", riff((b"fmt ", pcm(99)), (b"data", bytes(64))), "99 Hz"),
        ("cut", riff((b"fmt ", pcm()), (b"data", bytes(64)), told=128), "cut short"),
        ("two sounds", riff((b"fmt ", pcm()), (b"data", bytes(64)), (b"data", bytes(8))), "cannot decode"),
        ("no channels", riff((b"fmt ", pcm(channels=0)), (b"data", bytes(64))), "cannot decode"),
        ("infinite", riff((b"fmt ", pcm(bits=32, tag=3)), (b"data", np.float32([0, np.inf]).tobytes())), "not finite"),
        ("no number", riff((b"fmt ", pcm(bits=32, tag=3)), (b"data", np.float32([np.nan]).tobytes())), "not finite"),
        ("no number, 64 bit", riff((b"fmt ", pcm(bits=64, tag=3)), (b"data", np.array([np.nan]).tobytes())), "finite"),
    ],
)
def test_bad_files_fail(what: str, raw: bytes, reason: str, framework: str, run: Any, errors: Any) -> None:
    with pytest.raises(errors, match=reason):
        run(KEEP, BYTES, raw, framework)


def test_max_seconds(framework: str, run: Any, errors: Any) -> None:
    """Judged by the header where that tells the length, and while reading where it does not."""
    short = Decode(max_seconds=0.5)
    for name, subtype in (("WAV", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("MP3", None), ("AIFF", None)):
        held = io.BytesIO()
        soundfile.write(held, np.zeros(8001), 16000, format=name, subtype=subtype)
        with pytest.raises(errors, match=r"longer than max_seconds=0\.5"):
            run(short, BYTES, held.getvalue(), framework)
    assert run(short, BYTES, made(np.zeros(8000)), framework)[0].shape == (8000,)
    claims = made(np.zeros(100), name="FLAC")
    claims = claims[:21] + b"\xf0\xff\xff\xff\xff" + claims[26:]  # a length of 48 days
    with pytest.raises(errors):
        run(KEEP, BYTES, claims, framework)


def test_flac_that_tells_of_more_than_it_holds(framework: str, run: Any, rng: np.random.Generator, errors: Any) -> None:
    """tensorflow-io alone never returns from such a file."""
    raw = made(rng.uniform(-1, 1, 30000), name="FLAC")
    assert inspect(raw).kind == Kind.FLAC_16
    length = int.from_bytes(raw[22:26], "big")
    assert length == 30000
    for told in (300_000, 30_001):
        claims = raw[:22] + told.to_bytes(4, "big") + raw[26:]
        assert inspect(claims).kind == Kind.HOST
        with pytest.raises(errors):
            run(KEEP, BYTES, claims, framework)


@pytest.mark.parametrize("rate_hz", [8000, 44100])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_untagged_mp3_is_whole(rate_hz: int, mode: str, framework: str, run: Any, rng: np.random.Generator) -> None:
    """Without the encoder's tag all frames are still decoded, also around junk and trailing zeros."""
    sound = rng.normal(size=40000) * np.linspace(0, 0.5, 40000)
    held = io.BytesIO()
    soundfile.write(held, sound, rate_hz, format="MP3", bitrate_mode=mode, compression_level=0.3)
    tagged = held.getvalue()
    assert inspect(tagged).kind == Kind.MP3
    full, _ = run(Decode(), BYTES, tagged, framework)
    assert full.shape == (40000,)
    stream = _mp3.stream(tagged)
    assert stream is not None
    bare = tagged[stream.start + stream.first.size :]
    whole, _ = run(Decode(), BYTES, bare, framework)
    assert len(whole) == (stream.frames - 1) * stream.first.samples
    delay = 1105  # LAME's 576 samples and the decoder's 529
    # the same frames; in TensorFlow by the other decoder, on sound that peaks at 2
    assert np.abs(whole[delay : delay + 38000] - full[:38000]).max() <= 4e-6
    for tail in (bytes(3000), b"TAG" + bytes(125)):
        assert np.array_equal(run(Decode(), BYTES, bare + tail, framework)[0], whole)


def test_cut_files_fail_or_are_whole(framework: str, run: Any, rng: np.random.Generator, errors: Any) -> None:
    """A file cut anywhere in its sound is a failure, not a shorter sound."""
    sound = rng.uniform(-0.5, 0.5, (9000, 2))
    for name, subtype in (
        ("WAV", "PCM_16"),
        ("WAV", "FLOAT"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"),
    ):
        raw = made(sound, 48000, name, subtype)
        for share in (0.3, 0.6, 0.9):
            with pytest.raises(errors):
                run(KEEP, BYTES, raw[: int(len(raw) * share)], framework)


def test_damaged_files_end_alike(rng: np.random.Generator) -> None:
    """One byte changed, in the header or anywhere: both frameworks fail, or give the same."""
    import tensorflow as tf

    torch_kernel = KEEP.bind_torch(BYTES)
    graph = tf.function(KEEP.bind_tensorflow(BYTES), input_signature=[tf.TensorSpec((), tf.string)])
    sound = rng.uniform(-0.5, 0.5, (3000, 2))
    ends = {"failed": 0, "decoded": 0}
    for name, subtype in (("WAV", "PCM_24"), ("WAVEX", "FLOAT"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", None)):
        held = io.BytesIO()
        soundfile.write(held, sound, 16000, format=name, subtype=subtype)
        for trial in range(60):
            raw = bytearray(held.getvalue())
            raw[rng.integers(0, 100 if trial % 2 else len(raw))] ^= int(rng.integers(1, 256))
            try:
                wave, rate_hz = torch_kernel(bytes(raw))
            except RecordError:
                ends["failed"] += 1
                with pytest.raises(tf.errors.OpError):
                    graph(bytes(raw))
                continue
            ends["decoded"] += 1
            other, other_rate = graph(bytes(raw))
            assert int(other_rate) == rate_hz
            assert KEEP.agreement.excess(other.numpy(), wave.numpy()) is None, (name, trial)
    assert min(ends.values()) > 50  # the trials do reach both ends


def test_crc16_is_the_one_of_the_tag(rng: np.random.Generator) -> None:
    """The lanes give what the plain definition gives, at every length around a lane."""
    for length in (0, 1, 2, 255, 256, 257, 1000):
        data = rng.bytes(length)
        crc = 0
        for byte in data:
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
        assert crc16(data) == crc
    assert crc16(b"123456789") == 0xBB3D  # the check value of CRC-16/ARC


def test_parameters() -> None:
    for bad in ({"channels": -1}, {"channels": "left"}, {"channels": True}, {"max_seconds": 0}, {"rate_hz": 8000}):
        with pytest.raises(ValidationError):
            Decode.model_validate(bad)
    with pytest.raises(SpecError, match="expected bytes, got text"):
        Decode().out_spec(TEXT)
    assert str(Decode().out_spec(BYTES)) == "float32[time] amplitude at its own rate"
    assert KEEP.out_spec(BYTES).names == ("channel", "time")
