"""What a run says of the folder it writes: `progress.json` while it runs, `manifest.json` when it is done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from pipelines.sinks._values import check_fields
from pipelines.spec import Spec

MANIFEST = "manifest.json"
JOURNAL = "progress.json"
QUARANTINE = "quarantine.jsonl"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}\z")]


def shard_name(number: int, suffix: str) -> str:
    """`shard-00000.parquet` for the first."""
    return f"shard-{number:05d}{suffix}"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Shard(_Part):
    """A finished shard. Its name is made of its number, so it never leads out of the folder."""

    file: Annotated[str, Field(pattern=r"^shard-[0-9]{5,}\.[a-z0-9]+\z")]
    records: PositiveInt
    bytes: NonNegativeInt
    sha256: Sha256


class Epoch(_Part):
    """How many records of an epoch were delivered."""

    epoch: NonNegativeInt
    records: NonNegativeInt


class Prefix(_Part):
    """The first `bytes` bytes of the quarantine hold `records` records."""

    records: NonNegativeInt
    bytes: NonNegativeInt
    sha256: Sha256


class Run(_Part):
    """What a run is and what it has written. `header` is what must be the same for a run to go on."""

    version: Literal[1]
    format: str
    records_per_shard: PositiveInt
    fields: tuple[dict[str, Any], ...]  # in the order in which they are written, so no mapping
    header: dict[str, Any]
    shards: tuple[Shard, ...]
    epochs: tuple[Epoch, ...]

    @field_validator("fields")
    @classmethod
    def _usable(cls, fields: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        names = [field.get("name") for field in fields]
        if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
            raise ValueError("expected fields with names of their own")
        check_fields(_specs(fields))
        return fields

    @model_validator(mode="after")
    def _consistent(self) -> Run:
        for number, shard in enumerate(self.shards):
            if shard.file.partition(".")[0] != shard_name(number, ""):
                raise ValueError(f"expected shard {number} to be {shard_name(number, '.*')}, got {shard.file}")
        if sum(shard.records for shard in self.shards) != sum(epoch.records for epoch in self.epochs):
            raise ValueError("the shards and the epochs hold different numbers of records")
        return self

    @property
    def specs(self) -> dict[str, Spec]:
        """The fields in order."""
        return _specs(self.fields)

    @property
    def records(self) -> int:
        return sum(shard.records for shard in self.shards)

    def to_text(self) -> str:
        """The JSON file: sorted keys, no times, so that the same run gives the same bytes."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def described(fields: Mapping[str, Spec]) -> tuple[dict[str, Any], ...]:
    """Fields as `Run.fields` holds them."""
    return tuple({"name": name, **spec.to_json()} for name, spec in fields.items())


def _specs(fields: tuple[dict[str, Any], ...]) -> dict[str, Spec]:
    return {field["name"]: Spec.from_json(field) for field in fields}


class Counts(_Part):
    """Where the records went: read = delivered + quarantined + left over."""

    read: NonNegativeInt
    delivered: NonNegativeInt
    quarantined: NonNegativeInt
    left_over: NonNegativeInt


class Manifest(Run):
    """A finished run."""

    counts: Counts


class Journal(Run):
    """A run under way: (epoch, position) `next` is the first record whose fate is not settled yet.

    `counts` is set once all shards are written and only the last files are left to finish.
    """

    next: tuple[NonNegativeInt, NonNegativeInt]
    quarantine: Prefix
    counts: Counts | None


SomeRun = TypeVar("SomeRun", bound=Run)


def read_run(path: Path, kind: type[SomeRun]) -> SomeRun:
    """The journal or manifest in a file; OSError, or ValueError that says in one line what is wrong in it."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValueError as error:
        faults: list[Any] = error.errors() if isinstance(error, ValidationError) else []
        shown = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults[:3]] or [str(error)]
        raise ValueError(f"{path.name} is damaged or was changed: {'; '.join(shown)}") from error


def changes(old: Run, new: Run) -> str:
    """What differs between two runs apart from their progress, as a list of names with both values; or empty."""
    then, now = (_flat({**run.header, **_identity(run)}) for run in (old, new))
    names = sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))
    shown = [f"{name} ({_clip(then, name)} then, {_clip(now, name)} now)" for name in names[:5]]
    return ", ".join(shown) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _identity(run: Run) -> dict[str, Any]:
    fields = {field["name"]: field for field in run.fields}
    same = {"format": run.format, "records_per_shard": run.records_per_shard}
    return {**same, "fields": fields, "order of fields": list(fields)}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found.update(_flat(value, f"{prefix}{name}."))
        else:
            found[f"{prefix}{name}"] = value
    return found


def _clip(values: Mapping[str, Any], name: str) -> str:
    if name not in values:
        return "absent"
    text = json.dumps(values[name], ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
