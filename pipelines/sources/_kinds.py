"""What a store can hold: bytes, text, numbers, arrays, lists of text, and anything else as JSON text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.errors import RecordError
from pipelines.spec import BYTES, TEXT, Axis, Spec


@dataclass(frozen=True)
class Kind:
    """One value of a store. `form`: bytes, text, bool, int64, float64, texts, json, array, empty (a list) or null.

    `dtype` and `shape` are those of an array; a size of None differs from record to record.
    """

    form: str
    dtype: str = ""
    shape: tuple[int | None, ...] = ()

    def __str__(self) -> str:
        return f"{self.dtype} array with {len(self.shape)} axes" if self.form == "array" else self.form


_SCALARS = {"bool": pa.bool_(), "int64": pa.int64(), "float64": pa.float64()}


def arrow_type(kind: Kind) -> Any:
    """The column that holds values of `kind`; offsets are 64 bit, so that no size is out of reach."""
    if kind.form in _SCALARS:
        return _SCALARS[kind.form]
    if kind.form == "array":
        return pa.struct([("shape", pa.list_(pa.int64())), ("data", pa.large_binary())])
    if kind.form in ("texts", "empty"):
        return pa.large_list(pa.large_utf8())
    if kind.form == "null":
        return pa.null()
    return pa.large_binary() if kind.form == "bytes" else pa.large_utf8()


def spec_of(kind: Kind) -> Spec:
    """What a field that starts from such a value is told."""
    if kind.form == "array":
        names = ("item",) if len(kind.shape) == 1 else tuple(f"axis{i}" for i in range(len(kind.shape)))
        return Spec(kind.dtype, tuple(map(Axis, names, kind.shape)))
    if kind.form in _SCALARS:
        return Spec(kind.form)
    if kind.form == "empty":
        return Spec("int64", (Axis("item"),))
    if kind.form == "texts":
        return Spec("text", (Axis("token"),))
    return BYTES if kind.form == "bytes" else TEXT


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, names joined by dots; numbers and lists of numbers as NumPy has them."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        path = f"{prefix}{name}"
        for inner, held in (
            flatten(value, f"{path}.") if isinstance(value, Mapping) else {path: _plain(value)}
        ).items():
            if inner in flat:
                raise RecordError(f"there are two values called {inner!r}")
            flat[inner] = held
    return flat


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        if value.ndim == 0:
            return value.item()
        return value if value.dtype.kind in "biufc" else value.tolist()
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, list) and value and _is_number(value):
        try:
            array = np.array(value)
        except (ValueError, OverflowError):  # ragged, or beyond 64 bits
            return value
        return array if array.dtype.kind in "biuf" else value
    return value


def _is_number(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return bool(value) and all(map(_is_number, value))
    return isinstance(value, (int, float, np.number))


def classify(name: str, value: Any) -> Kind:
    """The kind of one value, or RecordError when no store can hold it."""
    if value is None:
        return Kind("null")
    if isinstance(value, bytes):
        return Kind("bytes")
    if isinstance(value, str):
        _check_text(name, value)
        return Kind("text")
    if isinstance(value, bool):
        return Kind("bool")
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise RecordError(f"{name}: {value} does not fit into 64 bits")
        return Kind("int64")
    if isinstance(value, float):
        return Kind("float64")
    if isinstance(value, np.ndarray):
        return Kind("array", value.dtype.newbyteorder("=").name, value.shape)
    if isinstance(value, list):
        if not value:
            return Kind("empty")
        if all(isinstance(item, str) for item in value):
            for item in value:
                _check_text(name, item)
            return Kind("texts")
        try:
            _check_text(name, _json(value))
        except (TypeError, ValueError) as e:
            raise RecordError(f"{name}: cannot be kept as JSON: {e}") from e
        return Kind("json")
    raise RecordError(f"{name}: expected bytes, text, a number, an array or a list, got {type(value).__name__}")


def merge(known: Kind | None, new: Kind, name: str) -> Kind:
    """The kind that holds both, or RecordError when a value is of another kind than those before."""
    if known is None or known == new:
        return new
    forms = {known.form, new.form}
    if "null" in forms:
        return new if known.form == "null" else known
    if forms == {"array"} and len(known.shape) == len(new.shape):
        shape = tuple(a if a == b else None for a, b in zip(known.shape, new.shape, strict=True))
        return Kind("array", np.promote_types(known.dtype, new.dtype).name, shape)
    if forms == {"int64", "float64"}:
        return Kind("float64")
    if forms <= {"empty", "texts"}:
        return Kind("texts")
    if forms == {"empty", "array"}:
        array = known if known.form == "array" else new
        return replace(array, shape=(None,)) if len(array.shape) == 1 else Kind("json")
    if "json" in forms and forms <= {"json", "texts", "array", "empty"}:  # lists: ragged, or of several kinds
        return Kind("json")
    raise RecordError(f"{name}: expected {known} as in the records before, got {new}")


def encode(value: Any, kind: Kind) -> Any:
    """A value as its Arrow column takes it."""
    if value is None:
        return None
    if kind.form == "json":
        return _json(value.tolist() if isinstance(value, np.ndarray) else value)
    if kind.form == "array":
        array = np.ascontiguousarray(value, dtype=np.dtype(kind.dtype).newbyteorder("<"))
        return {"shape": list(np.shape(value)), "data": array.tobytes()}
    return value


def decode(cell: Any, stored: Kind, kind: Kind) -> Any:
    """A cell as a source gives it: `stored` is the kind of its part of the store, `kind` that of the whole."""
    if cell is None:
        return None
    if stored.form == "array":
        array = np.frombuffer(cell["data"], np.dtype(stored.dtype).newbyteorder("<")).reshape(cell["shape"])
        return array.astype(kind.dtype, copy=False) if kind.form == "array" else _json(array.tolist())
    if isinstance(cell, list) and kind.form != "texts":
        return _json(cell) if kind.form == "json" else np.zeros(0, kind.dtype or "int64")
    return float(cell) if kind.form == "float64" else cell


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _check_text(name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as e:
        raise RecordError(f"{name}: is not valid UTF-8 at character {e.start}") from e
