"""Raw values on their way into a TensorFlow graph: each as one or two flat cells.

Records of a chunk travel together, one column a cell, so arrays and token lists of differing
sizes are sent as bytes with their sizes beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.spec import Spec


def signature(values: Mapping[str, Spec]) -> dict[str, tf.DType]:
    """The cells of one record and their dtypes; `NAME present` says whether the value is there."""
    cells: dict[str, tf.DType] = {}
    for name, spec in values.items():
        cells[name] = tf.as_dtype(spec.dtype) if spec.is_numeric and not spec.axes else tf.string
        if spec.axes:
            cells[f"{name} sizes"] = tf.string
        cells[f"{name} present"] = tf.bool
    return cells


def pack(raw: Mapping[str, Any], values: Mapping[str, Spec]) -> dict[str, Any]:
    """A record's raw values as cells."""
    cells: dict[str, Any] = {}
    for name, spec in values.items():
        value = raw[name]
        cells[f"{name} present"] = value is not None
        if not spec.axes:
            blank: Any = 0 if spec.is_numeric else b""
            cells[name] = blank if value is None else value.encode() if isinstance(value, str) else value
        elif spec.is_numeric:
            array = np.ascontiguousarray([] if value is None else value, dtype=spec.dtype)
            shape = [0] * len(spec.axes) if value is None else np.shape(value)
            cells[name], cells[f"{name} sizes"] = array.tobytes(), np.array(shape, np.int64).tobytes()
        else:
            tokens = [token.encode() for token in value or ()]
            cells[name], cells[f"{name} sizes"] = b"".join(tokens), np.array([*map(len, tokens)], np.int64).tobytes()
    return cells


def unpack(cells: Mapping[str, tf.Tensor], name: str, spec: Spec) -> tf.Tensor:
    """The value in the graph."""
    cell = cells[name]
    if not spec.axes:
        return cell
    sizes = tf.io.decode_raw(cells[f"{name} sizes"], tf.int64)
    if spec.is_numeric:
        flat = tf.io.decode_raw(cell, tf.as_dtype(spec.dtype))
        return tf.ensure_shape(tf.reshape(flat, tf.ensure_shape(sizes, (len(spec.axes),))), spec.shape)
    return tf.strings.substr(cell, tf.cumsum(sizes, exclusive=True), sizes)
