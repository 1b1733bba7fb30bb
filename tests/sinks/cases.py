"""Records of every kind, and how two records are compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.catalog import find_sink
from pipelines.sinks._base import ShardReader
from pipelines.spec import BYTES, TEXT, Axis, Spec

FORMATS = ("npz", "parquet", "tfrecord", "webdataset")
DTYPES = ("uint8", "int16", "int32", "int64", "float16", "float32", "float64", "complex64", "bool")
TOKENS = Spec("text", (Axis("token"),))

FIELDS = {
    "mel": Spec("float32", (Axis("bands", 4), Axis("frames", 3)), "dB", (float("-inf"), 0.0)),
    "wave": Spec("int16", (Axis("time"),), "level", (-32768, 32767), 8000),
    "picture": Spec("uint8", (Axis("height"), Axis("width"), Axis("channel", 3)), "level", (0, 255)),
    "spectrum": Spec("complex64", (Axis("bin", 2), Axis("frames"))),
    "ids": Spec("int64", (Axis("token"),)),
    "digit": Spec("int64", (), "class", (0, 9)),
    "loud": Spec("float32"),
    "speech": Spec("bool", optional=True),
    "box": Spec("float64", (Axis("side", 4),), optional=True),
    "caption": TEXT.but(optional=True),
    "words": TOKENS,
    "file": BYTES,
    "nothing": Spec("float32", (Axis("a", 0), Axis("b"))),
}
KEYS = ("a/b.c.wav", "名前/ひと つ.jpg", "__x__/../..", "a/b.c.wav ", "", "x" * 300)


def records() -> list[dict[str, Any]]:
    """Six records of `FIELDS`: keys with slashes, dots and several scripts, sizes down to 0, absent values."""
    rng = np.random.default_rng(7)
    found: list[dict[str, Any]] = []
    for number, key in enumerate(KEYS):
        spectrum = rng.normal(size=(2, number)) + 1j * rng.normal(size=(2, number))
        record = {
            "key": key,
            "index": 10 * number,
            "mel": rng.normal(size=(4, 3)).astype(np.float32),
            "wave": rng.integers(-32768, 32767, 5 * number).astype(np.int16),
            "picture": rng.integers(0, 255, (number, 7 - number, 3)).astype(np.uint8),
            "spectrum": spectrum.astype(np.complex64),
            "ids": rng.integers(-(2**63), 2**63 - 1, 3 - number % 4),
            "digit": np.int64(number),
            "loud": np.float32(-0.1 * number),
            "speech": np.bool_(number == 1) if number % 2 else None,
            "box": rng.normal(size=4) if number != 2 else None,
            "caption": (None, "", "Straße\n", "猫が好き", "🙂", "a\0b")[number],
            "words": [["", "ab", "猫"], [], ["x"]][number % 3],
            "file": bytes(range(256)) * number,
            "nothing": np.zeros((0, number), np.float32),
        }
        found.append(record)
    return found


def write(path: Path, format_name: str, fields: Mapping[str, Spec], rows: list[dict[str, Any]]) -> ShardReader:
    """Write one shard and open it."""
    sink = find_sink(format_name)()
    writer = sink.writer(path, fields)
    for row in rows:
        writer.add(row)
    writer.close()
    return sink.reader(path, fields)


def same(got: Any, wanted: Any) -> bool:
    """Whether two values have one type, dtype, shape and the same bits."""
    if isinstance(wanted, (np.ndarray, np.generic)):
        assert isinstance(got, (np.ndarray, np.generic)), type(got)
        return got.dtype == wanted.dtype and got.shape == wanted.shape and got.tobytes() == wanted.tobytes()
    return type(got) is type(wanted) and bool(got == wanted)


def assert_same(got: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Every value of two records is the same."""
    assert set(got) == set(wanted)
    for name, value in wanted.items():
        assert same(got[name], np.int64(value) if name == "index" else value), (name, got[name], value)
