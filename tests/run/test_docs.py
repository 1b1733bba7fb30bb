"""The pages for newcomers: each command and each block of code on them runs, and the site builds with its reference."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from ruamel.yaml import YAML
from typer.testing import CliRunner

from pipelines.catalog import sink_names, source_names, step_names
from pipelines.cli import app
from pipelines.config import json_schema, read_config
from pipelines.errors import ConfigError

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs/howto").glob("*.md"), ROOT / "docs/tutorial.md"])
BLOCK = re.compile(r"(?:<!-- not run: (?P<why>[^>]*) -->\n)?^```(?P<kind>.*)\n(?P<text>(?:.*\n)*?)^```$", re.MULTILINE)
NOT_RUN = {"it starts a process for each framework; tests/run/test_compare.py runs it"}


def commands(text: str, fails: bool) -> str:
    """What the commands print; each ends as it should."""
    told = ""
    for line in text.splitlines():
        name, *arguments = shlex.split(line)
        assert name == "pipelines", line
        done = CliRunner().invoke(app, arguments)
        told += done.output
        error = done.exception
        if isinstance(error, ConfigError):
            told += "\n".join(map(str, error.faults))
        assert (done.exit_code != 0) == fails, f"{line}: {told}\n{error!r}"
    return told


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the page, in an empty folder; what a `text` block shows was printed by the commands before it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    names: dict[str, object] = {}
    told = ""
    for block in BLOCK.finditer(page.read_text("utf-8")):
        kind, text = block["kind"], block["text"]
        if block["why"] is not None:
            assert block["why"] in NOT_RUN
        elif kind in ("sh", "sh fails"):
            told = commands(text, fails=kind == "sh fails")
        elif kind == "text":
            lacking = [line for line in text.splitlines() if line.strip() not in told]
            assert not lacking, f"{lacking} is not in\n{told}"
        elif kind == "yaml":
            name = re.match(r"# file: (\S+)\n", text)
            assert name, "a config begins with its name"
            Path(name[1]).write_text(text)
            assert not read_config(name[1]).faults
        else:
            assert kind == "python"
            exec(text, names)  # our own words


MISTAKES = (("files:", "file:"), ("bands: 64", "bands: 0"), ("audio.decibels ", "audio.decibel "), ('"3"', "3"))


def test_every_block_of_the_page_on_configs_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a config fit into the complete one; overrides and code apply to it; its faults are those shown."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIGITS", "/digits")
    blocks: dict[str, list[str]] = {}
    for block in BLOCK.finditer((ROOT / "docs/config.md").read_text("utf-8")):
        blocks.setdefault(block["kind"], []).append(block["text"])
    complete, *parts = blocks.pop("yaml")
    (code,), (listed, overrides, faults) = blocks.pop("python"), blocks.pop("")
    assert not blocks

    whole = YAML(typ="safe", pure=True).load(complete)
    for part in parts:
        config = read_config(whole | (YAML(typ="safe", pure=True).load(part) or {}))
        assert not config.faults, (part, config.faults)

    Path("digits.yaml").write_text(complete)
    given = [shlex.split(line)[1] for line in overrides.splitlines()]
    assert not read_config("digits.yaml", overrides=given).faults
    exec(code, {})  # our own words
    for line in listed.splitlines():
        assert CliRunner().invoke(app, [line.split()[1], "--help"]).exit_code == 0, line

    for right, wrong in MISTAKES:
        assert complete.count(right) == 1, right
        complete = complete.replace(right, wrong)
    Path("digits.yaml").write_text(complete)
    assert "".join(f"{fault}\n" for fault in read_config("digits.yaml", overrides=["batch.size=x"]).faults) == faults


def test_the_site_builds_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True)
    config.plugins.on_startup(command="build", dirty=False)
    build(config)
    page = (tmp_path / "tutorial/index.html").read_text("utf-8")
    assert not re.findall(r'(?:src|href)="(?:https?:)?//(?!squidfunk)[^"]*\.(?:css|js|woff2?)"', page)
    reference = {file.parent.name: file.read_text("utf-8") for file in (tmp_path / "reference").glob("*/index.html")}
    for name in step_names():
        assert f'id="{name.replace(".", "")}"' in reference[name.partition(".")[0]], name
    for key in json_schema()["properties"]:
        assert f'<h2 id="{key}"' in reference["config_keys"]
    for name in (*source_names(), *sink_names()):
        assert name in reference["sources"]


def test_the_reference_holds_what_the_code_says() -> None:
    text = hook().pages()["audio"]
    part = text.split("## audio.mel\n")[1].split("\n## ")[0]
    assert "Mel-band energies of a waveform's power or magnitude spectrogram." in part
    assert re.search(r"\| `hop` \| .*integer >= 1", part)
    assert "Between the frameworks" in part


def hook() -> ModuleType:
    """scripts/reference.py as MkDocs loads it."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts/reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
