"""`pipelines fit`: what a step must learn from the data is learnt once, the same on both frameworks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import pipelines
from pipelines.config import read_config
from pipelines.errors import ConfigError
from pipelines.fit import fit

LINES = ["a cat sat", "a dog ran", "the cat ran", "a cat"]
CONFIG = """\
framework: torch
source:
  lines: {path: lines.txt}
fields:
  ids:
    from: text
    steps:
      - text.basic_english
      - text.vocab: {file: words.txt, special: ["<pad>", "<unk>"]}
batch: {size: 2}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "lines.txt").write_text("\n".join(LINES) + "\n")
    path = tmp_path / "words.yaml"
    path.write_text(CONFIG)
    return path


def ids(path: Path, framework: str) -> list[list[int]]:
    pipe = pipelines.load(path, framework=framework, device="cpu")
    return [record["ids"].tolist() for delivered in pipe.epoch() for record in pipe.engine.unbatch(delivered)]


def test_a_config_that_needs_fitting_says_so_and_is_ready_afterwards(config: Path, framework: str) -> None:
    with pytest.raises(ConfigError, match=r"words\.yaml:9: text\.vocab: .*pipelines fit"):
        pipelines.load(config, framework=framework)
    seen: list[int] = []
    (done,) = fit(read_config(config, (), framework), watch=seen.append)
    assert (done.field, done.step, done.records) == ("ids", "text.vocab", 4)
    assert sum(seen) == 4
    # by count, then by code points: a 3, cat 3, ran 2, dog, sat, the
    assert (config.parent / "words.txt").read_text().split() == [
        "<pad>",
        "<unk>",
        "a",
        "cat",
        "ran",
        "dog",
        "sat",
        "the",
    ]
    expected: Any = [[2, 3, 6], [2, 5, 4], [7, 3, 4], [2, 3]]
    assert ids(config, framework) == expected
    assert fit(read_config(config, (), framework)) == []


def test_fitting_again_learns_from_what_is_there_now(config: Path, framework: str) -> None:
    fit(read_config(config, (), framework))
    (config.parent / "lines.txt").write_text("zebra\n")
    assert len(fit(read_config(config, (), framework), again=True)) == 1
    assert (config.parent / "words.txt").read_text().split() == ["<pad>", "<unk>", "zebra"]
