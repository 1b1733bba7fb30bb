"""tf.train.Example messages without TensorFlow or protobuf: the part of the wire format that they need.

An Example is a map from names to a list of bytes, of float32 or of int64. In protobuf terms:
Example.features = 1, Features.feature = 1 (a map entry: key = 1, value = 2), Feature.bytes_list = 1,
float_list = 2, int64_list = 3, and `value` = 1 in each of the three lists, numbers packed.

Source: tensorflow/core/example/example.proto and feature.proto; protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Values = list[bytes] | npt.NDArray[np.float32] | npt.NDArray[np.int64]
_BYTES, _FLOATS, _INTS = 1, 2, 3
_DELIMITED = 2


def encode_example(features: Mapping[str, Values]) -> bytes:
    """A serialised tf.train.Example; entries stand in the order of `features`."""
    entries = (_field(1, name.encode()) + _field(2, _feature(values)) for name, values in features.items())
    return _field(1, b"".join(_field(1, entry) for entry in entries))


def decode_example(data: bytes) -> dict[str, Values]:
    """What `encode_example` was given, or ValueError."""
    view = memoryview(data)
    found: dict[str, Values] = {}
    for _, features in _fields(view):
        for _, entry in _fields(features):
            parts = dict(_fields(entry))
            if 1 not in parts or 2 not in parts:
                raise ValueError("an entry of the example lacks its name or its value")
            found[bytes(parts[1]).decode()] = _values(parts[2])
    return found


def _feature(values: Values) -> bytes:
    if isinstance(values, list):
        return _field(_BYTES, b"".join(_field(1, value) for value in values))
    if values.dtype == np.float32:
        kind, packed = _FLOATS, values.astype("<f4", copy=False).tobytes()
    else:
        kind, packed = _INTS, _varints(values.astype(np.int64, copy=False))
    return _field(kind, _field(1, packed) if packed else b"")


def _values(feature: memoryview) -> Values:
    held = list(_fields(feature))
    if len(held) != 1:
        raise ValueError("expected one list in a feature")
    kind, content = held[0]
    items = [value for _, value in _fields(content)]
    if kind == _BYTES:
        return [bytes(value) for value in items]
    packed = b"".join(items)
    if kind == _FLOATS:
        return np.frombuffer(packed, "<f4").astype(np.float32, copy=False)
    if kind == _INTS:
        return _from_varints(packed)
    raise ValueError(f"a feature cannot hold a list of kind {kind}")


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | _DELIMITED]) + _length(len(content)) + content


def _length(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    at = 0
    while at < len(data):
        tag = data[at]
        if tag & 7 != _DELIMITED or tag > 0x7F:
            raise ValueError(f"unexpected field tag {tag} in an example")
        size, at = _read_length(data, at + 1)
        if at + size > len(data):
            raise ValueError("a field of an example ends after the example does")
        yield tag >> 3, data[at : at + size]
        at += size


def _read_length(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 63, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a length in an example is cut off")


_PLACES = np.arange(10)
_SHIFTS = (7 * _PLACES).astype(np.uint64)


def _varints(values: npt.NDArray[np.int64]) -> bytes:
    """Packed varints: groups of seven bits, the lowest first, the high bit on all but the last."""
    words = np.ascontiguousarray(values, np.int64).view(np.uint64)
    if not words.size or words.max() < 0x80:
        return words.astype(np.uint8).tobytes()
    groups = ((words[:, None] >> _SHIFTS) & np.uint64(0x7F)).astype(np.uint8)
    last = np.where(groups.any(axis=1), 9 - np.argmax(groups[:, ::-1] != 0, axis=1), 0)[:, None]
    return (groups | (last > _PLACES).astype(np.uint8) << 7)[last >= _PLACES].tobytes()


def _from_varints(packed: bytes) -> npt.NDArray[np.int64]:
    data = np.frombuffer(packed, np.uint8)
    if not data.size or data.max() < 0x80:
        return data.astype(np.int64)
    ends = np.flatnonzero(data < 0x80)
    if not ends.size or ends[-1] != data.size - 1:
        raise ValueError("a number in an example is cut off")
    starts = np.concatenate([[0], ends[:-1] + 1])
    places = np.arange(data.size) - np.repeat(starts, ends - starts + 1)
    if places.max() > 9:
        raise ValueError("a number in an example is longer than 64 bits")
    groups = (data & 0x7F).astype(np.uint64) << (7 * places).astype(np.uint64)
    found: Any = np.bitwise_or.reduceat(groups, starts)
    return np.asarray(found.view(np.int64))
