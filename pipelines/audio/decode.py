"""Sound files to waveforms."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipelines import companions
from pipelines.audio import _mp3, _pcm
from pipelines.audio._headers import Header, Kind, inspect
from pipelines.errors import RecordError
from pipelines.native import to_numpy
from pipelines.spec import BYTES, PER_RECORD, Axis, Spec, waveform
from pipelines.step import Close, Example, Kernel, Step, host_tensorflow

_BLOCK = 1 << 22
"""Samples, of all channels, that are decoded at once."""
_UNKNOWN = 1 << 62  # libsndfile's length of a stream that does not tell its own
_BRANCHES = (Kind.HOST, Kind.WAV_16, Kind.FLAC_8, Kind.FLAC_16, Kind.FLAC_24, Kind.VORBIS, Kind.MP3)
_FLOATS = (Kind.HOST, Kind.WAV_FLOAT)  # of which libsndfile may hand over what is not finite
_CHANNELS_LAST = Spec("float32", (Axis("time"), Axis("channel")), rate_hz=PER_RECORD)


def _example_files(rng: np.random.Generator) -> list[bytes]:
    import soundfile

    formats = [
        ("WAV", "PCM_U8", 1),
        ("WAV", "PCM_16", 2),
        ("WAV", "PCM_24", 3),
        ("WAVEX", "PCM_32", 2),
        ("WAV", "FLOAT", 1),
        ("WAV", "DOUBLE", 2),
        ("WAV", "ULAW", 1),
        ("FLAC", "PCM_S8", 2),
        ("FLAC", "PCM_16", 5),
        ("FLAC", "PCM_24", 1),
        ("OGG", "VORBIS", 2),
        ("OGG", "OPUS", 1),
        ("MP3", "MPEG_LAYER_III", 2),
        ("AIFF", "PCM_16", 2),
    ]
    files = []
    for number, (name, subtype, channels) in enumerate(formats):
        rate_hz = 48000 if subtype == "OPUS" else (8000, 22050, 44100)[number % 3]
        sound = rng.uniform(-0.9, 0.9, (int(rng.integers(1, 5000)), channels)).astype(np.float32)
        held = io.BytesIO()
        soundfile.write(held, sound, rate_hz, format=name, subtype=subtype)
        files.append(held.getvalue())
    return files


def _several_channels(rng: np.random.Generator) -> list[bytes]:
    import soundfile

    files = []
    for channels in (2, 3):
        held = io.BytesIO()
        soundfile.write(held, rng.uniform(-0.5, 0.5, (331, channels)), 16000, format="FLAC", subtype="PCM_16")
        files.append(held.getvalue())
    return files


class Decode(Step):
    """The waveform in a sound file: WAV, FLAC, OGG Vorbis, MP3, and whatever else libsndfile reads.

    Takes  bytes                                         an encoded file
    Gives  float32[time] or float32[channel, time]       amplitude, full scale 1; its own rate_hz per record

    `channels`: "mono" is the mean of all channels, a number picks that channel (from 0), "keep" keeps all.
    Integer samples are divided by full scale (2^15 for 16 bit); what lossy codecs and float files hold
    beyond full scale is kept. Fails for a file that is unreadable, cut short or damaged, holds no or
    non-finite samples, lacks the channel, lasts longer than `max_seconds`, holds more than `max_samples` in all
    channels together (guards of the memory, which is not taken for such a file), or tells of a rate outside
    [100, 768000] Hz.
    Source: torchaudio.load (soundfile backend); tensorflow_io.audio.decode_flac, decode_vorbis and
    decode_mp3. They are asked only for files proved plain (_headers.py): tensorflow-io gives 0 samples for some
    good files and lets damaged ones pass, so all others go through soundfile on both frameworks, and all files where
    a library of these does not work. A plain WAV's samples are its bytes (_pcm.py); a library's way to them takes ten
    times as long.
    """

    channels: Literal["mono", "keep"] | Annotated[int, Field(ge=0, strict=True)] = "mono"
    max_seconds: Annotated[float, Field(gt=0)] = 3600.0
    max_samples: Annotated[int, Field(gt=0)] = 400_000_000

    lowest_rate_hz: ClassVar[int] = 100
    highest_rate_hz: ClassVar[int] = 768_000

    agreement = Close(of_peak=4e-6, why="MP3 and Vorbis decoders round differently; WAV and FLAC are identical")
    batches = False
    gives_rate = True
    examples = (
        Example(BYTES, {}, _example_files),
        Example(BYTES, {"channels": "keep"}, _example_files),
        Example(BYTES, {"channels": 1}, _several_channels),
    )

    def out_spec(self, x: Spec) -> Spec:
        x.need(("bytes",), exactly=())
        out = waveform(PER_RECORD)
        if self.channels == "keep":
            out = out.but(axes=(Axis("channel"), *out.axes))
        return out.but(range=None)  # full scale is 1, but lossy codecs overshoot

    def _checked(self, rate_hz: int, channels: int, frames: int) -> None:
        if not self.lowest_rate_hz <= rate_hz <= self.highest_rate_hz:
            raise RecordError(
                f"the file tells of a sampling rate of {rate_hz} Hz, "
                f"expected {self.lowest_rate_hz} to {self.highest_rate_hz}"
            )
        if frames <= 0:
            raise RecordError("the file holds no samples")
        if frames > self.max_seconds * rate_hz:
            raise RecordError(f"the file lasts {frames / rate_hz:.0f} s, longer than max_seconds={self.max_seconds:g}")
        if frames * channels > self.max_samples:
            raise RecordError(
                f"the file holds {frames} samples in {channels} channels, more than max_samples={self.max_samples}"
            )
        if isinstance(self.channels, int) and self.channels >= channels:
            raise RecordError(f"channel {self.channels} was asked for, the file has {channels} (counted from 0)")

    def _header(self, data: bytes) -> Header:
        if not data:
            raise RecordError("the file is empty")
        header = inspect(data)
        if header.kind != Kind.HOST:
            self._checked(header.rate_hz, header.channels, header.frames)
        return header

    def _read(self, data: bytes, header: Header) -> tuple[npt.NDArray[np.float32], int]:
        """float32[time, channel] and the rate: the bytes of a plain WAV, all else by libsndfile."""
        wave, rate_hz = (
            (_pcm.samples(data, header), header.rate_hz)
            if header.kind in _pcm.KINDS
            else self._libsndfile(data, header)
        )
        return _finite(wave, header), rate_hz

    def _in_a_row(self, files: Sequence[bytes], headers: Sequence[Header]) -> npt.NDArray[np.float32]:
        """float32[all times] of plain WAVs, one after the other: of each the channel asked for, or the mean of all."""
        if len({(header.kind, header.channels) for header in headers}) == 1 and headers[0].channels == 1:
            return _finite(_pcm.in_a_row(files, headers), headers[0])
        none = np.zeros(0, np.float32)
        return np.concatenate([none, *map(self._channel, files, headers)])

    def _channel(self, data: bytes, header: Header) -> npt.NDArray[np.float32]:
        """float32[time] of a plain WAV: the channel asked for, or the mean of all."""
        wave = self._read(data, header)[0]
        if isinstance(self.channels, int):
            return np.ascontiguousarray(wave[:, self.channels])
        return wave[:, 0] if wave.shape[1] == 1 else wave.mean(1, dtype=np.float64).astype(np.float32)

    def _libsndfile(self, data: bytes, header: Header) -> tuple[npt.NDArray[np.float32], int]:
        """float32[time, channel] and the rate, a block at a time."""
        import soundfile

        limit = _UNKNOWN
        stream = _mp3.stream(data) if header.kind == Kind.HOST and data[:1] in (b"I", b"\xff") else None
        if stream and not _mp3.is_tagged(data, stream):
            self._checked(stream.first.rate_hz, stream.first.channels, stream.frames * stream.first.samples)
            data, limit = _mp3.untagged(data, stream)
        blocks: list[npt.NDArray[np.float32]] = []
        frames = 0
        try:
            with soundfile.SoundFile(io.BytesIO(data)) as file:
                rate_hz, told = file.samplerate, file.frames
                self._checked(rate_hz, file.channels, 1 if file.format == "MP3" or told >= _UNKNOWN else told)
                block = max(1, _BLOCK // file.channels)
                while not blocks or len(blocks[-1]) == block:
                    blocks.append(file.read(min(block, limit - frames), dtype="float32", always_2d=True))
                    frames += len(blocks[-1])
                    self._checked(rate_hz, file.channels, frames)
        except RuntimeError as error:
            raise _undecodable(error) from error
        _exact(frames, header)
        return np.concatenate(blocks), rate_hz

    def bind_torch(self, x: Spec) -> Kernel:
        decode = self._torch_decoder()
        return lambda data: decode(data, self._header(data))

    def _torch_decoder(self) -> Kernel:
        """A function of a file and its header."""
        import torch

        by_torchaudio = companions.usable("torchaudio.load")

        def decode(data: bytes, header: Header) -> tuple[torch.Tensor, int]:
            if not by_torchaudio or header.kind == Kind.HOST or header.kind in _pcm.KINDS:
                samples, rate_hz = self._read(data, header)
                wave = torch.from_numpy(samples).T
            else:
                import torchaudio

                try:
                    wave, rate_hz = torchaudio.load(io.BytesIO(data), backend="soundfile")
                except RuntimeError as error:
                    raise _undecodable(error) from error
                _exact(wave.shape[-1], header)
                if not torch.isfinite(wave).all():
                    raise RecordError("the file holds samples that are not finite")
            if self.channels == "mono":  # in float64, so that the order of the sum cannot be seen
                return (wave[0] if len(wave) == 1 else wave.mean(0, dtype=torch.float64).float()), rate_hz
            return (wave if self.channels == "keep" else wave[self.channels]).contiguous(), rate_hz

        return decode

    def bind_torch_rows(self, x: Spec) -> Kernel | None:
        """Plain WAVs without torch's calls on each, which take twice as long as their samples."""
        if self.channels == "keep":
            return None
        import torch

        decode = self._torch_decoder()

        def kernel(files: list[bytes]) -> list[tuple[torch.Tensor, int]]:
            headers = [self._header(data) for data in files]
            plain = [n for n, header in enumerate(headers) if header.kind in _pcm.KINDS]
            row = self._in_a_row([files[n] for n in plain], [headers[n] for n in plain])
            waves = torch.from_numpy(row).split([headers[n].frames for n in plain])
            made = {n: (wave, headers[n].rate_hz) for n, wave in zip(plain, waves, strict=True)}
            pairs = enumerate(zip(files, headers, strict=True))
            return [made[n] if n in made else decode(data, header) for n, (data, header) in pairs]

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        by_host = host_tensorflow(lambda data: self._read(data, self._header(data)), x, _CHANNELS_LAST)
        by_tensorflow_io = companions.usable("tensorflow_io")

        def look(data: Any) -> tuple[Any, ...]:
            """What the graph needs of a file, and its samples where they are at hand."""
            raw = to_numpy(data, x)
            header = self._header(raw)
            ready = header.kind in _pcm.KINDS
            wave = self._read(raw, header)[0] if ready else np.zeros((0, 1), np.float32)
            branch = _BRANCHES.index(Kind.WAV_16 if ready else header.kind)
            return np.int32(branch), np.int64(header.rate_hz), np.int64(header.frames), header.md5, wave

        def kernel(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            kinds = [tf.int32, tf.int64, tf.int64, tf.string, tf.float32]
            branch, rate_hz, frames, md5, ready = tf.numpy_function(look, [data], kinds)
            for scalar in (branch, rate_hz, frames, md5):
                scalar.set_shape(())
            ready.set_shape((None, None))

            branches = {
                **dict.fromkeys(_BRANCHES, lambda: by_host(data)),
                Kind.WAV_16: lambda: (ready, rate_hz),  # and all other plain WAVs
            }
            if by_tensorflow_io:
                branches |= _tensorflow_io_branches(data, rate_hz, frames, md5, by_host)
            wave, rate_hz = tf.switch_case(branch, [branches[kind] for kind in _BRANCHES])
            wave = tf.debugging.check_numerics(wave, "the file holds samples that are not finite")
            if self.channels == "mono":
                return tf.cast(tf.reduce_mean(tf.cast(wave, tf.float64), 1), tf.float32), rate_hz
            return (tf.transpose(wave) if self.channels == "keep" else wave[:, self.channels]), rate_hz

        return kernel

    def bind_tensorflow_rows(self, x: Spec) -> Kernel | None:
        """For batches of plain WAVs, whose samples need no decoder."""
        if self.channels == "keep":
            return None
        import tensorflow as tf

        def decode(files: Any) -> tuple[Any, ...]:
            """The samples of all files in a row, their lengths and their rates."""
            headers = []
            for data in files:
                headers.append(self._header(data))
                if headers[-1].kind not in _pcm.KINDS:  # before the next one is looked at, which may take long
                    raise RecordError("one of the files is no plain WAV")
            lengths = np.array([header.frames for header in headers], np.int64)
            rates = np.array([header.rate_hz for header in headers], np.int64)
            return self._in_a_row(files, headers), lengths, rates

        def kernel(files: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
            flat, lengths, rates = held = tf.numpy_function(decode, [files], [tf.float32, tf.int64, tf.int64])
            for vector in held:
                vector.set_shape((None,))
            return tf.RaggedTensor.from_row_lengths(flat, lengths, validate=False), rates

        return kernel


def _tensorflow_io_branches(data: Any, rate_hz: Any, frames: Any, md5: Any, by_host: Kernel) -> dict[Kind, Any]:
    """What decodes the kinds of files that tensorflow-io is trusted with; a wrong length or sum goes to the host."""
    import tensorflow as tf
    import tensorflow_io as tfio

    def if_whole(wave: tf.Tensor, intact: Any = True) -> tuple[tf.Tensor, tf.Tensor]:
        wave = tf.ensure_shape(wave, (None, None))
        good = tf.logical_and(tf.shape(wave, tf.int64)[0] == frames, intact)
        kept: tuple[tf.Tensor, tf.Tensor] = tf.cond(good, lambda: (wave, rate_hz), lambda: by_host(data))
        return kept

    def flac(dtype: tf.DType, bits: int) -> tuple[tf.Tensor, tf.Tensor]:
        samples = tfio.audio.decode_flac(data, dtype=dtype)
        intact = tf.numpy_function(_md5_fits, [samples, md5], tf.bool)
        intact.set_shape(())
        if bits == 8:
            samples = tf.cast(samples, tf.int32) - 128
        return if_whole(tf.cast(samples, tf.float32) * 2.0 ** (1 - (32 if bits == 24 else bits)), intact)

    return {
        Kind.FLAC_8: lambda: flac(tf.uint8, 8),
        Kind.FLAC_16: lambda: flac(tf.int16, 16),
        Kind.FLAC_24: lambda: flac(tf.int32, 24),
        Kind.VORBIS: lambda: if_whole(tfio.audio.decode_vorbis(data)),
        Kind.MP3: lambda: if_whole(tfio.audio.decode_mp3(data)),
    }


def _md5_fits(samples: npt.NDArray[Any], md5: Any) -> Any:
    """Whether tensorflow-io's samples of a FLAC are those that its encoder was given."""
    if samples.dtype == np.uint8:
        raw = (samples ^ 0x80).tobytes()
    elif samples.dtype == np.int16:
        raw = samples.astype("<i2").tobytes()
    else:
        raw = samples.astype("<i4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
    return np.bool_(hashlib.md5(raw, usedforsecurity=False).hexdigest().encode() == to_numpy(md5, BYTES))


def _finite(wave: npt.NDArray[np.float32], header: Header) -> npt.NDArray[np.float32]:
    if header.kind in _FLOATS and not np.isfinite(wave).all():
        raise RecordError("the file holds samples that are not finite")
    return wave


def _exact(frames: int, header: Header) -> None:
    if header.kind != Kind.HOST and frames != header.frames:
        raise RecordError(f"the file is damaged: its header tells of {header.frames} samples, {frames} can be decoded")


def _undecodable(error: RuntimeError) -> RecordError:
    # libsndfile's own words, without the address of the buffer that soundfile puts before them
    reason = getattr(error, "error_string", str(error)).strip() or "the data are damaged"
    return RecordError(f"libsndfile cannot decode the file: {reason}")
