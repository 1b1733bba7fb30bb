"""The sound of a room, by chance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.audio import _sounds
from pipelines.audio._chance import Probability
from pipelines.native import torch_constant
from pipelines.spec import Spec, waveform
from pipelines.step import Close, ConfigPath, Example, Kernel, Step

_FOLDER = str(Path(__file__).parent / "_example")


class Reverb(Step):
    """A waveform as it sounds in a room: its convolution with an impulse response.

    Takes  float32[..., time]   waveform of one known rate_hz
    Gives  float32[..., time]   out[n] = sum_k h[k] in[n - k], of the same length; the same h in all channels

    `responses` is a sound file, or a folder of which one is drawn for each record; each is brought to the rate, begins
    with its largest sample, so that the sound is not delayed, and has an energy of 1. `probability` is the share of
    records that are changed; serving changes none.
    Source: torchaudio.functional.fftconvolve and tf.signal.rfft, in float64; equals scipy.signal.fftconvolve.
    """

    responses: ConfigPath
    probability: Probability = 1.0

    serving = (1.0, 0.0)
    agreement = Close(of_peak=1.2e-7, why="float64 transforms, rounded once to float32")
    examples = (
        Example(waveform(8000), {"responses": _FOLDER}),
        Example(waveform(8000, channels=2, time=333), {"responses": _FOLDER, "probability": 0.5}),
    )

    def variates(self) -> int:
        return 2

    def files(self) -> tuple[Path, ...]:
        return _sounds.sound_files(self.responses)

    def out_spec(self, x: Spec) -> Spec:
        x.need(("float32",), last=("time",))
        x.need_rate()
        _sounds.check(self.responses, "impulse responses")
        return x.but(range=None)

    def table(self, rate_hz: int) -> npt.NDArray[np.float64]:
        """float64[responses, time]: each from its largest sample on, of energy 1, zeros behind the shorter ones."""
        cut = [sound[np.abs(sound).argmax() :].astype(np.float64) for sound in _sounds.sounds(self.responses, rate_hz)]
        table = np.zeros((len(cut), max(map(len, cut))))
        for row, sound in zip(table, cut, strict=True):
            row[: len(sound)] = sound / max(np.sqrt(np.sum(sound**2)), 1e-30)
        return table

    def bind_torch(self, x: Spec) -> Kernel:
        import torch
        from torchaudio.functional import fftconvolve

        held = torch_constant(self.table(x.need_rate()))
        ones = (1,) * (len(x.axes) - 1)

        def kernel(wave: torch.Tensor, draw: torch.Tensor) -> torch.Tensor:
            if not wave.numel():
                return wave.clone()
            table = held(wave)
            row = table[(draw[..., 1] * len(table)).long().to(wave.device)]
            made = fftconvolve(wave.double(), row.reshape(*draw.shape[:-1], *ones, -1))[..., : wave.shape[-1]].float()
            chosen = (draw[..., 0] < self.probability).to(wave.device).reshape(*draw.shape[:-1], *ones, 1)
            return torch.where(chosen, made, wave)

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        table = self.table(x.need_rate())
        ones = [1] * (len(x.axes) - 1)

        def kernel(wave: Any, draw: Any) -> Any:
            time = tf.shape(wave)[-1]
            size = tf.maximum(time + table.shape[1] - 1, 1)
            row = tf.gather(tf.constant(table), tf.cast(draw[..., 1] * len(table), tf.int32))
            row = tf.reshape(row, tf.concat([tf.shape(draw)[:-1], [*ones, -1]], 0))
            spectra = [tf.signal.rfft(tf.cast(v, tf.float64), [size]) for v in (wave, row)]
            made = tf.cast(tf.signal.irfft(spectra[0] * spectra[1], [size])[..., :time], tf.float32)
            chosen = tf.reshape(draw[..., 0] < self.probability, tf.concat([tf.shape(draw)[:-1], [*ones, 1]], 0))
            return tf.ensure_shape(tf.where(chosen, made, wave), wave.shape)

        return kernel
