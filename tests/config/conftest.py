"""What the tests of the config share: a valid config, and reading a text as a config file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pipelines.config import Config, read_config

VALID = """\
framework: torch
seed: 7
source:
  folder: {path: data, files: "*.png"}
  split: {parts: {train: 0.75, valid: 0.25}, use: train}
fields:
  picture:
    from: file
    steps:
      - image.flip: {direction: vertical, probability: 0.25}
      - image.flip
  kind:
    from: folder
    steps:
      - label.index: {classes: [cat, dog]}
    optional: true
batch: {size: 4, shuffle: true}
output: {format: npz, path: out}
on_error: {policy: stop, at_most: 0.5}
"""

Read = Callable[..., Config]


@pytest.fixture
def valid() -> str:
    """A config without faults."""
    return VALID


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Reads a text as the file c.yaml of the working directory."""
    monkeypatch.chdir(tmp_path)

    def call(text: str, overrides: Sequence[str] = (), framework: str | None = None) -> Config:
        Path("c.yaml").write_text(text, encoding="utf-8")
        return read_config("c.yaml", overrides, framework)

    return call


@pytest.fixture
def faults(read: Read) -> Callable[..., list[str]]:
    """The faults of a text as a config, each as `place: message`."""

    def call(text: str, overrides: Sequence[str] = (), framework: str | None = None) -> list[str]:
        return [str(fault) for fault in read(text, overrides, framework).faults]

    return call
