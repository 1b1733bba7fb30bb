"""Learning what a config's steps must know of the data: vocabularies and the like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from pipelines.config import Config, FieldConfig
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
            if isinstance(use.step, Fitted) and (again or not use.step.is_fitted()):
                before = replace(field, steps=field.steps[:number])
                counted = _Counted(_values(config, before, limit, watch))
                use.step.fit(counted)
                done.append(Fit(field.name, use.name, tuple(map(str, use.step.files())), counted.count))
    return done


class _Counted:
    """Counts what passes through."""

    def __init__(self, values: Iterator[Any]) -> None:
        self.count = 0
        self._values = values

    def __iter__(self) -> Iterator[Any]:
        for value in self._values:
            self.count += 1
            yield value


def _values(config: Config, field: FieldConfig, limit: int | None, watch: Callable[[int], None]) -> Iterator[Any]:
    plain = config.batch.model_copy(update={"shuffle": False, "drop_last": False, "fixed": False})
    pipe = Pipeline(replace(config, fields=(field,), batch_steps=(), batch=plain), device="cpu", limit=limit)
    for delivered in pipe.epoch():
        watch(len(delivered.chunk.indices))
        for record in pipe.engine.unbatch(delivered):
            if record[field.name] is not None:
                yield record[field.name]
    if not pipe.counts.delivered:
        raise TooManyFailures(f"{field.place}: no record is left to learn from")
