"""Sequences of one length."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from pipelines.companions import usable
from pipelines.errors import RecordError, SpecError
from pipelines.guard import after
from pipelines.spec import Axis, Spec
from pipelines.step import ConfigPath, Example, Identical, Kernel, Step
from pipelines.text._seams import EXAMPLES, TOKENS, TokenOrId, filled, id_or_token, ids, need_sequence


class Pad(Step):
    """A sequence made `length` tokens long by `value` at its end, or before its start.

    Takes  int64[..., token] or text[token]
    Gives  the same with `length` tokens: out[i] = in[i], then `value`; with side="left" `value` comes first. With
           gives="mask" int64[..., token] in [0, 1]: 1 for a token, 0 for padding, as attention takes it

    `value` is an id on ids (0 when left out), or a name that is looked up in `vocabulary` (any file that
    text.add_tokens takes), and a token on tokens ("<pad>" when left out). A longer sequence fails the record: put
    text.truncate before this step. A second field with gives="mask" and the same steps before makes the mask.

    Source: torchtext.transforms.PadTransform, which leaves longer ones as they are;
    keras_hub.layers.StartEndPacker, which cuts them, where it packs texts outside a graph; else tf.concat, and on
    the left, where it does not pad.
    """

    length: Annotated[int, Field(ge=1)]
    value: TokenOrId | None = None
    side: Literal["right", "left"] = "right"
    gives: Literal["sequence", "mask"] = "sequence"
    vocabulary: ConfigPath | None = None

    agreement = Identical("tokens are moved, never computed")
    examples = (
        Example(ids(1000), {"length": 17}),
        Example(ids(1000, 5), {"length": 9, "value": 3}),
        Example(ids(1000, 7), {"length": 7}),
        Example(TOKENS, {"length": 15, "value": "Größe"}),
        Example(ids(1000), {"length": 17, "value": 9, "side": "left"}),
        Example(TOKENS, {"length": 14, "side": "left"}),
        Example(ids(439), {"length": 13, "value": "[PAD]", "vocabulary": str(EXAMPLES / "wordpiece.txt")}),
        Example(ids(1000), {"length": 15, "gives": "mask"}),
        Example(ids(9, 5), {"length": 9, "gives": "mask", "side": "left"}),
        Example(TOKENS, {"length": 13, "gives": "mask"}),
    )

    def files(self) -> tuple[Path, ...]:
        return () if self.vocabulary is None else (self.vocabulary,)

    def out_spec(self, x: Spec) -> Spec:
        need_sequence(x)
        size = x.size("token")
        if size is not None and size > self.length:
            raise SpecError(f"length={self.length} must be >= {size}, the tokens of {x}; put text.truncate before")
        axes = (*x.axes[:-1], Axis("token", self.length))
        if self.gives == "mask":
            return Spec("int64", axes, "mask", (0, 1))
        self._fill(x)
        return x.but(axes=axes)

    def _fill(self, x: Spec) -> int | str:
        """What stands in the place of padding."""
        if self.gives == "mask":
            return 0
        if self.value is not None:
            return id_or_token(self.value, x, self.vocabulary)
        return 0 if x.is_numeric else "<pad>"

    def _sides(self, more: Any) -> tuple[Any, Any]:
        return (more, 0) if self.side == "left" else (0, more)

    def _too_long(self) -> str:
        return f"a sequence is longer than {self.length} tokens; put text.truncate before text.pad"

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        value = self._fill(x)

        def kernel(sequence: Any) -> Any:
            more = self.length - (sequence.shape[-1] if x.is_numeric else len(sequence))
            if more < 0:
                raise RecordError(self._too_long())
            before, behind = self._sides(more)
            if self.gives == "mask":
                sequence = torch.ones_like(sequence) if x.is_numeric else torch.ones(len(sequence), dtype=torch.int64)
            elif not x.is_numeric:
                return [*[value] * before, *sequence, *[value] * behind]
            return torch.nn.functional.pad(sequence, (before, behind), value=int(value))

        return kernel

    def bind_torch_rows(self, x: Spec) -> Kernel | None:
        if not x.is_numeric or len(x.axes) != 1:
            return None
        import torch

        value = int(self._fill(x))

        def kernel(rows: list[torch.Tensor]) -> list[torch.Tensor]:  # a NumPy call costs a third of a torch call
            made = np.full((len(rows), self.length), value, np.int64)
            for place, row in zip(made, rows, strict=True):
                if len(row) > self.length:
                    raise RecordError(self._too_long())
                start = self._sides(self.length - len(row))[0]
                place[start : start + len(row)] = 1 if self.gives == "mask" else row.numpy()
            return list(torch.from_numpy(made))

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        packed = self._packer(x)

        def kernel(sequence: Any) -> Any:
            more = self.length - tf.shape(sequence)[-1]
            sequence = after([tf.debugging.Assert(more >= 0, [self._too_long()])], sequence)
            given = tf.ones_like(sequence, tf.int64) if self.gives == "mask" else sequence
            return tf.ensure_shape(packed(given), [*sequence.shape[:-1], self.length])

        return kernel

    def bind_tensorflow_rows(self, x: Spec) -> Kernel | None:
        if x.shape != (None,) or self.side == "left":
            return None
        import tensorflow as tf

        value = tf.constant(self._fill(x), self._dtype(x))

        def kernel(sequences: Any) -> Any:
            short = tf.reduce_all(sequences.row_lengths() <= self.length)
            values = after([tf.debugging.Assert(short, [self._too_long()])], sequences.values)
            given = tf.ones_like(values, tf.int64) if self.gives == "mask" else values
            return sequences.with_values(given).to_tensor(value, shape=(None, self.length))

        return kernel

    def _dtype(self, x: Spec) -> str:
        return "int64" if self.gives == "mask" or x.is_numeric else "string"

    def _packer(self, x: Spec) -> Callable[[Any], Any]:
        """[..., token] to [..., length], for sequences that are not longer."""
        import tensorflow as tf

        value = self._fill(x)
        if self.side == "right" and usable("keras_hub.StartEndPacker"):
            from keras_hub.layers import StartEndPacker

            packer = StartEndPacker(self.length, pad_value=value, dtype=self._dtype(x))

            def packed(sequence: Any) -> Any:
                leading = tf.shape(sequence)[:-1]
                rows = tf.reshape(sequence, [tf.reduce_prod(leading), tf.shape(sequence)[-1]])
                return tf.reshape(packer(rows), tf.concat([leading, [self.length]], 0))

            return packed

        def joined(sequence: Any) -> Any:
            before, behind = (filled(sequence, n, value) for n in self._sides(self.length - tf.shape(sequence)[-1]))
            return tf.concat([before, sequence, behind], -1)

        return joined
