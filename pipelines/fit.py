"""Learning what a config's steps must know of the data: vocabularies and the like."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any

from pipelines.config import BatchConfig, Config, FieldConfig, StepUse
from pipelines.config._sections import meaning
from pipelines.errors import ConfigError, Fault, TooManyFailures
from pipelines.fitted import Fitted
from pipelines.pipeline import Pipeline


@dataclass(frozen=True)
class Fit:
    """A step that was fitted: where it stands, the files it wrote, the records it learnt from, and why if not anew."""

    field: str
    step: str
    files: tuple[str, ...]
    records: int
    why: str = ""


@dataclass(frozen=True)
class Learner:
    """What is to be learnt: the fields of which the values flow in, each with the steps before, and by which step."""

    config: Config
    fields: tuple[FieldConfig, ...]
    use: StepUse
    step: Fitted
    before: str
    why: str

    def fit(self, limit: int | None = None, watch: Callable[[int], None] = lambda records: None) -> Fit:
        """Learn from all records, field after field, and write the files and a note of how it was done."""
        values = [_Values(self.config, field, limit, watch) for field in self.fields]
        self.step.fit(chain.from_iterable(values))
        self.step.write_note(self.before)
        names = ", ".join(field.name for field in self.fields)
        files = tuple(map(str, self.step.files()))
        return Fit(names, self.use.name, files, sum(one.records for one in values), self.why)


def fit(
    config: Config,
    *,
    again: bool = False,
    limit: int | None = None,
    watch: Callable[[int], None] = lambda records: None,
) -> list[Fit]:
    """Fit every step of `config` that needs it, in order, each on what the steps before it make of all records.

    See `learners` for which ones do. Records that fail are passed over within what `on_error` allows.
    """
    return [learner.fit(limit, watch) for learner in learners(config, again=again)]


def learners(config: Config, *, again: bool = False) -> Iterator[Learner]:
    """What must be learnt, in order; the next one is looked for when the one before has its files.

    That is what lacks a file, and what was learnt by other parameters or after other steps; everything if `again`.
    Steps that keep what they learn in the same files learn together, from the values of all their fields.
    """
    if config.faults:
        raise ConfigError(config.faults)
    together: dict[tuple[Path, ...], list[tuple[FieldConfig, int, Fitted]]] = {}
    for field in config.fields:
        for number, use in enumerate(field.steps):
            if isinstance(use.step, Fitted) and use.step.learns:
                together.setdefault(use.step.files(), []).append((field, number, use.step))
    for files, found in together.items():
        field, number, step = max(found, key=lambda one: len(one[2].model_fields_set))  # the one that says most
        use = field.steps[number]
        for other, place, its in found:
            if differing := step.differing(its):
                what = f"{files[0]} is learnt at {use.place} too, by other parameters ({'; '.join(differing)})"
                raise ConfigError([Fault(other.steps[place].place, f"{use.name}: {what}; give both the same")])
        fields = tuple(replace(one, steps=one.steps[:place]) for one, place, _ in found)
        before = _meaning(config, fields)
        changes = step.changes(before)
        if again or changes or not step.is_fitted():
            yield Learner(config, fields, use, step, before, "; ".join(changes))


def _meaning(config: Config, fields: tuple[FieldConfig, ...]) -> str:
    """A hash of what flows in: the steps without chance, since what chance does to a record is no other record."""
    steps = [[meaning(use, config.base) for use in field.steps if not use.step.variates()] for field in fields]
    return blake2b(json.dumps(steps).encode(), digest_size=8).hexdigest()


class _Values:
    """What flows into a step from each record: one value, or each of several that no step has joined yet."""

    def __init__(self, config: Config, field: FieldConfig, limit: int | None, watch: Callable[[int], None]) -> None:
        self.records = 0
        self._config, self._field, self._limit, self._watch = config, field, limit, watch

    def __iter__(self) -> Iterator[Any]:
        field, config = self._field, self._config
        fields: tuple[FieldConfig, ...] = (field,)
        if len(field.sources) > 1 and not any(use.step.joins for use in field.steps):
            each = enumerate(field.sources)
            fields = tuple(replace(field, name=f"{field.name}_{n}", sources=(source,)) for n, source in each)
        batch = BatchConfig(size=config.batch.size, floats=config.batch.floats)
        alone = replace(config, fields=fields, batch_steps=(), batch=batch)
        pipe = Pipeline(alone, device="cpu", limit=self._limit)
        for delivered in pipe.epoch():
            self._watch(len(delivered.chunk.indices))
            for record in pipe.engine.unbatch(delivered):
                values = [record[field.name] for field in fields]
                if all(value is not None for value in values):
                    self.records += 1
                    yield from values
        if not pipe.counts.delivered:
            raise TooManyFailures(f"{field.place}: no record is left to learn from")
