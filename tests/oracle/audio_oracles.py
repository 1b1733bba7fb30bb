"""Oracles of the audio steps."""

from __future__ import annotations

import io
from typing import Any

import librosa
import numpy as np
import scipy.fft
import soundfile
from contract.values import Record
from oracle.base import NoOracle, Oracle

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
    size = step.samples or round(step.seconds * float(x.rate_hz))  # type: ignore[arg-type]
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


def _decibels(step: Any, x: Spec, record: Record) -> Any:
    level = librosa.power_to_db if step.of == "power" else librosa.amplitude_to_db
    return level(record.value.astype(np.float64), ref=1.0, amin=step.floor, top_db=step.top_db)


def _mfcc(step: Any, x: Spec, record: Record) -> Any:
    cosines = scipy.fft.dct(record.value.astype(np.float64), type=2, norm="ortho", axis=-2)
    return cosines[..., : step.coefficients, :]


FFT = Close(of_peak=1e-6, why="float32 FFT against float64")
ORACLES: dict[str, Oracle | NoOracle] = {
    "audio.decode": Oracle("soundfile", _decode, Close(of_peak=4e-6, why="MP3 and Vorbis decoders round differently")),
    "audio.resample": Oracle("torchaudio, float64", _resample, Close(of_peak=1e-6, why="float32 sums")),
    "audio.fit": Oracle("librosa", _fit, Identical("values are moved")),
    "audio.stft": Oracle("librosa, float64", _stft, FFT),
    "audio.mel": Oracle("librosa, float64", _mel, Close(of_peak=2e-6, why="float32 FFT and sums against float64")),
    "audio.decibels": Oracle("librosa, float64", _decibels, Close(absolute=3e-5, why="float32 logarithm")),
    "audio.mfcc": Oracle("scipy, float64", _mfcc, Close(of_peak=1e-6, why="float32 sum over the bands")),
}
