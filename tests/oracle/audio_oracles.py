"""Oracles of the audio steps."""

from __future__ import annotations

import io
import json
from typing import Any

import librosa
import numpy as np
import scipy.fft
import scipy.ndimage
import scipy.signal
import soundfile
from oracle.base import NoOracle, Oracle

from pipelines.contract._values import Record
from pipelines.draw import normals
from pipelines.spec import Spec
from pipelines.step import Close, Identical

WINDOWS = {"hann": "hann", "hamming": "hamming", "blackman": "blackman", "rect": "boxcar"}


def _decode(step: Any, x: Spec, record: Record) -> Any:
    sound, _ = soundfile.read(io.BytesIO(record.value), dtype="float64", always_2d=True)
    if step.channels == "keep":
        return sound.T
    return sound.mean(1) if step.channels == "mono" else sound[:, step.channels]


def _resample(step: Any, x: Spec, record: Record) -> Any:
    """torchaudio in float64: another implementation of the sum, with its own filters."""
    import torch
    from torchaudio.functional import resample

    rate = record.rate_hz if x.rate_hz == "per record" else x.rate_hz
    if rate == step.rate_hz:
        return record.value
    if rate // np.gcd(rate, step.rate_hz) > 2000:  # its table of filters would not fit into memory
        return None
    kaiser = {"lowpass_filter_width": 64, "rolloff": 0.9475937167399596, "beta": 14.769656459379492}
    how = {"resampling_method": "sinc_interp_kaiser", **kaiser} if step.method == "kaiser" else {}
    return resample(torch.from_numpy(record.value).double(), rate, step.rate_hz, **how).numpy()


def _fit(step: Any, x: Spec, record: Record) -> Any:
    if step.where != "start":
        return None
    size = step.samples or round(step.seconds * x.need_rate())
    return librosa.util.fix_length(record.value, size=size)


def _spectrum(step: Any, record: Record) -> Any:
    return librosa.stft(
        record.value.astype(np.float64),
        n_fft=step.n_fft,
        hop_length=step.hop,
        win_length=step.win,
        window=WINDOWS[step.window],
        center=step.centre,
        pad_mode="reflect",
    )


def _stft(step: Any, x: Spec, record: Record) -> Any:
    found = _spectrum(step, record)
    return {"complex": found, "magnitude": np.abs(found), "power": np.abs(found) ** 2}[step.output]


def _mel(step: Any, x: Spec, record: Record) -> Any:
    bank = librosa.filters.mel(
        sr=x.rate_hz,
        n_fft=step.n_fft,
        n_mels=step.bands,
        fmin=step.low_hz,
        fmax=step.high_hz,
        htk=step.scale == "htk",
        norm="slaney" if step.norm == "area" else None,
        dtype=np.float64,
    )
    return np.einsum("bk,...kt->...bt", bank, np.abs(_spectrum(step, record)) ** step.power)


def _fbank(step: Any, x: Spec, record: Record) -> Any:
    """torchaudio's port of Kaldi; its filters are of the default type."""
    import torch
    from torchaudio.compliance import kaldi

    rows = np.atleast_2d(record.value).astype(np.float64) * step.scale
    names = {"hann": "hanning", "rect": "rectangular"}
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        made = [
            kaldi.fbank(
                torch.from_numpy(row)[None],
                num_mel_bins=step.bands,
                frame_length=step.frame_ms,
                frame_shift=step.hop_ms,
                low_freq=step.low_hz,
                high_freq=step.high_hz or 0.0,
                window_type=names.get(step.window, step.window),
                preemphasis_coefficient=step.pre_emphasis,
                remove_dc_offset=step.remove_mean,
                snip_edges=step.edges == "snip",
                use_log_fbank=step.log,
                sample_frequency=float(x.need_rate()),
                dither=0.0,
            )
            for row in rows
        ]
    finally:
        torch.set_default_dtype(before)
    found = torch.stack(made).transpose(-1, -2).numpy()
    return found if record.value.ndim == 2 else found[0]


def _decibels(step: Any, x: Spec, record: Record) -> Any:
    level = librosa.power_to_db if step.of == "power" else librosa.amplitude_to_db
    ref = np.max if step.reference == "max" else 1.0
    return level(record.value.astype(np.float64), ref=ref, amin=step.floor, top_db=step.top_db)


def _mfcc(step: Any, x: Spec, record: Record) -> Any:
    cosines = scipy.fft.dct(record.value.astype(np.float64), type=2, norm="ortho", axis=-2)[..., : step.coefficients, :]
    if step.lifter:
        cosines *= (1 + step.lifter / 2 * np.sin(np.pi * np.arange(step.coefficients) / step.lifter))[:, None]
    return cosines


def _drawn(amount: Any, variate: float) -> float:
    low, high = amount if isinstance(amount, tuple) else (amount, amount)
    return float(low + variate * (high - low))


def _draw(record: Record) -> Any:
    """The draw; of a step without chance one that changes the record."""
    return (0.0, 0.5) if record.draw is None else record.draw


def _is_chosen(step: Any, record: Record) -> bool:
    return bool(_draw(record)[0] < step.probability)


