"""The sound of a room, by chance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.audio import _sounds
from pipelines.audio._chance import Probability, always_tensorflow, always_torch, is_chance
from pipelines.spec import Spec, waveform
from pipelines.step import Close, ConfigPath, Example, Kernel, Step

_WHAT = "impulse responses"
_FOLDER = str(Path(__file__).parent / "_example")

_NONE = np.ones(1)  # of a record that is not changed


class Reverb(Step):
    """A waveform as it sounds in a room: its convolution with an impulse response.

    Takes  float32[..., time]   waveform of one known rate_hz
    Gives  float32[..., time]   out[n] = sum_k h[k] in[n - k], of the same length; the same h in all channels

    `responses` is a sound file, or a folder of which one is drawn for each record, each as likely as any other; its
    first channel is taken, brought to the rate, from its largest sample on, so that the sound is not delayed, and
    scaled to an energy of 1. `probability` is the share of records that are changed; when serving, only a file
    with a probability of 1 does anything.
    Source: torchaudio.functional.fftconvolve and tf.signal.rfft, in float64; equals scipy.signal.fftconvolve.
    """

    responses: ConfigPath
    probability: Probability = 1.0

    serving = (1.0, 0.0)
    agreement = Close(of_peak=1.2e-7, why="float64 transforms, rounded once to float32")
    examples = (
        Example(waveform(8000), {"responses": _FOLDER}),
        Example(waveform(8000, channels=2, time=333), {"responses": _FOLDER, "probability": 0.5}),
        Example(waveform(16000, channels=2), {"responses": f"{_FOLDER}/room.wav"}),
    )

    def variates(self) -> int:
        return 2 if is_chance(self.probability) or self.responses.is_dir() else 0

    def files(self) -> tuple[Path, ...]:
        return _sounds.sound_files(self.responses)

    def out_spec(self, x: Spec) -> Spec:
        x.need(("float32",), last=("time",))
        x.need_rate()
        _sounds.check(self.responses, _WHAT)
        return x.but(range=None)

    def responses_at(self, rate_hz: int) -> Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]:
        """A function from draws float64[..., 2] to their responses, float64[..., time], zeros behind shorter ones."""
        held = _sounds.Sounds(self.responses, rate_hz, _WHAT, response)

        def drawn(draw: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            chosen = draw.reshape(-1, 2)[:, 0] < self.probability
            made = [held.drawn(row[1]) if do else _NONE for row, do in zip(draw.reshape(-1, 2), chosen, strict=True)]
            rows = np.zeros((len(made), max(map(len, made), default=1)))
            for row, values in zip(rows, made, strict=True):
                row[: len(values)] = values
            return rows.reshape(*draw.shape[:-1], -1)

        return drawn

    def bind_torch(self, x: Spec) -> Kernel:
        import torch
        from torchaudio.functional import fftconvolve

        responses = self.responses_at(x.need_rate())
        ones = (1,) * (len(x.axes) - 1)

        def kernel(wave: torch.Tensor, draw: torch.Tensor) -> torch.Tensor:
            if not wave.numel():
                return wave.clone()
            row = torch.from_numpy(responses(draw.numpy())).reshape(*draw.shape[:-1], *ones, -1).to(wave.device)
            row = row.reshape((1,) * (wave.ndim - row.ndim) + row.shape)
            made = fftconvolve(wave.double(), row)[..., : wave.shape[-1]].float()
            chosen = (draw[..., 0] < self.probability).to(wave.device).reshape(*draw.shape[:-1], *ones, 1)
            return torch.where(chosen, made, wave)

        return kernel if self.variates() else always_torch(kernel)

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        responses = self.responses_at(x.need_rate())
        ones = [1] * (len(x.axes) - 1)

        def kernel(wave: Any, draw: Any) -> Any:
            time = tf.shape(wave)[-1]
            row = tf.numpy_function(responses, [draw], tf.float64)
            size = tf.maximum(time + tf.shape(row)[-1] - 1, 1)
            row = tf.reshape(row, tf.concat([tf.shape(draw)[:-1], [*ones, -1]], 0))
            spectra = [tf.signal.rfft(tf.cast(v, tf.float64), [size]) for v in (wave, row)]
            made = tf.cast(tf.signal.irfft(spectra[0] * spectra[1], [size])[..., :time], tf.float32)
            chosen = tf.reshape(draw[..., 0] < self.probability, tf.concat([tf.shape(draw)[:-1], [*ones, 1]], 0))
            return tf.ensure_shape(tf.where(chosen, made, wave), wave.shape)

        return kernel if self.variates() else always_tensorflow(kernel)


def response(sound: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """float64[time]: the first channel of float32[channel, time] from its largest sample on, of energy 1."""
    first = sound[0, np.abs(sound[0]).argmax() :].astype(np.float64)
    energy = np.sum(first**2)
    if not energy > 0:
        raise ValueError("its first channel is silent")
    return np.asarray(first / np.sqrt(energy))
