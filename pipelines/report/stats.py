"""A data set at a glance: what its files are, how long and large, how labels are spread, what is twice or broken."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.config import BatchConfig, Config
from pipelines.errors import ConfigError, RecordError
from pipelines.report._evenly import evenly
from pipelines.report._facts import Facts, PictureFacts, SoundFacts, facts_of
from pipelines.sinks._quarantine import listed
from pipelines.sources._base import Source
from pipelines.step import Step

MOST_RECORDS = 10_000
MOST_TOKENIZED = 1_000
MOST_CLASSES = 200


@dataclass
class Column:
    """One raw value of all records looked at: only what is of its kind is filled in."""

    name: str
    count: int = 0
    absent: int = 0
    lengths: list[int] = field(default_factory=list)
    """Bytes of each file."""
    pictures: list[PictureFacts] = field(default_factory=list)
    sounds: list[SoundFacts] = field(default_factory=list)
    unknown_files: list[str] = field(default_factory=list)
    """Keys of files that are neither pictures nor sounds."""
    texts: list[tuple[int, int]] = field(default_factory=list)
    """Characters and words between white space of each text."""
    numbers: list[float] = field(default_factory=list)
    not_finite: int = 0
    """Numbers that are infinite or NaN, which `numbers` leaves out."""
    sizes: list[int] = field(default_factory=list)
    """Elements of each array."""
    values: Counter[str] = field(default_factory=Counter)
    digests: dict[bytes, list[str]] = field(default_factory=dict)
    """The keys of each content, by its hash."""
    is_key: bool = True
    """Whether each value is but the record's key."""

    @property
    def classes(self) -> Counter[str]:
        """How often each value stands, where there are so few of them that they can be labels; else nothing."""
        few = 1 < len(self.values) <= min(MOST_CLASSES, self.count / 2)
        return self.values if few and self._all_counted else Counter()

    @property
    def repeated(self) -> list[list[str]]:
        """Keys of records whose value is the same, in the order of the records; a label is no repeated value."""
        alike = [keys for keys in self.digests.values() if len(keys) > 1]
        return [] if self.classes or self.constant is not None else alike

    @property
    def constant(self) -> str | None:
        """The text or number that all values are, if they are."""
        same = len(self.values) == 1 and self.count > 1 and self._all_counted and not self.absent
        return next(iter(self.values)) if same else None

    @property
    def _all_counted(self) -> bool:
        """Whether `values` has all that are there: fractions are not counted, nor is anything above MOST_CLASSES."""
        return self.values.total() == self.count - self.absent


@dataclass(frozen=True)
class Tokens:
    """What a field's tokenizer makes of the texts; `unknown` is a share, None where nothing can be unknown."""

    field: str
    step: str
    asked: int
    """How many records were asked for; those that fail or have no text are not among `lengths`."""
    lengths: list[int]
    unknown: float | None


@dataclass(frozen=True)
class Statistics:
    """All of it.

    `untold` says why no tokens are counted, if so. `failures` are the keys of the records that could not be read, or
    whose files are damaged, by reason.
    """

    config: str
    records: int
    looked_at: int
    columns: tuple[Column, ...]
    tokens: tuple[Tokens, ...]
    untold: str
    failures: Mapping[str, list[str]]
    quarantine: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        """The figures without the single values, for JSON."""
        return {
            "records": self.records,
            "looked_at": self.looked_at,
            "columns": {column.name: _summary(column) for column in self.columns},
            "tokens": {
                one.field: {"records": len(one.lengths), "asked": one.asked, "unknown": one.unknown}
                | spread(one.lengths)
                for one in self.tokens
            },
            "failures": {reason: len(keys) for reason, keys in self.failures.items()},
            "quarantined": dict(self.quarantine),
        }


def spread(values: list[Any]) -> dict[str, float]:
    """Least, median, mean and largest."""
    numbers = np.asarray(values, np.float64)
    found = {"min": numbers.min(), "median": np.median(numbers), "mean": numbers.mean(), "max": numbers.max()}
    return {name: float(value) for name, value in found.items()}


def statistics(
    config: Config,
    source: Source,
    first: int | None = None,
    most: int = MOST_RECORDS,
    watch: Callable[[int], None] | None = None,
) -> Statistics:
    """Look at up to `most` records of the config's `source`, spread evenly; no framework is loaded but for tokens.

    `first` is how many records the source was opened with, if not all. Files are read whole, to find what is twice, but
    nothing is decoded. `watch` is told of each record.
    """
    chosen = evenly(len(source), most)
    columns = {name: Column(name) for name in sorted(source.values)}
    failures: dict[str, list[str]] = {}
    for index in chosen:
        try:
            raw = source.read(index, list(columns))
        except (RecordError, OSError) as error:
            failures.setdefault(str(error), []).append(source.key(index))
        else:
            for name, value in raw.items():
                try:
                    _take(columns[name], value, source.key(index))
                except RecordError as error:
                    failures.setdefault(f"{name}: {error}", []).append(source.key(index))
        if watch is not None:
            watch(1)
    for column in columns.values():
        if column.unknown_files and (column.pictures or column.sounds):  # they are where others can be decoded
            failures[f"{column.name}: neither a picture nor a sound"] = column.unknown_files
    tokens: tuple[Tokens, ...] = ()
    untold = ""
    try:
        tokens = tuple(_tokens(config, chosen, first))
    except ConfigError as error:
        untold = f"no tokens are counted: {error.faults[0].message}"
    told = config.output.path if config.output else None
    return Statistics(
        config.path.stem,
        len(source),
        len(chosen),
        tuple(column for column in columns.values() if not column.is_key),
        tokens,
        untold,
        failures,
        {} if told is None else quarantine_reasons(told),
    )


