"""A record's values as bytes and arrays: what all output formats share, each way.

Numbers become little-endian C-ordered arrays of the spec's dtype, text UTF-8 bytes, tokens a list of
UTF-8 bytes, and an absent value None. Every record starts with `key` and `index`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from pipelines.errors import PipelineError, RecordError
from pipelines.spec import PER_RECORD, TEXT, Spec

_SIZES = {"int": (8, 16, 32, 64), "uint": (8, 16, 32, 64), "float": (16, 32, 64), "complex": (64, 128)}
_NUMBERS = {"bool", *(f"{kind}{bits}" for kind, sizes in _SIZES.items() for bits in sizes)}
COLUMNS = {"key": TEXT, "index": Spec("int64")}


def columns(fields: Mapping[str, Spec]) -> dict[str, Spec]:
    """All that is stored of a record, in the order it is stored."""
    return {**COLUMNS, **fields}


def check_fields(fields: Mapping[str, Spec]) -> None:
    """Raise ValueError unless every field can be written in every format."""
    seen = {name: name for name in COLUMNS}
    for name, spec in fields.items():
        if not name.isidentifier():
            raise ValueError(f"field {name!r}: expected a name of letters, digits and _, not starting with a digit")
        other = seen.setdefault(name.casefold(), name)
        if other != name or name in COLUMNS:
            raise ValueError(f"field {name!r} and {other!r} are one name to readers that ignore case; rename one")
        if not spec.is_numeric:
            if len(spec.axes) > (spec.dtype == "text"):
                raise ValueError(f"field {name!r}: expected bytes, text or one axis of text, got {spec}")
        elif spec.rate_hz == PER_RECORD:
            raise ValueError(
                f"field {name!r}: each record has its own sampling rate, which shards do not keep; "
                "put audio.resample among its steps"
            )
        elif spec.dtype not in _NUMBERS:
            raise ValueError(f"field {name!r}: expected numbers, text or bytes, got {spec}")


def dtype_of(spec: Spec) -> np.dtype[Any]:
    """The dtype in which numbers are stored: the spec's, little-endian."""
    return np.dtype(spec.dtype).newbyteorder("<")


def shape_is_stored(spec: Spec) -> bool:
    """Whether a record's shape does not follow from the spec and its number of values."""
    return len(spec.varying) > 1 or (len(spec.varying) == 1 and 0 in spec.shape)


def encoded(record: Mapping[str, Any], fields: Mapping[str, Spec]) -> dict[str, Any]:
    """A record's values ready to be stored: arrays, bytes, lists of bytes, None.

    Raises RecordError for text that no UTF-8 file can hold, before anything is written, and
    PipelineError for a value that its spec does not describe.
    """
    return {name: _encode(name, record[name], spec) for name, spec in columns(fields).items()}


def _encode(name: str, value: Any, spec: Spec) -> Any:
    if value is None:
        if not spec.optional:
            raise PipelineError(f"{name}: expected {spec}, got no value, and the field is not optional")
        return None
    if not spec.is_numeric:
        if not spec.axes:
            return _utf8(name, value)
        size = spec.axes[0].size
        if isinstance(value, (str, bytes)) or size not in (None, len(value)):
            raise PipelineError(f"{name}: expected {spec}, got {value!r:.100}")
        return [_utf8(name, item) for item in value]
    typed = isinstance(value, (np.ndarray, np.generic))
    array = np.asarray(value) if typed else np.asarray(value, spec.dtype)
    fits = array.ndim == len(spec.axes) and all(s in (None, n) for s, n in zip(spec.shape, array.shape, strict=True))
    if array.dtype != np.dtype(spec.dtype) or not fits:
        raise PipelineError(f"{name}: expected {spec}, got {array.dtype}{list(array.shape)}")
    return np.ascontiguousarray(array, dtype_of(spec)).reshape(array.shape)  # ascontiguousarray makes scalars 1-D


def _utf8(name: str, value: str | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise RecordError(f"{name} is no Unicode text: it holds half of a surrogate pair") from error


def from_bytes(value: bytes, spec: Spec) -> str | bytes:
    """One string of a stored value."""
    return value.decode() if spec.dtype == "text" else value


def write_npy(file: IO[bytes], array: np.ndarray[Any, Any]) -> None:
    """An array as the content of a .npy file of version 1.0."""
    np.save(file, array, allow_pickle=False)


def npy_header(file: IO[bytes], size: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of a .npy file of version 1.0 and `size` bytes, read up to its values; ValueError if they clash.

    No objects, which would be unpickled, and no more values than there are bytes for.
    """
    npy: Any = np.lib.format  # which has no types
    if npy.read_magic(file) != (1, 0):
        raise ValueError("expected a .npy file of version 1.0")
    shape, by_column, dtype = npy.read_array_header_1_0(file)
    if by_column or dtype.hasobject or file.tell() + math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"expected {size} bytes of plain numbers, got {dtype}{list(shape)}")
    return shape, dtype


def rebuilt(flat: np.ndarray[Any, Any], spec: Spec, shape: np.ndarray[Any, Any] | None = None) -> Any:
    """A record's array from its values in a row and, where it has one, its stored shape; ValueError if they clash."""
    if shape is not None:
        sizes = [int(size) for size in shape]
        if any(known not in (None, got) for known, got in zip(spec.shape, sizes, strict=True)):
            raise ValueError(f"expected {spec}, got the shape {sizes}")
        return flat.reshape(sizes)
    others = math.prod(size for size in spec.shape if size is not None)
    return flat.reshape([flat.size // others if size is None else size for size in spec.shape])
