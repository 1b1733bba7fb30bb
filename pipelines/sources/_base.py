"""What every source gives: a length, keys, and raw values by record index."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipelines.spec import Spec


class Source(ABC):
    """Raw records by index. Knows no framework; `read` is called from many threads at once."""

    values: Mapping[str, Spec]
    """The raw values a field can name in `from`, and what each is. Numbers have a NumPy dtype."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of records."""

    @abstractmethod
    def key(self, index: int) -> str:
        """The record's own name: unique in the source, the same in every run and on every machine."""

    @abstractmethod
    def read(self, index: int, names: Collection[str]) -> dict[str, Any]:
        """The values called `names`, as `bytes`, `str`, numbers or NumPy arrays; None where absent.

        Raises RecordError or OSError when this record cannot be read.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Changes when the records do: what caches, states and resumed runs compare."""


class SourceConfig(BaseModel):
    """The parameters of a source in a config. Paths are ConfigPath: relative to the config file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @abstractmethod
    def open(self) -> Source:
        """The source itself, or SourceError saying what is missing and where."""
