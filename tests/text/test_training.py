"""Vocabularies and models learnt by `pipelines fit`: the same files from the same texts, whatever the machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from text.texts import Run
from tokenizers import BertWordPieceTokenizer, ByteLevelBPETokenizer

import pipelines
from pipelines.config import read_config
from pipelines.errors import ConfigError, SpecError, UserError
from pipelines.fit import fit
from pipelines.fitted import Fitted
from pipelines.spec import TEXT
from pipelines.text import Bpe, Sentencepiece, Wordpiece

HARD = ["a\tb\0c", "", "x" * 9000 + " end", "Größe 世界 \u2585 \U0001f680", "[CLS] <|endoftext|>"]
PAIRS = {"size": 900, "special": ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]}


def steps(folder: Path) -> dict[str, Fitted]:
    """One of each kind that learns, with its files in `folder`."""
    named: dict[str, dict[str, Any]] = {kind: {"kind": kind} for kind in ("unigram", "bpe", "word", "char")}
    models = {
        f"sentencepiece {kind}": Sentencepiece(model=folder / f"{kind}.model", train={"size": 500, **given})
        for kind, given in named.items()
    }
    return {
        "wordpiece": Wordpiece(vocabulary=folder / "wordpiece.txt", train=PAIRS),
        "cased": Wordpiece(vocabulary=folder / "cased.txt", lower=False, train=PAIRS),
        "bpe": Bpe(encoder=folder / "encoder.json", merges=folder / "vocab.bpe", train={"size": 900}),
        **models,
        "bytes": Sentencepiece(model=folder / "bytes.model", train={"size": 700, "byte_fallback": True}),
    }


def learn(folder: Path, texts: list[str]) -> dict[str, str]:
    """Fits every step, and gives the SHA-256 of each file."""
    folder.mkdir(exist_ok=True)
    for step in steps(folder).values():
        step.fit(iter(texts))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


if __name__ == "__main__":  # what the test below runs in other processes
    print(json.dumps(learn(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))))


@pytest.fixture(scope="module")
def texts(news: list[str]) -> list[str]:
    return [*news[:400], *HARD]


@pytest.fixture(scope="module")
def learnt(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """All files, learnt in this process."""
    folder = tmp_path_factory.mktemp("learnt")
    return folder, learn(folder, texts)


@pytest.mark.parametrize("threads", ["1", "3"])
def test_two_runs_give_the_same_files_with_any_number_of_threads(
    threads: str, texts: list[str], learnt: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    held = tmp_path / "texts.json"
    held.write_text(json.dumps(texts), encoding="utf-8")
    settings = {"RAYON_NUM_THREADS": threads, "OMP_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
    parallel = {"TOKENIZERS_PARALLELISM": "false" if threads == "1" else "true"}
    root = Path(__file__).parents[2]
    paths = {"PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])}
    found = subprocess.run(
        [sys.executable, __file__, str(tmp_path / "out"), str(held)],
        env={**os.environ, **settings, **parallel, **paths},
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(found.stdout) == learnt[1]
    assert len(learnt[1]) == 9


def test_what_is_learnt_is_read_by_the_step_and_by_the_library(
    framework: str, run: Run, learnt: tuple[Path, dict[str, str]], news: list[str]
) -> None:
    folder, others = learnt[0], [*news[400:500], "Größe [CLS] zebra", ""]
    made = steps(folder)
    for name, lower in (("wordpiece", True), ("cased", False)):
        library = BertWordPieceTokenizer(str(folder / f"{name}.txt"), lowercase=lower)
        expected = [e.ids for e in library.encode_batch(others, add_special_tokens=False)]
        assert run(framework, made[name], others) == expected
    bytes_ = ByteLevelBPETokenizer(str(folder / "encoder.json"), str(folder / "vocab.bpe"))
    assert run(framework, made["bpe"], others) == [e.ids for e in bytes_.encode_batch(others)]
    for kind in ("unigram", "bpe", "word", "char"):
        model = sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{kind}.model"))
        assert run(framework, made[f"sentencepiece {kind}"], others) == model.encode(others)


def test_tokens_are_those_asked_for(learnt: tuple[Path, dict[str, str]]) -> None:
    folder = learnt[0]
    tokens = (folder / "wordpiece.txt").read_text(encoding="utf-8").splitlines()
    assert tokens[:4] == PAIRS["special"]
    assert len(tokens) == len(set(tokens)) == 900
    assert {"the", "##ing", "a", "##a"} < set(tokens)
    assert not {"世", "X", "##\U0001f680"} & set(tokens)  # once, and not lower case
    encoder = json.loads((folder / "encoder.json").read_text())
    assert sorted(encoder.values()) == list(range(900))
    assert {"Ġthe", "Ġ", "ing"} < encoder.keys()
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "bytes.model"))
    assert [model.id_to_piece(i) for i in (0, 1, 2, 3, 258)] == ["<unk>", "<s>", "</s>", "<0x00>", "<0xFF>"]
    assert model.get_piece_size() <= 700


def test_every_text_is_learnt_from(tmp_path: Path) -> None:
    """The trainer alone would pass over texts that are long or that have a tab in them."""
    path = tmp_path / "x.model"
    Sentencepiece(model=path, train={"size": 12, "kind": "char", "coverage": 1, "special": ["<pad>"]}).fit(
        ["a\tb", "c" + " c" * 5000, "d\0e", "\u2585f"]
    )
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    assert {model.id_to_piece(i) for i in range(model.get_piece_size())} == {
        *"abcdef\u2581",
        "<unk>",
        "<s>",
        "</s>",
        "<pad>",
    }
    assert model.id_to_piece(3) == "<pad>"


def broken() -> Iterator[str]:
    yield "the cat and the dog"
    raise UserError("the records end here")


@pytest.mark.parametrize("name", ["wordpiece", "bpe", "sentencepiece unigram", "sentencepiece bpe"])
def test_a_failed_fit_leaves_no_file(name: str, tmp_path: Path) -> None:
    step = steps(tmp_path)[name]
    for values in (iter([]), iter([""]), broken()):
        with pytest.raises(UserError, match=r"nothing to learn|cannot learn|the records end here"):
            step.fit(values)
    with pytest.raises(UserError, match="the records end here"):
        step.fit(broken())
    assert list(tmp_path.iterdir()) == []


def test_sizes_that_are_too_small_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="size=5 must be >= 6, the number of special tokens and characters"):
        Wordpiece(vocabulary=tmp_path / "v", train={"size": 5, "special": ["[PAD]"]}).fit(["ab ab ba"])
    with pytest.raises(UserError, match="size=255 must be >= 256, the number of special tokens and bytes"):
        Bpe(encoder=tmp_path / "e", merges=tmp_path / "m", train={"size": 255}).fit(["ab"])
    with pytest.raises(UserError, match=r"sentencepiece cannot learn from these texts: .*[Vv]ocabulary size"):
        Sentencepiece(model=tmp_path / "m", train={"size": 4}).fit(["abc abc abd"])


def test_without_training_parameters_a_missing_file_is_a_missing_file(tmp_path: Path) -> None:
    step = Wordpiece(vocabulary=tmp_path / "missing.txt")
    assert not step.learns
    assert not step.is_fitted()
    with pytest.raises(SpecError, match=r"there is no file .*missing\.txt"):
        step.out_spec(TEXT)
    assert Wordpiece(vocabulary=tmp_path / "missing.txt", train={"size": 9}).learns


def test_half_a_pair_of_files_is_not_fitted(tmp_path: Path) -> None:
    step = steps(tmp_path)["bpe"]
    step.fit(["the cat and the dog"])
    assert step.is_fitted()
    (tmp_path / "vocab.bpe").unlink()
    assert not step.is_fitted()
    with pytest.raises(SpecError, match=r"there is no file .*vocab\.bpe yet; make it with: pipelines fit"):
        step.out_spec(TEXT)


CONFIG = """\
framework: torch
source:
  manifest: {path: rows.csv}
