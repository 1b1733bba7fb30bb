"""The sections of a config that hold plain parameters, and the names its grammar knows."""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator

from pipelines.catalog import sink_names
from pipelines.errors import nearest
from pipelines.spec import Floats
from pipelines.step import ConfigPath

TOP_KEYS = ("framework", "seed", "source", "fields", "batch_steps", "batch", "cache", "output", "on_error")
FIELD_KEYS = ("from", "steps", "optional", "follows", "outside")

FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
RESERVED = re.compile(r"key|index|_.*|.*_length|.*_mask")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class BucketConfig(_Section):
    """Batches of records of like length."""

    by: Annotated[
        str | None, Field(description="The field whose length counts; left out, the only one that varies.")
    ] = None
    column: Annotated[
        str | None, Field(description="A number of the source that is the length, so that nothing is measured.")
    ] = None
    window: Annotated[PositiveInt, Field(description="Records of the order that are sorted by length together.")] = 4096
    ranks: Annotated[
        PositiveInt, Field(description="Batches of like length that stand side by side, for ranks that step together.")
    ] = 1

    @model_validator(mode="after")
    def _one_length(self) -> BucketConfig:
        if self.by is not None and self.column is not None:
            raise ValueError("expected by or column, got both")
        return self


class BatchConfig(_Section):
    """How records are put together."""

    size: Annotated[
        PositiveInt, Field(description="Records of a batch, for each rank; with `tokens`, the most if it is given.")
    ] = 32
    tokens: Annotated[
        float | None, Field(gt=0, description="The most that rows x longest of a batch may be, for each rank.")
    ] = None
    bucket: Annotated[BucketConfig | None, Field(description="Batches of records of like length.")] = None
    shuffle: Annotated[bool, Field(description="A new random order for each epoch, from the seed.")] = False
    drop_last: Annotated[bool, Field(description="Leave out the last batch when it is not full.")] = False
    fixed: Annotated[bool, Field(description="Fill short batches with rows whose `_valid` is false.")] = False
    floats: Annotated[Floats, Field(description="What float32 values are rounded to at the end.")] = "float32"

    @property
    def rows(self) -> int | None:
        """The most rows of a batch; None where only `tokens` says how many fit."""
        return None if self.tokens is not None and "size" not in self.model_fields_set else self.size

    @property
    def buckets(self) -> BucketConfig | None:
        """How records are sorted by length, which a budget asks for too; None where they are not."""
        return self.bucket or (None if self.tokens is None else BucketConfig())


class CacheConfig(_Section):
    """What is kept on disk so that later epochs need not compute it again."""

    path: Annotated[ConfigPath | None, Field(description="Where it is kept; left out, the user's cache folder.")] = None
    most_gb: Annotated[float, Field(gt=0, description="The most that all kept values may take, in 10^9 bytes.")] = 20.0
    fields: Annotated[
        tuple[str, ...] | None, Field(description="The fields to keep; left out, those that read files.")
    ] = None


class OutputConfig(_Section):
    """Shards on disk."""

    format: Annotated[str, Field(description="The format of the shards.")]
    path: Annotated[ConfigPath, Field(description="The folder that the shards go to.")]
    records_per_shard: Annotated[PositiveInt, Field(description="Records of a shard.")] = 1000

    @field_validator("format")
    @classmethod
    def _known(cls, name: str) -> str:
        names = sink_names()
        if name not in names:
            wanted = " or ".join(map(repr, names))
            raise ValueError(f"expected {wanted}, got {name!r}{nearest(name, names)}")
        return name


class ErrorConfig(_Section):
    """What happens to records that cannot be processed."""

    policy: Annotated[
        Literal["quarantine", "stop"],
        Field(description="List such a record and go on, or stop at the first."),
    ] = "quarantine"
    at_most: Annotated[
        float,
        Field(ge=0, le=1, description="The share of the planned records that may be quarantined."),
    ] = 0.01


class SplitConfig(_Section):
    """Parts of the records, by a hash of each record's key."""

    parts: Annotated[
        dict[str, Annotated[float, Field(gt=0, le=1)]],
        Field(min_length=1, description="The name of each part and its share of the records."),
    ]
    use: Annotated[str, Field(description="The part that this config reads.")]

    @field_validator("parts")
    @classmethod
    def _at_most_all(cls, parts: dict[str, float]) -> dict[str, float]:
        total = math.fsum(parts.values())
        if total > 1 + 1e-9:  # 0.7 + 0.2 + 0.1 may round to more than 1
            raise ValueError(f"the parts add up to {total:.6g}, expected at most 1")
        return parts

    @model_validator(mode="after")
    def _one_of_them(self) -> SplitConfig:
        if self.use not in self.parts:
            names = " or ".join(map(repr, self.parts))
            raise ValueError(f"use: expected {names}, got {self.use!r}{nearest(self.use, self.parts)}")
        return self
