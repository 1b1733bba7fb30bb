"""TFRecord files of tf.train.Example messages, written and read without TensorFlow."""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from crc32c import crc32c

from pipelines.sinks._base import Record, ShardReader, ShardWriter, Sink
from pipelines.sinks._example import Values, decode_example, encode_example
from pipelines.sinks._files import read_range
from pipelines.sinks._values import columns, dtype_of, encoded, from_bytes, rebuilt, shape_is_stored
from pipelines.spec import Spec

_HEAD = struct.Struct("<QI")  # length of the message, masked CRC of those 8 bytes
_TAIL = struct.Struct("<I")  # masked CRC of the message


def _masked(data: bytes | memoryview) -> int:
    # TensorFlow rotates and offsets the CRC, since a CRC of data that holds CRCs is weak
    crc: int = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


class TFRecord(Sink):
    """TFRecord shards of tf.train.Example, for tf.data.TFRecordDataset and tf.io.parse_single_example.

    | value | feature | parse with |
    | --- | --- | --- |
    | float32 | float_list | tf.io.FixedLenFeature(shape, tf.float32); varying: tf.io.RaggedFeature(tf.float32) |
    | int64 | int64_list | tf.io.FixedLenFeature(shape, tf.int64); varying: tf.io.RaggedFeature(tf.int64) |
    | another dtype | bytes_list, one item of little-endian values | tf.io.decode_raw(example[name], dtype) |
    | text, bytes | bytes_list, one item of UTF-8 | tf.io.FixedLenFeature([], tf.string) |
    | tokens | bytes_list | tf.io.RaggedFeature(tf.string) |
    | absent | no feature | default_value of FixedLenFeature |

    Arrays are flat, in C order. Where the sizes do not follow from the number of values (more than one
    axis varies, or a fixed one is 0) the int64_list `<field>.shape` holds them. `key` and `index` are features too.
    """

    suffix = ".tfrecord"

    def writer(self, path: Path, fields: Mapping[str, Spec]) -> ShardWriter:
        return _Writer(path, fields)

    def reader(self, path: Path, fields: Mapping[str, Spec]) -> ShardReader:
        return _Reader(path, fields)


class _Writer(ShardWriter):
    def __init__(self, path: Path, fields: Mapping[str, Spec]) -> None:
        self._fields = fields
        self._columns = columns(fields)
        self._file = open(path, "wb", buffering=1 << 20)  # noqa: SIM115  # closed by close

    def add(self, record: Record) -> None:
        features: dict[str, Values] = {}
        for name, value in encoded(record, self._fields).items():
            spec = self._columns[name]
            if value is None:
                continue
            if not spec.is_numeric:
                features[name] = value if spec.axes else [value]
                continue
            features[name] = value.reshape(-1) if spec.dtype in ("float32", "int64") else [value.tobytes()]
            if shape_is_stored(spec):
                features[f"{name}.shape"] = np.array(value.shape, np.int64)
        message = encode_example(features)
        length = struct.pack("<Q", len(message))
        for part in (length, _TAIL.pack(_masked(length)), message, _TAIL.pack(_masked(message))):
            self._file.write(part)

    def close(self) -> None:
        self._file.close()


class _Reader(ShardReader):
    def __init__(self, path: Path, fields: Mapping[str, Spec]) -> None:
        self._path = path
        self._columns = columns(fields)
        self._places: list[tuple[int, int]] = []
        at = 0
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            while at < size:
                file.seek(at)
                head = file.read(_HEAD.size)
                if len(head) < _HEAD.size:
                    raise ValueError(f"{path.name} ends within a record")
                length, crc = _HEAD.unpack(head)
                if crc != _masked(head[:8]):
                    raise ValueError(f"{path.name} is damaged at byte {at}: the length's CRC does not fit")
                self._places.append((at + _HEAD.size, length))
                at += _HEAD.size + length + _TAIL.size
        if at != size:
            raise ValueError(f"{path.name} ends within a record")

    def __len__(self) -> int:
        return len(self._places)

    def read(self, number: int, names: Collection[str]) -> dict[str, Any]:
        start, length = self._places[number]
        data = read_range(self._path, start, length + _TAIL.size)
        message = data[:length]
        if _TAIL.unpack_from(data, length)[0] != _masked(message):
            raise ValueError(f"record {number} of {self._path.name} is damaged: its CRC does not fit")
        features = decode_example(message)
        return {name: _value(name, self._columns[name], features) for name in names}


def _value(name: str, spec: Spec, features: Mapping[str, Any]) -> Any:
    values = features.get(name)
    if values is None:
        if not spec.optional:
            raise ValueError(f"the record has no {name}")
        return None
    if not spec.is_numeric:
        strings = [from_bytes(value, spec) for value in values]
        return strings if spec.axes else strings[0]
    flat = values if isinstance(values, np.ndarray) else np.frombuffer(values[0], dtype_of(spec))
    if flat.dtype != np.dtype(spec.dtype):
        raise ValueError(f"{name}: expected {spec}, got {flat.dtype}")
    return rebuilt(flat, spec, features[f"{name}.shape"] if shape_is_stored(spec) else None)


SINK = TFRecord
