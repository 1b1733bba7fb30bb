"""Learning what a config's steps must know of the data: vocabularies and the like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from pipelines.config import BatchConfig, Config, FieldConfig
from pipelines.errors import ConfigError, TooManyFailures
from pipelines.pipeline import Pipeline
from pipelines.step import Fitted


@dataclass(frozen=True)
class Fit:
    """A step that was fitted: where it stands, the files it wrote and the records it learnt from."""

    field: str
    step: str
    files: tuple[str, ...]
    records: int


def fit(
    config: Config,
    *,
    again: bool = False,
    limit: int | None = None,
    watch: Callable[[int], None] = lambda records: None,
) -> list[Fit]:
    """Fit every step of `config` that needs it, in order, each on what the steps before it make of all records.

    Steps whose files exist are left as they are unless `again`. Records that fail are passed over
    within what `on_error` allows.
    """
    if config.faults:
        raise ConfigError(config.faults)
    done = []
    for field in config.fields:
        for number, use in enumerate(field.steps):
            if isinstance(use.step, Fitted) and use.step.learns and (again or not use.step.is_fitted()):
                before = replace(field, steps=field.steps[:number])
                values = _Values(config, before, limit, watch)
                use.step.fit(values)
                done.append(Fit(field.name, use.name, tuple(map(str, use.step.files())), values.records))
    return done


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