def _channels(step: Any, x: Spec, record: Record) -> Any:
    sound = record.value if record.value.ndim == 2 else record.value[None]
    if step.pick is not None:
        return sound[step.pick]
    return (
        librosa.to_mono(sound.astype(np.float64)) if step.count == 1 else np.repeat(sound, step.count // len(sound), 0)
    )


def _delta(step: Any, x: Spec, record: Record) -> Any:
    half = step.width // 2
    kernel = np.arange(half, -half - 1, -1) / (2 * np.sum(np.arange(1, half + 1) ** 2))

    def slope(features: Any) -> Any:
        return scipy.ndimage.convolve1d(features, kernel, -1, mode="nearest")

    parts = [record.value.astype(np.float64), slope(record.value.astype(np.float64))]
    if step.order == 2:
        parts.append(slope(parts[1]))
    return np.concatenate(parts, -2) if step.keep else parts[-1]


def _gain(step: Any, x: Spec, record: Record) -> Any:
    if not _is_chosen(step, record):
        return record.value
    louder = record.value.astype(np.float64) * librosa.db_to_amplitude(_drawn(step.db, _draw(record)[1]))
    return louder.clip(-1, 1) if step.clip else louder


def _inverse_stft(step: Any, x: Spec, record: Record) -> Any:
    """torch.istft in float64 with scipy's window: the ends too, where librosa's envelope is another."""
    import torch

    window = torch.from_numpy(scipy.signal.get_window(WINDOWS[step.window], step.win or step.n_fft))
    rows = torch.from_numpy(record.value).to(torch.complex128).reshape(-1, *record.value.shape[-2:])
    length = step.samples or (record.value.shape[-1] - 1) * step.hop
    made = torch.istft(rows, step.n_fft, step.hop, step.win or step.n_fft, window, True, length=length)
    return made.reshape(*record.value.shape[:-2], length).numpy()


def _mu_law(step: Any, x: Spec, record: Record) -> Any:
    steps = step.classes - 1
    if step.direction == "decode":
        return librosa.mu_expand(2 * record.value / steps - 1, mu=steps, quantize=False)
    return np.floor(
        (librosa.mu_compress(record.value.astype(np.float64), mu=steps, quantize=False) + 1) / 2 * steps + 0.5
    ).astype(np.int64)


def _noise(step: Any, x: Spec, record: Record) -> Any:
    if step.folder is not None:
        return None
    sound, draw = record.value.astype(np.float64), _draw(record)
    noise = normals(draw[2:], sound.size).reshape(sound.shape)
    powers = [np.mean(np.square(v)) for v in (sound, noise)]
    added = noise * np.sqrt(powers[0] / powers[1] / 10 ** (_drawn(step.snr_db, draw[1]) / 10))
    return sound + added * _is_chosen(step, record)


def _normalize(step: Any, x: Spec, record: Record) -> Any:
    sound = record.value.astype(np.float64)
    if step.mode == "bands":
        held = json.loads(step.file.read_text())
        return (sound - np.array(held["mean"])[:, None]) / np.array(held["deviation"])[:, None]
    if step.mode == "record":
        spread = sound.std(-1, keepdims=True)
        return (sound - sound.mean(-1, keepdims=True)) / np.where(spread > 0, spread, 1)
    if not sound.any():
        return sound
    if step.mode == "peak":
        return librosa.util.normalize(sound, axis=None) * 10 ** ((step.db or 0) / 20)
    return sound / np.sqrt(np.mean(sound**2)) * 10 ** ((-20 if step.db is None else step.db) / 20)


def _pre_emphasis(step: Any, x: Spec, record: Record) -> Any:
    return scipy.signal.lfilter([1, -step.coefficient], [1], record.value.astype(np.float64))


def _reverb(step: Any, x: Spec, record: Record) -> Any:
    if not _is_chosen(step, record):
        return record.value
    response = step.responses_at(x.need_rate())(np.array(_draw(record)))  # of a file: test_chance.py
    rows = np.atleast_2d(record.value.astype(np.float64))
    made = scipy.signal.fftconvolve(rows, response[None], axes=-1)[..., : rows.shape[-1]]
    return made.reshape(record.value.shape)


def _shift(step: Any, x: Spec, record: Record) -> Any:
    time = record.value.shape[-1]
    variate = _draw(record)[1]
    scale = x.need_rate() if step.seconds is not None else time
    far = int(np.floor(_drawn(step.seconds if step.seconds is not None else step.share, variate) * scale + 0.5))
    far = far if _is_chosen(step, record) else 0
    made = np.roll(record.value, far, -1)
    if not step.wrap:
        made[..., slice(0, far) if far >= 0 else slice(time + far, time)] = 0
    return made


def _spec_augment(step: Any, x: Spec, record: Record) -> Any:
    """Masks as slices, one after the other, as mask_along_axis lays them, which draws inside."""
    made, (chance, *rest) = record.value.astype(np.float64), _draw(record)
    value = made.mean() if step.value == "mean" else step.value
    for number in range((step.frequency_masks + step.time_masks) * bool(chance < step.probability)):
        u, v = rest[2 * number : 2 * number + 2]
        along = np.swapaxes(made, -1, -2) if number < step.frequency_masks else made
        size = along.shape[-1]
        most = (
            step.frequency_width if number < step.frequency_masks else min(step.time_width, int(size * step.time_share))
        )
        width = int(u * (min(most, size) + 1))
        first = int(v * (size - width + 1))
        along[..., first : first + width] = value
    return made


def _stretched(sound: Any, rate: float, step: Any) -> Any:
    """librosa's phase vocoder in float64; its own time_stretch is the same, with another length of the last frames."""
    if sound.shape[-1] < 1 or round(sound.shape[-1] / rate) < 1:
        return None
    spectrum = librosa.stft(sound.astype(np.float64), n_fft=step.n_fft, hop_length=step.hop)
    made = librosa.phase_vocoder(spectrum, rate=rate, hop_length=step.hop, n_fft=step.n_fft)
    length = int(np.floor(sound.shape[-1] / rate + 0.5))
    return librosa.istft(made, n_fft=step.n_fft, hop_length=step.hop, length=length)


def _time_stretch(step: Any, x: Spec, record: Record) -> Any:
    if not _is_chosen(step, record):
        return record.value
    return _stretched(record.value, _drawn(step.rate, _draw(record)[1]), step)


def _pitch_shift(step: Any, x: Spec, record: Record) -> Any:
    """Then torchaudio's resampling in float64, for whole octaves: others have too large a table of filters."""
    import torch
    from torchaudio.functional import resample

    if not _is_chosen(step, record):
        return record.value
    if step.semitones not in (12, -12):
        return None
    ratio = 2.0 ** (step.semitones / 12)
    long = torch.from_numpy(_stretched(record.value, 1 / ratio, step))
    return librosa.util.fix_length(resample(long, int(2 * ratio), 2).numpy(), size=record.value.shape[-1])


def _trim(step: Any, x: Spec, record: Record) -> Any:
    _, (begin, end) = librosa.effects.trim(
        record.value, top_db=-step.floor_db, frame_length=step.frame, hop_length=step.hop
    )
    return record.value[..., 0 if step.where == "end" else begin : None if step.where == "start" else end]


ONCE = Close(of_peak=1.2e-7, why="float64, rounded once to float32")
FFT = Close(of_peak=1e-6, why="float32 FFT against float64")
ORACLES: dict[str, Oracle | NoOracle] = {
    "audio.decode": Oracle("soundfile", _decode, Close(of_peak=4e-6, why="MP3 and Vorbis decoders round differently")),
    "audio.resample": Oracle("torchaudio, float64", _resample, Close(of_peak=1e-6, why="float32 sums")),
    "audio.fit": Oracle("librosa", _fit, Identical("values are moved")),
    "audio.stft": Oracle("librosa, float64", _stft, FFT),
    "audio.mel": Oracle("librosa, float64", _mel, Close(of_peak=2e-6, why="float32 FFT and sums against float64")),
    "audio.fbank": Oracle("torchaudio, float64", _fbank, ONCE),
    "audio.decibels": Oracle("librosa, float64", _decibels, Close(absolute=3e-5, why="float32 logarithm")),
    "audio.channels": Oracle("librosa", _channels, Close(of_peak=1e-7, why="a mean, rounded once")),
    "audio.delta": Oracle("scipy.ndimage, float64", _delta, Close(of_peak=1e-6, why="float32 sums over the width")),
    "audio.embed": NoOracle("tests/audio/test_embed.py holds it against torchaudio's own bundle"),
    "audio.gain": Oracle("librosa, float64", _gain, Close(of_peak=2e-7, why="a factor and a product in float32")),
    "audio.inverse_stft": Oracle(
        "torch.istft, float64", _inverse_stft, Close(of_peak=2e-6, why="float32 FFT and sums")
    ),
    "audio.mu_law": Oracle(
        "librosa, float64", _mu_law, Close(absolute=1e-7, why="classes are whole; decoded once rounded")
    ),
    "audio.noise": Oracle("NumPy, float64", _noise, Close(of_peak=3e-7, why="three float32 roundings")),
    "audio.normalize": Oracle("librosa, NumPy, float64", _normalize, Close(of_peak=3e-7, why="two float32 roundings")),
    "audio.pitch_shift": Oracle("librosa and torchaudio, float64", _pitch_shift, ONCE),
    "audio.pre_emphasis": Oracle("scipy, float64", _pre_emphasis, Close(of_peak=1.2e-7, why="two float32 operations")),
    "audio.reverb": Oracle("scipy, float64", _reverb, ONCE),
    "audio.shift": Oracle("numpy.roll", _shift, Identical("samples are moved")),
    "audio.spec_augment": Oracle("NumPy, float64", _spec_augment, Close(of_peak=1.2e-7, why="a mean, rounded once")),
    "audio.time_stretch": Oracle("librosa, float64", _time_stretch, ONCE),
    "audio.trim_silence": Oracle("librosa", _trim, Identical("samples are moved")),
    "audio.mfcc": Oracle("scipy, float64", _mfcc, Close(of_peak=1e-6, why="float32 sum over the bands")),
}
