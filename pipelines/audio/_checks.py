"""One sentence for a record that is too short, in either framework."""

from __future__ import annotations

from typing import Any

from pipelines.errors import RecordError
from pipelines.guard import after


def at_least_torch(x: Any, least: int, what: str) -> None:
    """RecordError unless the last axis of a torch tensor has `least` values."""
    if x.shape[-1] < least:
        raise RecordError(f"expected at least {least} {what}, got {x.shape[-1]}")


def at_least_tensorflow(x: Any, least: int, what: str) -> Any:
    """The tensor itself, which fails unless its last axis has `least` values."""
    import tensorflow as tf

    return _at_least(tf.shape(x)[-1], least, what, x)


def at_least_each(waves: Any, least: int, what: str) -> Any:
    """The RaggedTensor itself, which fails unless each row has `least` values."""
    return waves.with_values(_at_least(waves.row_lengths(), least, what, waves.values))


def _at_least(lengths: Any, least: int, what: str, x: Any) -> Any:
    import tensorflow as tf

    shortest = tf.constant(least, lengths.dtype)
    return after([tf.debugging.assert_greater_equal(lengths, shortest, f"expected at least {least} {what}")], x)
