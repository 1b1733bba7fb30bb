"""What the README shows is what the project has."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from pipelines.catalog import find_step, sink_names, source_names, step_names
from pipelines.cli import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def table(heading: str) -> dict[str, str]:
    """The rows of the table whose first heading is `heading`."""
    rows = README.split(f"| {heading} | ", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    cells = [re.fullmatch(r"\| `([\w.]+)` \| (.+) \|", row) for row in rows]
    assert all(cells), rows
    return {cell[1]: cell[2] for cell in cells if cell}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_table_of_steps_is_the_catalogue() -> None:
    documented = {name: (inspect.getdoc(find_step(name)) or "").splitlines()[0] for name in step_names()}
    assert table("step") == documented
    assert list(table("step")) == list(documented)


def test_the_tables_of_sources_and_outputs_are_complete() -> None:
    assert list(table("source")) == list(source_names())
    assert list(table("output")) == list(sink_names())


def test_every_command_is_shown_and_exists() -> None:
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    shown = set(re.findall(r"^pipelines (\w+)", README, re.MULTILINE))
    assert shown == known


def test_the_config_shown_is_the_one_shipped() -> None:
    assert blocks("yaml") == [(ROOT / "configs" / "audio_digits.yaml").read_text(encoding="utf-8")]


def test_the_steps_example_runs() -> None:
    example = next(block for block in blocks("python") if "as_torch" in block)
    names: dict[str, Any] = {}
    exec(example, names)  # our own words
    energies, layer = names["energies"], names["layer"]
    assert tuple(energies.shape) == (8, 64, 101)
    assert layer(names["torch"].zeros(8, 16000).numpy()).shape == (8, 64, 101)


@pytest.mark.usefixtures("data")
def test_the_training_example_runs(monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
    example = next(block for block in blocks("python") if "pipelines.load" in block).replace('"cuda"', '"cpu"')
    monkeypatch.chdir(ROOT)
    wav_bytes = (data / "audio_fsdd/recordings/7_theo_1.wav").read_bytes()
    seen: list[int] = []
    exec(example, {"model": lambda mel, digit: seen.append(len(digit)), "wav_bytes": wav_bytes})
    assert sum(seen) == 900


def test_the_files_it_names_are_there() -> None:
    named = set(re.findall(r"\b((?:docs|configs|scripts)/[\w.]+|[A-Z]+\.md|LICENSE)", README))
    assert {name for name in named if not (ROOT / name).exists()} == set()
    assert len(list((ROOT / "configs").glob("*.yaml"))) == 16
    assert "configs) sixteen examples" in README
