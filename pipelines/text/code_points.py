"""Numbers of a text's characters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pipelines.errors import RecordError
from pipelines.guard import after
from pipelines.spec import TEXT, Axis, Spec
from pipelines.step import Example, Identical, Kernel, Step

_INVALID = "text that is not valid Unicode"


class CodePoints(Step):
    """The Unicode code points of a text.

    Takes  text
    Gives  int64[token]   code points, in [0, 1114111]; out[i] = ord(text[i])

    One number for each code point, so an accented letter may be one or two (text.clean puts it in one form), and an
    emoji several. Text that is not valid Unicode (a lone surrogate, broken UTF-8) fails the record.

    Source: the UTF-32 form of the text; tf.strings.unicode_decode.
    """

    agreement = Identical("text is read, never changed")
    batches = False
    examples = (
        Example(TEXT),
        Example(TEXT, values=lambda rng: ["", "\0", "a\0b", "\ufeffa", "\uffff\U0010ffff\ud7ff\ue000", "e\u0301é"]),
        Example(TEXT, values=lambda rng: ["".join(map(chr, rng.integers(0, 0xD800, n))) for n in (1, 30, 999)]),
    )

    def naming(self) -> Callable[[int], str]:
        return chr

    def out_spec(self, x: Spec) -> Spec:
        x.need(("text",), exactly=())
        return Spec("int64", (Axis("token"),), "code point", (0, 0x10FFFF))

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        def kernel(text: str) -> torch.Tensor:
            try:
                held = text.encode("utf-32-le")
            except UnicodeEncodeError as error:
                raise RecordError(_INVALID) from error
            return torch.from_numpy(np.frombuffer(held, "<u4").astype(np.int64))

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        def kernel(text: Any) -> Any:
            # strict decoding fails too, in words of its own
            back = tf.strings.unicode_transcode(
                text, "UTF-8", "UTF-8", errors="replace", replace_control_characters=False
            )
            valid = tf.debugging.Assert(tf.reduce_all(tf.equal(back, text)), [_INVALID])
            return tf.cast(tf.strings.unicode_decode(after([valid], text), "UTF-8", errors="replace"), tf.int64)

        return kernel

    def bind_tensorflow_rows(self, x: Spec) -> Kernel | None:
        return self.bind_tensorflow(x)
