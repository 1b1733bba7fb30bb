"""What each section of a config means, as hashes: how a state or a resumed run knows what changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import SourceError

if TYPE_CHECKING:
    from pipelines.config import Config, StepUse


def sections(config: Config) -> dict[str, str]:
    """A short hash of what each section of a valid config means, to say what changed between two runs.

    A parameter at its default counts as left out, so that a step may get new ones. Files that decide
    a step's result count by content. Where the records lie does not count, their fingerprint says
    which they are; neither do the framework, the output's folder and `on_error`.
    """
    batch = config.batch.model_dump(exclude_defaults=True)
    if config.batch.buckets is not None:  # a default that stands there and one that is left out are the same
        batch |= {"size": config.batch.rows, "bucket": config.batch.buckets.model_dump(exclude_defaults=True)}
    held: dict[str, Any] = {"seed": config.seed, "batch": batch}
    if config.source is not None:
        parameters = config.source.model_dump(exclude_defaults=True)
        held["source"] = [config.source_name, _plain(parameters, lambda path: None)]
    if config.split is not None:
        held["split"] = config.split.model_dump(exclude_defaults=True)
    if config.output is not None:
        held["output"] = config.output.model_dump(exclude={"path"}, exclude_defaults=True)
    for field in config.fields:
        steps = [meaning(use, config.base) for use in field.steps]
        outside = [field.outside] if field.outside else []  # left out like a default, as it was before there was one
        held[f"fields.{field.name}"] = [field.sources, steps, field.optional, field.follows, *outside]
    if config.batch_steps:
        held["batch_steps"] = [meaning(use, config.base) for use in config.batch_steps]
    return {name: blake2b(json.dumps(value).encode(), digest_size=8).hexdigest() for name, value in held.items()}


def meaning(use: StepUse, base: Path) -> list[Any]:
    """What decides a step's result, as plain data: its name, meaning and parameters, and its files by content."""
    contents = {path: _content(path, use.name) for path in use.step.files()}

    def of_path(path: Path) -> str:
        return contents.get(path) or str(path.relative_to(base) if path.is_relative_to(base) else path)

    return [use.name, use.step.meaning, _plain(use.step.model_dump(exclude_defaults=True), of_path), *contents.values()]


def _plain(value: Any, of_path: Callable[[Path], str | None]) -> Any:
    if isinstance(value, Path):
        return of_path(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(part, of_path) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part, of_path) for part in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _content(path: Path, step: str) -> str:
    digest = blake2b(digest_size=8)
    try:
        for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
            digest.update(f"{file.relative_to(path)}\0".encode())
            with open(file, "rb") as held:
                while block := held.read(1 << 20):
                    digest.update(block)
    except OSError as error:
        raise SourceError(f"{step}: cannot read {path}: {error.strerror}") from error
    return digest.hexdigest()
