"""What every output format gives: a writer of one shard, and a reader with random access to it.

A record is a dict: `key` (str), `index` (int) and the fields, each as NumPy holds it (channel
last, unpadded), `str` for text, a list of `str` for tokens, and None for an absent optional value.
The same records give the same bytes: no times, no random names.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pipelines.spec import Spec

Record = Mapping[str, Any]


class ShardWriter(ABC):
    """Writes one shard. `close` makes the file complete; until then nobody reads it."""

    @abstractmethod
    def add(self, record: Record) -> None:
        """Append one record."""

    @abstractmethod
    def close(self) -> None:
        """Finish the file. Called once, also after a failure in `add`."""


class ShardReader(ABC):
    """Reads one finished shard by record number; called from many threads at once."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of records in the shard."""

    @abstractmethod
    def read(self, number: int, names: Collection[str]) -> dict[str, Any]:
        """The values called `names` (fields, `key`, `index`) of one record."""


class Sink(ABC):
    """An output format."""

    suffix: ClassVar[str]
    """The shard file's ending, with its dot."""

    @abstractmethod
    def writer(self, path: Path, fields: Mapping[str, Spec]) -> ShardWriter:
        """Start a shard at `path`."""

    @abstractmethod
    def reader(self, path: Path, fields: Mapping[str, Spec]) -> ShardReader:
        """Open a finished shard."""
