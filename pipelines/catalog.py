"""Where names in a config become classes: the folders of the modalities, sources and sinks.

Nothing is imported until it is asked for by name, and a name never is a Python path.
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

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
    """Names of all steps, `audio.decode` and so on, sorted within their modality."""
    return tuple(f"{m}.{name}" for m in MODALITIES for name in _modules(m))


def find_step(name: str) -> type[Step]:
    """The class of the step `name`, or UserError with the nearest known name."""
    if name not in step_names():
        raise UserError(f"unknown step {name!r}{nearest(name, step_names())}")
    return step_class(f"pipelines.{name}")


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
