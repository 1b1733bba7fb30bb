"""Noise in the background, by chance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import model_validator

from pipelines.audio import _sounds
from pipelines.audio._chance import Amount, Probability, drawn, need_within
from pipelines.draw import normals
from pipelines.spec import Spec, waveform
from pipelines.step import Close, ConfigPath, Example, Kernel, Step

_WHAT = "sounds of noise"
_FOLDER = str(Path(__file__).parent / "_example")


class Noise(Step):
    """Adds noise to a waveform at a fixed or a random distance below it.

    Takes  float32[..., time]   waveform; `folder` needs one known rate_hz
    Gives  float32[..., time]   in + noise sqrt(P_in / P_noise) 10^(-snr_db / 20), P the mean squares over the record

    `snr_db` is a number, or [low, high] for one drawn evenly. Without `folder` the noise is white and normal, expanded
    from a key of two variates, another for each channel. With `folder` (or one file) it is one of the sounds in it and
    below, each as likely as any other: the mean of its channels, brought to the rate, the same in all channels of the
    record; a part of it at any place with the same chance, or, where it is shorter than the record, from any place on
    and repeated. Sounds are read when they are drawn and kept in up to 512 MiB; one may last an hour. `probability` is
    the share of records that get noise; serving adds none. Silence, in the record or the noise, adds none.
    Source: torchaudio.functional.add_noise, in float64 and defined for silence.
    """

    snr_db: Amount = (10.0, 30.0)
    folder: ConfigPath | None = None
    probability: Probability = 1.0

    serving = (1.0, 0.5, 0.0, 0.0)
    agreement = Close(of_peak=2.5e-7, why="powers are float64 sums in another order; two float32 operations")
    examples = (
        Example(waveform(16000)),
        Example(waveform(8000, channels=2, time=33), {"snr_db": 3, "probability": 0.5}),
        Example(waveform(8000), {"folder": _FOLDER, "snr_db": [-5, 5]}),
        Example(waveform(None), {"snr_db": 0}, lambda rng: [np.zeros(9, np.float32), np.ones(5, np.float32)]),
    )

    @model_validator(mode="after")
    def _sound(self) -> Noise:
        need_within("snr_db", self.snr_db, -120, 120)
        return self

    def variates(self) -> int:
        return 4  # whether, how far below, and the key: of white noise, or a sound and a place in it

    def files(self) -> tuple[Path, ...]:
        return () if self.folder is None else _sounds.sound_files(self.folder)

    def out_spec(self, x: Spec) -> Spec:
        x.need(("float32",), last=("time",))
        if self.folder is not None:
            x.need_rate()
            _sounds.check(self.folder, _WHAT)
        return x.but(range=None)

    def _maker(self, x: Spec) -> Any:
        """(draws float64[..., 4], shape of the value) to noise float32, broadcastable to it; 0 where none is added."""
        held = None if self.folder is None else _sounds.Sounds(self.folder, x.need_rate(), _WHAT, mono)
        axes = len(x.axes)

        def one(which: float, where: float, shape: tuple[int, ...]) -> npt.NDArray[np.floating[Any]]:
            if held is None:
                return normals(np.array([which, where]), int(np.prod(shape))).reshape(shape)
            return part(held.drawn(which), shape[-1], where)

        def make(draws: npt.NDArray[np.float64], shape: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
            record = [int(n) for n in shape[-axes:]] if held is None else [*[1] * (axes - 1), int(shape[-1])]
            rows = draws.reshape(-1, 4)
            made = np.zeros((len(rows), *record), np.float32)
            for row, (chance, _, which, where) in zip(made, rows, strict=True):
                if chance < self.probability:
                    row[...] = one(which, where, row.shape)
            return made.reshape(*draws.shape[:-1], *record)

        return make

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        make, record = self._maker(x), tuple(range(-len(x.axes), 0))

        def kernel(wave: torch.Tensor, draw: torch.Tensor) -> torch.Tensor:
            if not wave.shape[-1]:
                return wave.clone()
            noise = torch.from_numpy(make(draw.numpy(), wave.shape)).to(wave.device)
            powers = [(v.double().square()).mean(record, True) for v in (wave, noise)]
            level = torch.pow(10.0, -drawn(self.snr_db, draw[..., 1]) / 20)
            level = level.reshape(*draw.shape[:-1], *[1] * len(x.axes)).to(wave.device)
            factor = torch.where(powers[1] > 0, (powers[0] / powers[1]).sqrt() * level, 0.0)
            return wave + noise * factor.float()

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        make, record = self._maker(x), list(range(-len(x.axes), 0))

        def kernel(wave: Any, draw: Any) -> Any:
            noise = tf.numpy_function(make, [draw, tf.shape(wave)], tf.float32)
            noise.set_shape([None] * len(wave.shape))
            powers = [tf.reduce_mean(tf.square(tf.cast(v, tf.float64)), record, True) for v in (wave, noise)]
            level = tf.pow(tf.constant(10.0, tf.float64), -drawn(self.snr_db, draw[..., 1]) / 20)
            level = tf.reshape(level, tf.concat([tf.shape(draw)[:-1], [1] * len(x.axes)], 0))
            factor = tf.sqrt(tf.math.divide_no_nan(powers[0], powers[1])) * level
            return tf.ensure_shape(wave + noise * tf.cast(factor, tf.float32), wave.shape)

        return kernel


def mono(sound: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """float32[time]: the mean of the channels of float32[channel, time]."""
    return np.asarray(sound.mean(0, dtype=np.float64), np.float32)


def part(sound: npt.NDArray[Any], time: int, where: float) -> npt.NDArray[Any]:
    """The `time` samples from the place that `where` in [0, 1) stands for on; a shorter sound is repeated."""
    length = len(sound)
    if length < time:
        return np.take(sound, int(where * length) + np.arange(time), mode="wrap")
    first = int(where * (length - time + 1))
    return sound[first : first + time]
