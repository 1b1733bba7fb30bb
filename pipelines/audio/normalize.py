"""Levels brought to a common measure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from pipelines.errors import OutputError, SpecError, UserError
from pipelines.fitted import Fitted
from pipelines.native import torch_constant
from pipelines.sinks._files import replace_file
from pipelines.spec import Axis, Spec, waveform
from pipelines.step import Close, ConfigPath, Example, Kernel

_SILENCE = 1e-30  # far above 1e-38, below which values are 0 in TensorFlow but not in torch
_STILL = 1e-9  # of the mean: a smaller deviation is what rounding leaves of values that are all the same
_BANDS = str(Path(__file__).parent / "_example" / "bands.json")


class Normalize(Fitted):
    """Brings a sound to a peak or a mean power, or each band of features to mean 0 and deviation 1.

    Takes  float32[..., time] for mode="peak" and "rms"; float32[..., band, frame] for "bands"; either for "record"
    Gives  the same axes; peak: in 10^(db / 20) / max |in|; rms: in 10^(db / 20) / sqrt(mean in^2), over all channels of
           the record, and 0 for silence (max |in| <= 1e-30). bands: (in[b, t] - mean[b]) / deviation[b]; record: the
           same with mean and deviation over the frames of this record, or the samples of each channel of a waveform

    `db` is relative to full scale (0 for "peak", -20 for "rms" if left out). "bands" has its numbers in `file` (JSON:
    mean and deviation, a number for each band), which `pipelines fit` writes from all frames of all records. A band
    that never changes has a deviation of 1.
    Source: torch.amax, torch.mean and tf.reduce_max, tf.reduce_mean in float64; the numbers of "bands" and "record" are
    those of sklearn.preprocessing.StandardScaler, summed pairwise as in Chan, Golub and LeVeque (1983).
    """

    mode: Literal["peak", "rms", "bands", "record"] = "peak"
    db: Annotated[float, Field(le=40)] | None = None
    file: ConfigPath | None = None

    agreement = Close(of_peak=1.2e-7, why="float64 sums in another order, rounded to float32 once")
    examples = (
        Example(waveform(16000)),
        Example(waveform(8000, channels=2, time=33), {"mode": "rms", "db": -3}),
        Example(waveform(None), {"mode": "rms"}),
        Example(waveform(None), {"db": -6}, lambda rng: [np.zeros(7, np.float32), np.array([0.5, -0.25], np.float32)]),
        Example(Spec("float32", (Axis("band", 5), Axis("frame")), "dB"), {"mode": "bands", "file": _BANDS}),
        Example(Spec("float32", (Axis("band", 5), Axis("frame")), "dB"), {"mode": "record"}),
        Example(waveform(8000, channels=2, time=333), {"mode": "record"}),
    )

    @model_validator(mode="after")
    def _consistent(self) -> Normalize:
        if (self.file is not None) != (self.mode == "bands"):
            raise ValueError(f"file: expected with mode: bands and only there, got {self.file} with {self.mode!r}")
        if self.db is not None and self.mode in ("bands", "record"):
            raise ValueError(f"db: expected only with mode: peak or rms, got {self.mode!r}")
        return self

    def files(self) -> tuple[Path, ...]:
        return () if self.file is None else (self.file,)

    @property
    def learns(self) -> bool:
        return self.mode == "bands"

    def fit(self, values: Iterable[Any]) -> None:
        assert self.file is not None
        count, mean, spread = 0, np.zeros(0), np.zeros(0)
        for value in values:
            frames = np.moveaxis(np.asarray(value, np.float64), -2, -1).reshape(-1, np.shape(value)[-2])
            if not len(frames):
                continue
            if not np.isfinite(frames).all():
                raise UserError("audio.normalize: expected finite values to learn from; audio.decibels needs a floor")
            if not count:
                mean, spread = np.zeros(frames.shape[1]), np.zeros(frames.shape[1])
            gap, total = frames.mean(0) - mean, count + len(frames)
            spread = spread + np.square(frames - frames.mean(0)).sum(0) + gap**2 * (count * len(frames) / total)
            mean, count = mean + gap * (len(frames) / total), total
        if not count:
            raise UserError("audio.normalize: no record has a frame to learn from")
        deviation = np.sqrt(spread / count)
        deviation[deviation == 0] = 1.0
        learnt = {"frames": count, "mean": mean.tolist(), "deviation": deviation.tolist()}
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self.file, json.dumps(learnt, indent=1))
        except OSError as error:
            raise OutputError(f"cannot write {self.file}: {error.strerror}") from error

    def numbers(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Mean and deviation of each band, from the file; SpecError when it holds none."""
        assert self.file is not None
        self.need_fitted()
        try:
            held = json.loads(self.file.read_text("utf-8"))
            mean, deviation = (np.array(held[name], np.float64) for name in ("mean", "deviation"))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise SpecError(f"{self.file} does not hold the mean and deviation of each band: {error!r}") from error
        if mean.ndim != 1 or mean.shape != deviation.shape or not (deviation > 0).all() or not np.isfinite(mean).all():
            raise SpecError(f"{self.file} does not hold a mean and a positive deviation for each band")
        return mean, deviation

    def out_spec(self, x: Spec) -> Spec:
        if self.mode == "record":
            x.need(("float32",), last=("time",) if x.names[-1:] == ("time",) else ("frame",))
            return x.but(range=None, unit="")
        if self.mode != "bands":
            x.need(("float32",), last=("time",))
            low = -(10 ** (self._level / 20))
            return x.but(range=(low, -low) if self.mode == "peak" else None)
        x.need(("float32",), last=("frame",))
        found, bands = len(self.numbers()[0]), x.shape[-2] if len(x.axes) > 1 else None
        if len(x.axes) < 2 or bands != found:
            raise SpecError(f"expected the {found} bands that {self.file} was made from, got {x}")
        return x.but(range=None, unit="")

    @property
    def _level(self) -> float:
        return self.db if self.db is not None else {"peak": 0.0, "rms": -20.0}[self.mode]

    def _constants(self) -> list[npt.NDArray[np.float32]]:
        mean, deviation = self.numbers()
        return [values.astype(np.float32)[:, None] for values in (mean, 1 / deviation)]

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        if self.mode == "bands":
            mean, inverse = map(torch_constant, self._constants())
            return lambda levels: (levels - mean(levels)) * inverse(levels)
        if self.mode == "record":

            def own(values: torch.Tensor) -> torch.Tensor:
                wide = values.double()
                mean = wide.mean(-1, True)
                deviation = (wide - mean).square().mean(-1, True).sqrt()
                return ((wide - mean) / torch.where(deviation > _STILL * mean.abs(), deviation, 1.0)).float()

            return own
        axes, target = tuple(range(-len(x.axes), 0)), 10 ** (self._level / 20)

        def kernel(wave: torch.Tensor) -> torch.Tensor:
            if not wave.numel():
                return wave.clone()
            wide = wave.double()
            peak = wide.abs().amax(axes, True)
            size = peak if self.mode == "peak" else wide.square().mean(axes, True).sqrt()
            return (wide * torch.where(peak > _SILENCE, target / size, 0)).float()

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        if self.mode == "bands":
            mean, inverse = self._constants()
            return lambda levels: (levels - mean) * inverse
        if self.mode == "record":

            def own(values: Any) -> Any:
                wide = tf.cast(values, tf.float64)
                mean = tf.reduce_mean(wide, -1, True)
                deviation = tf.sqrt(tf.reduce_mean(tf.square(wide - mean), -1, True))
                moves = deviation > _STILL * tf.abs(mean)
                return tf.cast((wide - mean) / tf.where(moves, deviation, tf.ones_like(deviation)), tf.float32)

            return own
        axes, target = list(range(-len(x.axes), 0)), 10 ** (self._level / 20)

        def kernel(wave: Any) -> Any:
            wide = tf.cast(wave, tf.float64)
            peak = tf.reduce_max(tf.abs(wide), axes, True)
            size = peak if self.mode == "peak" else tf.sqrt(tf.reduce_mean(tf.square(wide), axes, True))
            return tf.cast(wide * tf.where(peak > _SILENCE, target / size, 0), tf.float32)

        return kernel
