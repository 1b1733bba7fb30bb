"""Bytes of a text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from pipelines.errors import RecordError
from pipelines.spec import TEXT, Axis, Spec
from pipelines.step import Example, Identical, Kernel, Step


class Utf8(Step):
    """The bytes of a text in UTF-8.

    Takes  text
    Gives  int64[token]   first + byte, in [first, first + 255]

    With `first` 0 the tokens are the bytes; ByT5, of which padding, end and unknown token are 0 to 2, has first=3.
    Text that is not valid Unicode (a lone surrogate) fails the record.

    Source: Xue et al. 2022 (ByT5); keras_nlp.tokenizers.ByteTokenizer, by tf.strings.bytes_split and tf.io.decode_raw.
    """

    first: Annotated[int, Field(ge=0)] = 0

    agreement = Identical("text is read, never changed")
    batches = False
    examples = (
        Example(TEXT),
        Example(TEXT, {"first": 3}, lambda rng: ["", "\0", "a\0b", "\ufeffé", "\U0001f680\uffff", "e\u0301\r\n"]),
    )

    def naming(self) -> Callable[[int], str]:
        return lambda number: bytes([number - self.first]).decode("ascii", "backslashreplace")

    def out_spec(self, x: Spec) -> Spec:
        x.need(("text",), exactly=())
        return Spec("int64", (Axis("token"),), "token id", (self.first, self.first + 255))

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        def kernel(text: str) -> torch.Tensor:
            try:
                held = text.encode()
            except UnicodeEncodeError as error:
                raise RecordError("text that is not valid Unicode") from error
            return torch.from_numpy(np.frombuffer(held, np.uint8).astype(np.int64) + self.first)

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        first = tf.constant(self.first, tf.int64)
        return lambda text: tf.cast(tf.io.decode_raw(text, tf.uint8), tf.int64) + first

    def bind_tensorflow_rows(self, x: Spec) -> Kernel | None:
        import tensorflow as tf

        first = tf.constant(self.first, tf.int64)

        def ids(texts: Any) -> Any:
            flat = tf.io.decode_raw(tf.strings.reduce_join(texts), tf.uint8)
            lengths = tf.strings.length(texts, "BYTE")
            return tf.RaggedTensor.from_row_lengths(tf.cast(flat, tf.int64) + first, lengths, validate=False)

        return ids
