"""A mix of sources: every record at least once, shares kept all along, copies told apart, splits that do not leak."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipelines
from pipelines.config import read_config
from pipelines.plan import open_source
from pipelines.sources._base import Source
from pipelines.sources._mix import MixedSource, Opened
from pipelines.spec import TEXT


class Numbers(Source):
    """The numbers below `count`, as text."""

    def __init__(self, name: str, count: int) -> None:
        self.values = {name: TEXT}
        self._count = count

    def __len__(self) -> int:
        return self._count

    def key(self, index: int) -> str:
        return str(index)

    def read(self, index: int, names: Any) -> dict[str, Any]:
        return {name: str(index) for name in names}

    def fingerprint(self) -> str:
        return str(self._count)


parts = st.lists(st.tuples(st.floats(0.1, 10), st.integers(1, 25)), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(parts)
def test_every_record_comes_and_each_share_is_kept_all_along(parts: list[tuple[float, int]]) -> None:
    mixed = MixedSource([Opened(f"s{i}", weight, Numbers("n", count)) for i, (weight, count) in enumerate(parts)])
    keys = [mixed.key(i) for i in range(len(mixed))]
    assert len(set(keys)) == len(keys)
    came = Counter(tuple(mixed.read(i, ["mix", "n"]).values()) for i in range(len(mixed)))
    assert len(came) == sum(count for _, count in parts)
    weights = np.array([weight for weight, _ in parts])
    names = [key.split("/")[0].split("#")[0] for key in keys]
    counts = np.array([names.count(f"s{i}") for i in range(len(parts))])
    for i, (_, count) in enumerate(parts):
        turns = [came[f"s{i}", str(n)] for n in range(count)]
        assert max(turns) - min(turns) <= 1, "no record comes twice more often than another of its source"
        assert abs(counts[i] - max(counts / weights) * weights[i]) <= 1 + 0.5 * weights[i] / weights.min()
        so_far = np.cumsum([name == f"s{i}" for name in names])  # by the number of records
        # spread evenly: after any number of records, each source's part has come
        assert np.abs(so_far - np.arange(1, len(keys) + 1) * counts[i] / len(keys)).max() <= len(parts)


LINES = {"a": 30, "b": 10, "c": 8}


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    for name, count in LINES.items():
        (tmp_path / f"{name}.txt").write_text("".join(f"{name} {i}\n" for i in range(count)))
    rows = [{"caption": f"c {i}", "extra": f"more {i}"} for i in range(LINES["c"])]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    mix = [
        {"weight": 1, "name": "a", "lines": {"path": str(tmp_path / "a.txt")}},
        {"weight": 0.5, "lines": {"path": str(tmp_path / "b.txt")}},
        {"weight": 0.5, "manifest": {"path": str(tmp_path / "c.jsonl")}},
    ]
    fields = {"from_": {"from": "mix"}, "text": {"from": "text", "optional": True}}
    fields["extra"] = {"from": "extra", "optional": True}
    return {"source": {"mix": mix}, "fields": fields, "batch": {"size": 16, "shuffle": True}}


def told(framework: str, config: dict[str, Any]) -> list[tuple[Any, ...]]:
    pipe = pipelines.load(config, framework=framework, device="cpu")
    records = [record for delivered in pipe.epoch() for record in pipe.engine.unbatch(delivered)]
    return [(r["key"], r["from_"], r["text"], r["extra"]) for r in records]


def test_a_run_is_the_same_on_both_frameworks(config: dict[str, Any]) -> None:
    records = told("torch", config)
    assert records == told("tensorflow", config)
    assert Counter(name for _, name, *_ in records) == {"a": 30, "lines": 15, "manifest": 15}
    assert sum(key.startswith("manifest#2/") for key, *_ in records) == 7
    for _, name, text, extra in records:
        assert (text is None, extra is None) == (name == "manifest", name != "manifest")


def test_a_split_keeps_all_copies_of_a_record_together(config: dict[str, Any]) -> None:
    def own_keys(use: str) -> set[str]:
        held = {**config["source"], "split": {"parts": {"train": 0.5, "valid": 0.5}, "use": use}}
        source = open_source(read_config({**config, "source": held}, (), "torch"))
        return {re.sub(r"#\d+/", "/", source.key(i)) for i in range(len(source))}

    train, valid = own_keys("train"), own_keys("valid")
    assert not train & valid
    assert len(train | valid) == sum(LINES.values())


def test_the_fingerprint_and_the_state_know_the_weights(config: dict[str, Any]) -> None:
    pipe = pipelines.load(config, framework="torch", device="cpu")
    state = pipe.state()
    pipelines.load(config, framework="tensorflow", device="cpu").resume(state)
    config["source"]["mix"][1]["weight"] = 0.75
    with pytest.raises(pipelines.PipelineError, match="source changed"):
        pipelines.load(config, framework="torch", device="cpu").resume(state)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("mix: {lines: {path: a}}", 2, "expected mix to be a list of sources, each with its weight"),
        ("mix: []", 2, "expected mix to be a list of sources, each with its weight"),
        ("mix:\n  - lines: {path: a}", 3, "missing parameter 'weight' of the mix"),
        ("mix:\n  - {weight: 0, lines: {path: a}}", 3, "weight=0 must be > 0"),
        ("mix:\n  - {weight: 1, lines: {path: a}, folder: {path: b, files: x}}", 3, "expected one source, got"),
        ("mix:\n  - {weight: 1, mix: []}", 3, "unknown key 'mix' in a source of the mix"),
        ("mix:\n  - {weight: 1, name: a/b, lines: {path: a}}", 3, "name: expected a text like"),
        ("mix:\n  - {weight: 1, lines: {pth: a}}", 3, "unknown parameter 'pth' of lines; did you mean 'path'?"),
        (
            "mix:\n  - {weight: 1, lines: {path: a}}\n  - {weight: 1, lines: {path: b}}",
            4,
            "two sources are called 'lines'",
        ),
        ("mix:\n  - {weight: 1, lines: {path: nowhere.txt}}", 2, "expected a text file, there is none at"),
    ],
)
def test_faults_are_told_with_their_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    path = tmp_path / "c.yaml"
    indented = text.replace("\n", "\n    ")
    path.write_text(f"source:\n  {indented}\nfields: {{text: {{from: text}}}}\n")
    with pytest.raises(pipelines.PipelineError) as told:
        pipelines.load(path, framework="torch", device="cpu")
    assert any(shown.startswith(f"{path}:{line}: ") and words in shown for shown in str(told.value).splitlines()), (
        told.value
    )
