"""What a run wrote, read back."""

from __future__ import annotations

import importlib
import json
import os
import threading
from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

from pipelines import sinks
from pipelines.errors import RecordError, SourceError, nearest
from pipelines.sinks._base import ShardReader, Sink
from pipelines.sinks._files import sha256_of
from pipelines.sinks._manifest import JOURNAL, MANIFEST, Manifest, read_run
from pipelines.sinks._values import columns
from pipelines.sources._base import Source, SourceConfig
from pipelines.step import ConfigPath, step_modules


class Shards(SourceConfig):
    """The output folder of a finished run, in any format.

    The values are the fields that the run delivered, with the shapes, units and rates it knew, and `key`
    and `index`, those of the records it read. A record's key is the one it had there; in a folder of
    several epochs, where records repeat, it is followed by `#` and the epoch: `0_jackson_3.wav#1`.

    A damaged shard fails its records, which are then called `shard-00003.parquet#17`. `verify` also compares
    each shard's SHA-256 before its first use; without it, damage that leaves the size as it was is found in
    Parquet and TFRecord, which hold checksums, but not in every case in the others.
    Any order is fast, except in Parquet, which decodes about 4 MiB for a record that stands alone.
    """

    path: ConfigPath
    verify: bool = False

    def open(self) -> Source:
        manifest = _manifest(self.path)
        return _ShardsSource(self.path, manifest, _sink(self.path, manifest.format), self.verify)


def _manifest(folder: Path) -> Manifest:
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder; expected the output folder of a run")
    if os.path.lexists(folder / JOURNAL):
        raise SourceError(f"the run that writes {folder} is not finished; give it --resume, or wait until it is done")
    try:
        manifest = read_run(folder / MANIFEST, Manifest)
    except FileNotFoundError:
        raise SourceError(f"{folder} has no {MANIFEST}; expected the output folder of a finished run") from None
    except (OSError, ValueError) as error:
        raise SourceError(f"{folder}: {error}; write the folder again with --overwrite") from error
    for shard in manifest.shards:
        path = folder / shard.file
        if not path.is_file() or path.is_symlink():
            raise SourceError(f"{path} is missing; put it back, or write the folder again with --overwrite")
    if not manifest.shards:
        raise SourceError(
            f"{folder} holds no records: {manifest.counts.quarantined} were quarantined when it was written"
        )
    return manifest


def _sink(folder: Path, name: str) -> Sink:
    known = step_modules(sinks.__path__)
    if name not in known:
        raise SourceError(f"{folder}: unknown output format {name!r}{nearest(name, known)}")
    made: Sink = importlib.import_module(f"{sinks.__name__}.{name}").SINK()
    return made


Result = TypeVar("Result")


class _ShardsSource(Source):
    def __init__(self, folder: Path, manifest: Manifest, sink: Sink, verify: bool) -> None:
        self._folder = folder
        self._manifest = manifest
        self._sink = sink
        self._verify = verify
        self._fields = manifest.specs
        self.values: Mapping[str, Any] = columns(self._fields)
        self._starts = [0, *accumulate(shard.records for shard in manifest.shards)]
        self._epoch_starts = [0, *accumulate(epoch.records for epoch in manifest.epochs)]
        self._repeats = sum(epoch.records > 0 for epoch in manifest.epochs) > 1
        self._readers: dict[int, ShardReader | RecordError] = {}
        self._locks = [threading.Lock() for _ in manifest.shards]

    def __len__(self) -> int:
        return self._manifest.records

    def key(self, index: int) -> str:
        shard, number = self._place(index)
        try:
            key: str = self.read(index, ["key"])["key"]
        except (RecordError, OSError):
            return f"{self._manifest.shards[shard].file}#{number}"
        if not self._repeats:
            return key
        return f"{key}#{self._manifest.epochs[bisect_right(self._epoch_starts, index) - 1].epoch}"

    def read(self, index: int, names: Collection[str]) -> dict[str, Any]:
        shard, number = self._place(index)
        reader = self._reader(shard)
        return self._sound(shard, lambda: reader.read(number, names))

    def fingerprint(self) -> str:
        told = [self._manifest.fields, [shard.sha256 for shard in self._manifest.shards]]
        return blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=16).hexdigest()

    def _place(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"expected an index in [0, {len(self) - 1}], got {index}")
        shard = bisect_right(self._starts, index) - 1
        return shard, index - self._starts[shard]

    def _reader(self, number: int) -> ShardReader:
        found = self._readers.get(number)
        if found is None:
            with self._locks[number]:
                found = self._readers.get(number)
                if found is None:
                    try:
                        found = self._sound(number, lambda: self._open(number))
                    except RecordError as error:
                        found = error
                    self._readers[number] = found
        if isinstance(found, RecordError):
            raise RecordError(*found.args)
        return found

    def _open(self, number: int) -> ShardReader:
        shard = self._manifest.shards[number]
        path = self._folder / shard.file
        size = path.stat().st_size
        if size != shard.bytes:
            raise ValueError(f"it has {size} bytes, {shard.bytes} were written")
        if self._verify and sha256_of(path) != shard.sha256:
            raise ValueError("its SHA-256 is not the one in the manifest")
        reader = self._sink.reader(path, self._fields)
        if len(reader) != shard.records:
            raise ValueError(f"it holds {len(reader)} records, {shard.records} were written")
        return reader

    def _sound(self, number: int, work: Callable[[], Result]) -> Result:
        try:
            return work()
        except MemoryError:
            raise
        except Exception as error:  # what a parser of damaged bytes may raise cannot be listed
            if isinstance(error, OSError) and error.errno is not None:  # pyarrow's own for damage have no number
                raise
            raise RecordError(f"{self._manifest.shards[number].file} is damaged: {error}") from error


SOURCE = Shards