fields:
  pieces:
    from: text
    steps: [text.wordpiece: {vocabulary: out/pieces.txt, train: {size: 60, special: ["[UNK]", "[PAD]"]}}]
  bytes:
    from: text
    steps: [text.bpe: {encoder: out/e.json, merges: out/m.bpe, train: {size: 270, minimum_count: 2}}]
  model:
    from: text
    steps: [text.sentencepiece: {model: out/m.model, train: {size: 30, kind: bpe}}]
  two:
    from: [text, other]
    steps:
      - text.whitespace
      - text.vocab: {file: out/words.txt, special: ["[CLS]", "[SEP]"]}
      - text.pair: {length: 9, vocabulary: out/words.txt}
batch: {size: 2}
"""


def test_a_config_learns_all_it_lacks_and_then_runs(framework: str, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,other\na cat sat,why\na dog ran,so\nthe cat ran,the\na cat,no no\n")
    path = tmp_path / "learn.yaml"
    path.write_text(CONFIG)
    with pytest.raises(
        ConfigError, match=r"learn\.yaml:7: text\.wordpiece: there is no .*pieces\.txt yet.*pipelines fit"
    ):
        pipelines.load(path, framework=framework)
    done = fit(read_config(path, (), framework))
    assert [(d.field, d.step, d.records) for d in done] == [
        ("pieces", "text.wordpiece", 4),
        ("bytes", "text.bpe", 4),
        ("model", "text.sentencepiece", 4),
        ("two", "text.vocab", 4),
    ]
    assert fit(read_config(path, (), framework)) == []
    words = (tmp_path / "out" / "words.txt").read_text().split()
    assert {"<unk>", "[CLS]", "[SEP]", "cat", "the"} < set(words)
    assert {"why", "so", "no"} < set(words)  # both values are learnt from
    assert words.index("a") < words.index("cat") < words.index("no") < words.index("dog")  # 3, 3, 2 and 1 times
    pipe = pipelines.load(path, framework=framework, device="cpu")
    records = [record for delivered in pipe.epoch() for record in pipe.engine.unbatch(delivered)]
    assert len(records) == 4
    spelled = [[words[i] for i in record["two"].tolist()] for record in records]
    assert spelled[3] == ["[CLS]", "a", "cat", "[SEP]", "no", "no", "[SEP]"]
    before = (tmp_path / "out" / "pieces.txt").read_bytes()
    assert len(fit(read_config(path, (), framework), again=True)) == 4
    assert (tmp_path / "out" / "pieces.txt").read_bytes() == before
