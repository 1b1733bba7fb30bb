"""WebDataset tar shards."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Collection, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from pipelines.sinks._base import Record, ShardReader, ShardWriter, Sink
from pipelines.sinks._files import read_range
from pipelines.sinks._values import columns, dtype_of, encoded, from_bytes, npy_header, rebuilt, write_npy
from pipelines.spec import Spec

_LONGEST = 60


class WebDataset(Sink):
    """Tar shards for the `webdataset` library: `webdataset.WebDataset(path, shardshuffle=False).decode()`.

    A record is a run of members `NAME.json` with its key and index, and one `NAME.<field><ending>` per
    field; the library gives them as a sample with the keys "json" and "<field><ending>" (in lower case).

    | value | ending |
    | --- | --- |
    | arrays, and numbers that are not integers | .npy |
    | an integer | .cls, in decimal digits |
    | text | .txt, UTF-8 |
    | tokens | .json, a list of strings |
    | bytes | .bin |
    | absent | no member |

    NAME is the record's number in the shard and its key in letters, digits, - and _, all else
    percent-encoded, since the library cuts names at the first dot; a long key ends in a hash.
    """

    suffix = ".tar"

    def writer(self, path: Path, fields: Mapping[str, Spec]) -> ShardWriter:
        return _Writer(path, fields)

    def reader(self, path: Path, fields: Mapping[str, Spec]) -> ShardReader:
        return _Reader(path, fields)


def ending(spec: Spec) -> str:
    """How the names of a field's members end."""
    if spec.is_numeric:
        return ".cls" if not spec.axes and np.dtype(spec.dtype).kind in "iu" else ".npy"
    if spec.axes:
        return ".json"
    return ".txt" if spec.dtype == "text" else ".bin"


def sample_name(number: int, key: str) -> str:
    """The name of a sample: unique in its shard, in order, and safe in a file system."""
    safe = quote(key, safe="-_").replace("~", "%7E").replace(".", "%2E")
    if len(safe) > _LONGEST:
        safe = f"{safe[:_LONGEST]}-{blake2b(key.encode(), digest_size=6).hexdigest()}"
    return f"{number:06d}_{safe}"


class _Writer(ShardWriter):
    def __init__(self, path: Path, fields: Mapping[str, Spec]) -> None:
        self._fields = fields
        self._number = 0
        self._file = open(path, "wb", buffering=1 << 20)  # noqa: SIM115  # closed by close

    def add(self, record: Record) -> None:
        values = encoded(record, self._fields)
        name = sample_name(self._number, values["key"].decode())
        about = {"key": values["key"].decode(), "index": int(values["index"])}
        self._member(f"{name}.json", _json(about))
        for field, spec in self._fields.items():
            if values[field] is not None:
                self._member(f"{name}.{field}{ending(spec)}", _content(values[field], spec))
        self._number += 1

    def _member(self, name: str, content: bytes) -> None:
        info = tarfile.TarInfo(name)  # its defaults: no time, user 0, group 0, mode 644
        info.size = len(content)
        self._file.write(info.tobuf(tarfile.GNU_FORMAT, "utf-8"))
        self._file.write(content)
        self._file.write(bytes(-len(content) % tarfile.BLOCKSIZE))

    def close(self) -> None:
        with self._file:
            self._file.write(bytes(2 * tarfile.BLOCKSIZE))
            self._file.write(bytes(-self._file.tell() % tarfile.RECORDSIZE))


def _content(value: Any, spec: Spec) -> bytes:
    kind = ending(spec)
    if kind == ".cls":
        return str(int(value)).encode()
    if kind == ".npy":
        file = io.BytesIO()
        write_npy(file, value)
        return file.getvalue()
    if kind == ".json":
        return _json([from_bytes(item, spec) for item in value])
    return bytes(value)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


class _Reader(ShardReader):
    """Holds where each member stands; the content is read when it is asked for."""

    def __init__(self, path: Path, fields: Mapping[str, Spec]) -> None:
        self._path = path
        self._columns = columns(fields)
        self._samples: list[dict[str, tuple[int, int]]] = []
        name = None
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                sample, _, rest = member.name.partition(".")
                if sample != name:
                    self._samples.append({})
                    name = sample
                self._samples[-1][rest] = (member.offset_data, member.size)

    def __len__(self) -> int:
        return len(self._samples)

    def read(self, number: int, names: Collection[str]) -> dict[str, Any]:
        members = self._samples[number]
        about = json.loads(read_range(self._path, *members["json"])) if {"key", "index"} & set(names) else {}
        if "index" in about:
            about["index"] = np.int64(about["index"])
        return {name: about[name] if name in about else self._field(name, members) for name in names}

    def _field(self, name: str, members: Mapping[str, tuple[int, int]]) -> Any:
        spec = self._columns[name]
        place = members.get(f"{name}{ending(spec)}")
        if place is None:
            if not spec.optional:
                raise ValueError(f"the record has no {name}{ending(spec)}")
            return None
        content = read_range(self._path, *place)
        if not spec.is_numeric:
            return json.loads(content) if spec.axes else from_bytes(content, spec)
        if ending(spec) == ".cls":
            return np.asarray(int(content), spec.dtype)
        file = io.BytesIO(content)
        shape, dtype = npy_header(file, len(content))
        if dtype != dtype_of(spec):
            raise ValueError(f"{name}: expected {spec}, got {dtype}")
        return rebuilt(np.frombuffer(content, dtype, offset=file.tell()), spec, np.array(shape, np.int64))


SINK = WebDataset
