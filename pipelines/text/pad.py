"""Sequences of one length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from pipelines.companions import usable
from pipelines.errors import RecordError, SpecError
from pipelines.guard import after
from pipelines.spec import Axis, Spec
from pipelines.step import Example, Identical, Kernel, Step
from pipelines.text._seams import TOKENS, filled, ids, need_sequence


class Pad(Step):
    """A sequence made `length` tokens long by `value` at its end.

    Takes  int64[..., token] or text[token]
    Gives  the same with `length` tokens; out[i] = in[i], and `value` from the end of the input on

    `value` is an id on ids (0 when left out) and a token on tokens ("<pad>" when left out). A longer
    sequence fails the record: put text.truncate before this step.

    Source: torchtext.transforms.PadTransform, which leaves longer ones as they are;
    keras_hub.layers.StartEndPacker, which cuts them, where it packs texts outside a graph; else tf.concat.
    """

    length: Annotated[int, Field(ge=1)]
    value: Annotated[int, Field(ge=0, strict=True)] | Annotated[str, Field(min_length=1)] | None = None

    agreement = Identical("tokens are moved, never computed")
    examples = (
        Example(ids(1000), {"length": 17}),
        Example(ids(1000, 5), {"length": 9, "value": 3}),
        Example(ids(1000, 7), {"length": 7}),
        Example(TOKENS, {"length": 15, "value": "Größe"}),
    )

    def out_spec(self, x: Spec) -> Spec:
        need_sequence(x)
        size = x.size("token")
        if size is not None and size > self.length:
            raise SpecError(f"length={self.length} must be >= {size}, the tokens of {x}; put text.truncate before")
        if isinstance(self.value, str if x.is_numeric else int):
            raise SpecError(f"value={self.value!r} cannot stand in {x}")
        if isinstance(self.value, int) and x.range and self.value > x.range[1]:
            raise SpecError(f"value={self.value} is not an id of {x}")
        return x.but(axes=(*x.axes[:-1], Axis("token", self.length)))

    def _fill(self, x: Spec) -> int | str:
        if self.value is not None:
            return self.value
        return 0 if x.is_numeric else "<pad>"

    def _too_long(self) -> str:
        return f"a sequence is longer than {self.length} tokens; put text.truncate before text.pad"

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        value = self._fill(x)

        def kernel(sequence: Any) -> Any:
            more = self.length - (sequence.shape[-1] if x.is_numeric else len(sequence))
            if more < 0:
                raise RecordError(self._too_long())
            if not x.is_numeric:
                return [*sequence, *[value] * more]
            return torch.nn.functional.pad(sequence, (0, more), value=int(value))

        return kernel

    def bind_torch_rows(self, x: Spec) -> Kernel | None:
        if not x.is_numeric or len(x.axes) != 1:
            return None
        import torch

        value = int(self._fill(x))

        def kernel(rows: list[torch.Tensor]) -> list[torch.Tensor]:  # a NumPy call costs a third of a torch call
            side = np.full((len(rows), self.length), value, np.int64)
            for place, row in zip(side, rows, strict=True):
                if len(row) > self.length:
                    raise RecordError(self._too_long())
                place[: len(row)] = row.numpy()
            return list(torch.from_numpy(side))

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        packed = self._packer(x)

        def kernel(sequence: Any) -> Any:
            more = self.length - tf.shape(sequence)[-1]
            padded = packed(after([tf.debugging.Assert(more >= 0, [self._too_long()])], sequence))
            return tf.ensure_shape(padded, [*sequence.shape[:-1], self.length])

        return kernel

    def bind_tensorflow_rows(self, x: Spec) -> Kernel | None:
        if x.shape != (None,):
            return None
        import tensorflow as tf

        value = tf.constant(self._fill(x), tf.int64 if x.is_numeric else tf.string)

        def kernel(sequences: Any) -> Any:
            short = tf.reduce_all(sequences.row_lengths() <= self.length)
            values = after([tf.debugging.Assert(short, [self._too_long()])], sequences.values)
            return sequences.with_values(values).to_tensor(value, shape=(None, self.length))

        return kernel

    def _packer(self, x: Spec) -> Callable[[Any], Any]:
        """[..., token] to [..., length], for sequences that are not longer."""
        import tensorflow as tf

        value = self._fill(x)
        if usable("keras_hub.StartEndPacker"):
            from keras_hub.layers import StartEndPacker

            dtype = x.dtype if x.is_numeric else "string"
            packer = StartEndPacker(self.length, pad_value=value, dtype=dtype)

            def packed(sequence: Any) -> Any:
                leading = tf.shape(sequence)[:-1]
                rows = tf.reshape(sequence, [tf.reduce_prod(leading), tf.shape(sequence)[-1]])
                return tf.reshape(packer(rows), tf.concat([leading, [self.length]], 0))

            return packed
        return lambda sequence: tf.concat([sequence, filled(sequence, self.length - tf.shape(sequence)[-1], value)], -1)
