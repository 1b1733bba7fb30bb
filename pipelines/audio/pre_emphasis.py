"""Emphasis of high frequencies."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from pipelines.spec import Spec, waveform
from pipelines.step import Example, Identical, Kernel, Step


class PreEmphasis(Step):
    """Each sample less a part of the one before it, which lifts high frequencies.

    Takes  float32[..., time]   waveform
    Gives  float32[..., time]   out[n] = in[n] - coefficient in[n - 1]; out[0] = in[0]

    Source: torchaudio.functional.preemphasis; equals librosa.effects.preemphasis with zi=[0]. (Kaldi takes
    in[0] for the sample before the first.)
    """

    coefficient: Annotated[float, Field(ge=0, le=1)] = 0.97

    agreement = Identical("one product and one difference")
    examples = (
        Example(waveform(16000)),
        Example(waveform(8000, channels=2, time=33), {"coefficient": 0.5}),
        Example(waveform(None), {"coefficient": 1.0}),
    )

    def out_spec(self, x: Spec) -> Spec:
        x.need(("float32",), last=("time",))
        return x.but(range=None)

    def bind_torch(self, x: Spec) -> Kernel:
        from torchaudio.functional import preemphasis

        return lambda wave: preemphasis(wave, self.coefficient)

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        def kernel(wave: Any) -> Any:
            made = tf.concat([wave[..., :1], wave[..., 1:] - self.coefficient * wave[..., :-1]], -1)
            return tf.ensure_shape(made, wave.shape)

        return kernel
