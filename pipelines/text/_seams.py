"""What flows between text steps, and how a guarded graph is built."""

from __future__ import annotations

from typing import Any

from pipelines.spec import Axis, Spec
from pipelines.step import Kernel

TOKENS = Spec("text", (Axis("token"),))


def ids(count: int, length: int | None = None) -> Spec:
    """Token ids of a vocabulary of `count` entries; `length` None means that each text has its own."""
    return Spec("int64", (Axis("token", length),), "token id", (0, count - 1))


def routed(pattern: str, in_graph: Kernel, on_host: Kernel, unless: str | None = None) -> Kernel:
    """A TensorFlow kernel: `in_graph` for a text that matches `pattern` as a whole, `on_host` for any other.

    A text in which `unless` occurs goes to `on_host` too.
    """
    import tensorflow as tf

    def kernel(text: Any) -> Any:
        safe = tf.strings.regex_full_match(text, pattern)
        if unless is not None:
            safe &= ~tf.strings.regex_full_match(text, f"(?s).*(?:{unless}).*")
        return tf.cond(safe, lambda: in_graph(text), lambda: on_host(text))

    return kernel


def need_sequence(x: Spec) -> None:
    """Raise SpecError unless `x` is a sequence of token ids or of tokens."""
    x.need(("int64", "text"), last=("token",))
    if not x.is_numeric:
        x.need(exactly=("token",))


def filled(sequence: Any, count: Any, value: int | str | None) -> Any:
    """A TensorFlow tensor of `count` tokens `value`, with the leading axes of `sequence`."""
    import tensorflow as tf

    shape = tf.concat([tf.shape(sequence)[:-1], [count]], 0)
    return tf.fill(shape, tf.constant(value, sequence.dtype))
