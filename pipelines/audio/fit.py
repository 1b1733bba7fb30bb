"""Padding and cutting to one length."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipelines.audio._checks import at_least_each, at_least_tensorflow, at_least_torch
from pipelines.errors import SpecError
from pipelines.spec import PER_RECORD, Axis, Spec, waveform
from pipelines.step import Example, Identical, Kernel, Step


class Fit(Step):
    """A waveform of one length: cut when it is longer, padded with zeros when it is shorter.

    Takes  float32[..., time]      waveform of at least 1 sample; `seconds` needs one known rate_hz
    Gives  float32[..., samples]   the same unit

    `where` says which part of a longer waveform is kept and where a shorter one stands: at the "start", in
    the "centre" (an odd sample is cut or padded at the end), or at the "end".
    Centre: out[n] = x[n + floor((time - samples) / 2)] when cut; x[n - floor((samples - time) / 2)] when padded.
    Source: torch.nn.functional.pad and tf.pad; equals librosa.util.fix_length for "start".
    """

    seconds: Annotated[float, Field(gt=0)] | None = None
    samples: Annotated[int, Field(ge=1)] | None = None
    where: Literal["start", "centre", "end"] = "start"

    agreement = Identical("values are moved, never computed")
    examples = (
        Example(waveform(16000), {"seconds": 0.05}),
        Example(waveform(None), {"samples": 7, "where": "end"}),
        Example(waveform(8000, channels=2, time=33), {"samples": 16, "where": "centre"}),
        Example(waveform(8000, time=33), {"samples": 64, "where": "centre"}),
        Example(waveform(PER_RECORD), {"samples": 100, "where": "centre"}),
    )

    @model_validator(mode="after")
    def _one_length(self) -> Fit:
        if (self.seconds is None) == (self.samples is None):
            raise ValueError(f"expected seconds or samples, got {'neither' if self.seconds is None else 'both'}")
        return self

    def out_spec(self, x: Spec) -> Spec:
        x.need(("float32",), last=("time",))
        return x.but(axes=(*x.axes[:-1], Axis("time", self._length(x))))

    def _length(self, x: Spec) -> int:
        if self.samples is not None:
            return self.samples
        length = round((self.seconds or 0) * x.need_rate())
        if length < 1:
            raise SpecError(f"expected at least one sample, but {self.seconds} s at {x.rate_hz} Hz hold none")
        return length

    def _left(self, extra: int) -> int:
        """How much of `extra` samples comes off, or goes on, at the left."""
        return {"start": 0, "centre": extra // 2, "end": extra}[self.where]

    def bind_torch(self, x: Spec) -> Kernel:
        import torch
        from torch.nn.functional import pad

        length = self._length(x)

        def kernel(wave: torch.Tensor) -> torch.Tensor:
            at_least_torch(wave, 1, "sample")
            extra = wave.shape[-1] - length
            if extra >= 0:
                return wave.narrow(-1, self._left(extra), length).clone()
            left = self._left(-extra)
            return pad(wave, (left, -extra - left))

        return kernel

    def bind_torch_rows(self, x: Spec) -> Kernel | None:
        from torch.nn.utils.rnn import pad_sequence

        length = self._length(x)
        in_one_call = x.shape == (None,) and self.where == "start"

        def kernel(waves: list[Any]) -> list[Any]:
            if in_one_call:
                lengths = [wave.shape[-1] for wave in waves]
                at_least_torch(waves[lengths.index(min(lengths))], 1, "sample")
                cut = [wave[:length] if n > length else wave for wave, n in zip(waves, lengths, strict=True)]
                longest = waves[0].new_zeros(length)  # to which the others are padded
                return list(pad_sequence([*cut, longest], batch_first=True)[:-1])
            side = waves[0].new_zeros(len(waves), *waves[0].shape[:-1], length)
            for row, wave in zip(side, waves, strict=True):
                at_least_torch(wave, 1, "sample")
                extra = wave.shape[-1] - length
                if extra >= 0:
                    row.copy_(wave.narrow(-1, self._left(extra), length))
                else:
                    row.narrow(-1, self._left(-extra), wave.shape[-1]).copy_(wave)
            return list(side)

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        length = self._length(x)

        def left_of(extra: tf.Tensor) -> tf.Tensor:
            return {"start": 0 * extra, "centre": extra // 2, "end": extra}[self.where]

        def kernel(wave: tf.Tensor) -> tf.Tensor:
            static = wave.shape[:-1]
            wave = at_least_tensorflow(wave, 1, "sample")
            extra, missing = tf.nn.relu(tf.shape(wave)[-1] - length), tf.nn.relu(length - tf.shape(wave)[-1])
            first, left = left_of(extra), left_of(missing)
            wave = wave[..., first : first + length]
            front = tf.zeros([tf.rank(wave) - 1, 2], tf.int32)
            wave = tf.pad(wave, tf.concat([front, [tf.stack([left, missing - left])]], 0))
            return tf.ensure_shape(wave, (*static, length))

        return kernel

    def bind_tensorflow_rows(self, x: Spec) -> Kernel | None:
        if x.shape != (None,) or self.where != "start":
            return None
        length = self._length(x)
        return lambda waves: at_least_each(waves, 1, "sample").to_tensor(shape=(None, length))
