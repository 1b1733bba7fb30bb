"""Where names in a config become classes: the folders of the modalities, sources and sinks, and what is announced.

Nothing is imported until it is asked for by name, and a name never is a Python path. Steps of other packages are
those that an installed package announces as entry points of the group `pipelines.steps`.
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.announced import announced
from pipelines.errors import UserError, nearest
from pipelines.step import Step, step_class, step_modules

if TYPE_CHECKING:
    from pipelines.sinks._base import Sink
    from pipelines.sources._base import SourceConfig

MODALITIES = ("audio", "text", "image", "label")


@cache
def _modules(folder: str) -> tuple[str, ...]:
    return tuple(step_modules([str(Path(__file__).parent / folder)]))


@cache
def step_names() -> tuple[str, ...]:
    """Names of the toolkit's own steps, `audio.decode` and so on, sorted within their modality."""
    return tuple(f"{m}.{name}" for m in MODALITIES for name in _modules(m))


def announced_step_names() -> tuple[str, ...]:
    """Names of the steps that other packages announce, whether they can be loaded or not."""
    return tuple(name for name in announced() if name not in step_names())


def find_step(name: str) -> type[Step]:
    """The class of the step `name`, or UserError: with the nearest known name, or with the package that is at fault."""
    if name in step_names():
        return step_class(f"pipelines.{name}")
    found = announced().get(name)
    if found is None:
        raise UserError(f"unknown step {name!r}{nearest(name, (*step_names(), *announced()))}")
    if name.partition(".")[0] in MODALITIES:
        raise UserError(f"step {name!r} of {found.where}: names that begin with {', '.join(MODALITIES)} are not free")
    cls = found.load()
    if not (isinstance(cls, type) and issubclass(cls, Step)):
        raise UserError(
            f"step {name!r} of {found.where}: expected a class derived from pipelines.step.Step, got {cls!r}"
        )
    return cls


def source_names() -> tuple[str, ...]:
    """Names of all sources: `folder`, `manifest` and so on."""
    return _modules("sources")


def find_source(name: str) -> type[SourceConfig]:
    """The config model of the source `name`, or UserError with the nearest known name."""
    if name not in source_names():
        raise UserError(f"unknown source {name!r}{nearest(name, source_names())}")
    model: type[SourceConfig] = importlib.import_module(f"pipelines.sources.{name}").SOURCE
    return model


def sink_names() -> tuple[str, ...]:
    """Names of all output formats: `parquet`, `webdataset` and so on."""
    return _modules("sinks")


def find_sink(name: str) -> type[Sink]:
    """The class of the output format `name`, or UserError with the nearest known name."""
    if name not in sink_names():
        raise UserError(f"unknown output format {name!r}{nearest(name, sink_names())}")
    sink: type[Sink] = importlib.import_module(f"pipelines.sinks.{name}").SINK
    return sink