def quarantine_reasons(folder: Path) -> dict[str, int]:
    """How many records a run has listed as failed, by step and reason; nothing where no run has written."""
    if not os.path.lexists(folder / "quarantine.jsonl"):
        return {}
    return dict(Counter(f"{row['step']}: {row['reason']}" for row in listed(folder)).most_common())


def _take(column: Column, value: Any, key: str) -> None:
    column.count += 1
    column.is_key = column.is_key and value == key if isinstance(value, str) else False
    if value is None:
        column.absent += 1
        return
    if isinstance(value, bytes):
        column.lengths.append(len(value))
        _note(column, value, key)
        _place(column, facts_of(value), key)
    elif isinstance(value, str):
        column.texts.append((len(value), len(value.split())))
        _note(column, value.encode("utf-8", "surrogatepass"), key)
        if len(column.values) <= MOST_CLASSES:
            column.values[value] += 1
    elif np.ndim(value):
        column.sizes.append(int(np.size(value)))
    else:
        if not np.isfinite(float(value)):
            column.not_finite += 1
            return
        column.numbers.append(float(value))
        if len(column.values) <= MOST_CLASSES and float(value).is_integer():
            column.values[str(int(value))] += 1


def _note(column: Column, content: bytes, key: str) -> None:
    column.digests.setdefault(blake2b(content, digest_size=16).digest(), []).append(key)


def _place(column: Column, facts: Facts | None, key: str) -> None:
    if isinstance(facts, PictureFacts):
        column.pictures.append(facts)
    elif isinstance(facts, SoundFacts):
        column.sounds.append(facts)
    else:
        column.unknown_files.append(key)


def _tokens(config: Config, chosen: list[int], first: int | None) -> Iterator[Tokens]:
    """Run the tokenizers of the config, on its framework, over some of the records; nothing where there are none."""
    from pipelines.pipeline import Pipeline
    from pipelines.report._show_take import Here

    if not any(use.name.startswith("text.") for field in config.fields for use in field.steps):
        return
    # by itself: no lengths are measured, nothing is kept, and no other field is run
    alone = replace(config, batch=BatchConfig(), batch_steps=(), cache=None)
    taker = Here(Pipeline(alone, device="cpu", limit=first, evaluate=True))
    some = [chosen[place] for place in evenly(len(chosen), MOST_TOKENIZED)]
    for planned in taker.plan.fields:
        number = next((n for n, node in enumerate(planned.nodes, start=1) if _tokenizes(node.step)), None)
        if number is None:
            continue
        step = planned.nodes[number - 1].step
        ids = [stage.value.reshape(-1).tolist() for stage in taker.values(planned, number, some, epoch=0)]
        if ids:
            counts = Counter(one for text in ids for one in text)
            lengths = [len(text) for text in ids]
            yield Tokens(planned.name, step.step_name(), len(some), lengths, _unknown_share(step, counts))


def _tokenizes(step: Step) -> bool:
    return step.step_name().startswith("text.") and step.naming() is not None


def _unknown_share(step: Step, counts: Counter[int]) -> float | None:
    naming, unknown = step.naming(), getattr(step, "unknown", None)
    if naming is None or unknown is None:
        return None
    return sum(count for number, count in counts.items() if naming(number) == unknown) / max(counts.total(), 1)


def _summary(column: Column) -> dict[str, Any]:
    found: dict[str, Any] = {"count": column.count, "absent": column.absent}
    if column.lengths:
        found["bytes"] = spread(column.lengths)
        formats = [one.format for one in column.pictures] + [one.format for one in column.sounds]
        found["formats"] = dict(Counter(formats).most_common())
        found["other_files"] = len(column.unknown_files)
    if column.pictures:
        found["width"] = spread([one.width for one in column.pictures])
        found["height"] = spread([one.height for one in column.pictures])
        found["modes"] = dict(Counter(one.mode for one in column.pictures).most_common())
    if column.sounds:
        found["seconds"] = spread([one.seconds for one in column.sounds])
        found["rates_hz"] = dict(Counter(str(one.rate_hz) for one in column.sounds).most_common())
        found["channels"] = dict(Counter(str(one.channels) for one in column.sounds).most_common())
    if column.texts:
        found["characters"] = spread([characters for characters, _ in column.texts])
        found["words"] = spread([words for _, words in column.texts])
    if column.numbers:
        found["numbers"] = spread(column.numbers)
    if column.not_finite:
        found["not_finite"] = column.not_finite
    if column.sizes:
        found["elements"] = spread(column.sizes)
    if column.constant is not None:
        found["always"] = column.constant
    if column.classes:
        found["classes"] = dict(column.classes.most_common())
    if column.repeated:
        found["repeated"] = sum(len(keys) - 1 for keys in column.repeated)
    return found
