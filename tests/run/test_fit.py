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


def test_what_was_learnt_by_other_parameters_is_refused_and_learnt_anew(config: Path) -> None:
    fit(read_config(config))
    words = config.parent / "words.txt"
    old = words.read_bytes()
    config.write_text(CONFIG.replace("words.txt, ", "words.txt, size: 4, "))
    says = r"words\.yaml:9: text\.vocab: .*words\.txt was learnt by other parameters \(size was not given, is 4\); make"
    with pytest.raises(ConfigError, match=says):
        pipelines.load(config, framework="torch")
    (done,) = fit(read_config(config))
    assert done.why == "size was not given, is 4"
    assert words.read_text().split() == ["<pad>", "<unk>", "a", "cat"]
    assert fit(read_config(config)) == []
    pipelines.load(config, framework="torch")

    config.write_text(CONFIG)  # what a config leaves out of a vocabulary it does not ask for
    assert fit(read_config(config)) == []
    config.write_text(CONFIG.replace("text.basic_english", "text.characters"))
    pipelines.load(config, framework="torch")  # another config may read the file after other steps
    (done,) = fit(read_config(config))
    assert done.why == "the steps before it were others"
    assert "c" in words.read_text().split()

    words.write_bytes(old)  # it comes from elsewhere now
    config.write_text(CONFIG.replace("words.txt, ", "words.txt, size: 4, "))
    pipelines.load(config, framework="torch")
    assert fit(read_config(config)) == []
    (config.parent / "words.txt.learnt").write_text("no note")
    assert fit(read_config(config)) == []


TRAIN = "text.wordpiece: {vocabulary: pieces.txt, train: {size: 40, special: ['[UNK]']}}"


def test_a_changed_train_block_is_noticed_and_its_defaults_are_not(config: Path) -> None:
    def write(step: str) -> None:
        config.write_text(CONFIG[: CONFIG.index("      - text.basic")] + f"      - {step}\n")

    write(TRAIN)
    fit(read_config(config))
    write(TRAIN.replace("size: 40", "size: 40, minimum_count: 2"))
    pipelines.load(config, framework="torch")
    write("text.wordpiece: {vocabulary: pieces.txt}")
    pipelines.load(config, framework="torch")
    write(TRAIN.replace("size: 40", "size: 30, minimum_count: 1").replace("pieces.txt", "pieces.txt, lower: false"))
    says = r"\(lower was true, is false; train\.size was 40, is 30; train\.minimum_count was 2, is 1\)"
    with pytest.raises(ConfigError, match=says):
        pipelines.load(config, framework="torch")
    assert len(fit(read_config(config))) == 1
    pipelines.load(config, framework="torch")


def test_fields_that_name_one_file_learn_it_together(config: Path) -> None:
    (config.parent / "rows.csv").write_text("title,body\nblue,a blue cat\nred,a dog\n")
    steps = "    steps: [text.whitespace, text.vocab: {file: words.txt, size: 9}]\n"
    both = "framework: torch\nsource:\n  manifest: {path: rows.csv}\nfields:\n"
    both += f"  title:\n    from: title\n{steps}  body:\n    from: body\n{steps.replace(', size: 9', '')}"
    config.write_text(both)
    for again in (False, True):
        (done,) = fit(read_config(config), again=again)
        assert (done.field, done.records) == ("title, body", 4)
        assert (config.parent / "words.txt").read_text().split() == ["<unk>", "a", "blue", "cat", "dog", "red"]
    pipelines.load(config, framework="torch")
    config.write_text(both.replace("words.txt}", "words.txt, size: 8}"))
    with pytest.raises(ConfigError, match=r"words\.yaml:10: .*is learnt at .*words\.yaml:7 too, .*size is 9 and 8"):
        fit(read_config(config))
