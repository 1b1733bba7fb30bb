"""Checks inside a TensorFlow graph that are waited for."""

from __future__ import annotations

from typing import Any


def after(checks: list[Any], values: Any) -> Any:
    """The tensor `values`, which exists only once the checks (tf.debugging) have passed.

    A graph runs what does not wait side by side: without this, an operation that cannot stand the value may fail first,
    and the record is told that operation's words instead of the check's. A check that was settled while the graph was
    made is None and is left out.
    """
    import tensorflow as tf

    with tf.control_dependencies([check for check in checks if check is not None]):
        return tf.identity(values)
