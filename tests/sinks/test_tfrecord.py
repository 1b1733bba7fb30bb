"""TFRecord shards in TensorFlow, and our messages against TensorFlow's own parser and writer."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sinks.cases import FIELDS, records, write

from pipelines.catalog import find_sink
from pipelines.sinks._example import decode_example, encode_example
from pipelines.spec import Axis, Spec

ROWS = records()
VALUES = (
    st.lists(st.binary(max_size=300), max_size=4)
    | hnp.arrays(np.float32, st.integers(0, 40))
    | hnp.arrays(np.int64, st.integers(0, 40))
)


def test_parse_single_example(tmp_path: Path) -> None:
    write(tmp_path / "shard.tfrecord", "tfrecord", FIELDS, ROWS)
    features = {
        "key": tf.io.FixedLenFeature([], tf.string),
        "index": tf.io.FixedLenFeature([], tf.int64),
        "mel": tf.io.FixedLenFeature([4, 3], tf.float32),
        "ids": tf.io.RaggedFeature(tf.int64),
        "digit": tf.io.FixedLenFeature([], tf.int64),
        "loud": tf.io.FixedLenFeature([], tf.float32),
        "wave": tf.io.FixedLenFeature([], tf.string),
        "picture": tf.io.FixedLenFeature([], tf.string),
        "picture.shape": tf.io.FixedLenFeature([3], tf.int64),
        "spectrum": tf.io.FixedLenFeature([], tf.string),
        "speech": tf.io.FixedLenFeature([], tf.string, default_value=b""),
        "caption": tf.io.FixedLenFeature([], tf.string, default_value=b"absent"),
        "words": tf.io.RaggedFeature(tf.string),
        "file": tf.io.FixedLenFeature([], tf.string),
        "nothing.shape": tf.io.FixedLenFeature([2], tf.int64),
    }
    data = tf.data.TFRecordDataset([str(tmp_path / "shard.tfrecord")])
    found = list(data.map(lambda message: tf.io.parse_single_example(message, features)))
    assert len(found) == len(ROWS)
    for got, row in zip(found, ROWS, strict=True):
        assert got["key"].numpy().decode() == row["key"]
        for name in ("index", "mel", "ids", "digit", "loud"):
            assert np.array_equal(got[name].numpy(), row[name])
        assert np.array_equal(tf.io.decode_raw(got["wave"], tf.int16), row["wave"])
        picture = tf.reshape(tf.io.decode_raw(got["picture"], tf.uint8), got["picture.shape"])
        assert np.array_equal(picture, row["picture"])
        spectrum = tf.reshape(tf.io.decode_raw(got["spectrum"], tf.complex64), [2, -1])
        assert row["spectrum"].size == 0 or np.array_equal(spectrum, row["spectrum"])
        assert tf.io.decode_raw(got["speech"], tf.bool).numpy().tolist() == [row["speech"]] * (
            row["speech"] is not None
        )
        assert got["caption"].numpy().decode() == ("absent" if row["caption"] is None else row["caption"])
        assert [word.decode() for word in got["words"].numpy()] == row["words"]
        assert got["file"].numpy() == row["file"]
        assert tuple(got["nothing.shape"].numpy()) == row["nothing"].shape


def test_what_tensorflow_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in range(3):
            feature = {
                "key": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"k%d" % number])),
                "index": tf.train.Feature(int64_list=tf.train.Int64List(value=[number])),
                "x": tf.train.Feature(float_list=tf.train.FloatList(value=[number, -0.5])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    reader = find_sink("tfrecord")().reader(path, {"x": Spec("float32", (Axis("a", 2),))})
    assert len(reader) == 3
    assert reader.read(2, ["key"]) == {"key": "k2"}
    assert reader.read(1, ["x"])["x"].tolist() == [1.0, -0.5]


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=150), VALUES, max_size=5))
def test_messages_against_tensorflow(features: dict[str, Any]) -> None:
    message = encode_example(features)
    parsed = tf.train.Example.FromString(message).features.feature
    assert set(parsed) == set(features)
    for name, values in features.items():
        if isinstance(values, list):
            assert list(parsed[name].bytes_list.value) == values
        elif values.dtype == np.float32:
            assert np.array_equal(np.array(parsed[name].float_list.value, np.float32), values, equal_nan=True)
        else:
            assert list(parsed[name].int64_list.value) == values.tolist()
    theirs = tf.train.Example.FromString(message).SerializeToString()
    for source in (message, theirs):
        back = decode_example(source)
        assert set(back) == set(features)
        for name, values in features.items():
            got: Any = back[name]
            assert got == values if isinstance(values, list) else got.tobytes() == values.tobytes()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_damaged_messages_are_refused_or_read_but_never_crash(data: bytes) -> None:
    good = encode_example({"a": [b"xy"], "b": np.arange(3) * 1000, "c": np.ones(2, np.float32)})
    for message in (data, good[: len(data)], good[:5] + data):
        with suppress(ValueError):  # also UnicodeDecodeError, which is one
            decode_example(message)


@pytest.mark.parametrize("place", [3, 9, 40, -1])
def test_every_flipped_byte_is_found(tmp_path: Path, place: int) -> None:
    path = tmp_path / "x.tfrecord"
    write(path, "tfrecord", {"x": Spec("float32")}, [{"key": "k", "index": 0, "x": np.float32(1)}] * 2)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"damaged|ends within"):
        _ = [find_sink("tfrecord")().reader(path, {"x": Spec("float32")}).read(i, ["x"]) for i in (0, 1)]
