"""Vocabularies: looked up like torchtext's, built like torchtext's, written whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from text.texts import Run, no_library

from pipelines import companions
from pipelines.errors import OutputError, SpecError, UserError
from pipelines.fitted import Fitted
from pipelines.text import BasicEnglish, Vocab
from pipelines.text._seams import TOKENS

EXAMPLE = Vocab.examples[0].params["file"]
WORDS = st.lists(st.lists(st.sampled_from(["a", "b", "ab", "é", "中", "Ä", "<unk>", "<pad>"]), max_size=9), max_size=9)


def reference(values: list[list[str]], **options: Any) -> list[str]:
    """What torchtext builds from the same tokens."""
    from torchtext.vocab import build_vocab_from_iterator

    return build_vocab_from_iterator(values, **options).get_itos()  # type: ignore[no-any-return]  # no types there


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


@pytest.mark.needs("torchtext")
@given(values=WORDS, minimum=st.integers(1, 4), size=st.none() | st.integers(3, 6))
@settings(max_examples=40, deadline=None)
def test_fit_builds_what_torchtext_builds(
    tmp_path_factory: pytest.TempPathFactory, values: list[list[str]], minimum: int, size: int | None
) -> None:
    path = tmp_path_factory.mktemp("vocab") / "words.txt"
    step = Vocab(file=path, special=("<pad>",), size=size, minimum_count=minimum)
    # torchtext lets a special token that occurs in the records take two of the places
    others = [[word for word in words if word[0] != "<"] for words in values]
    expected = reference(others, specials=["<unk>", "<pad>"], min_freq=minimum, max_tokens=size)
    if len(expected) == 2:
        with pytest.raises(UserError, match="no token occurs"):
            step.fit(values)
        return
    step.fit(values)
    assert lines(path) == expected


@pytest.mark.needs("torchtext")
def test_fit_on_real_tokens_and_look_up(framework: str, run: Run, tmp_path: Path, news: list[str]) -> None:
    tokens = run("torch", BasicEnglish(), news[:1500])
    step = Vocab(file=tmp_path / "deep" / "words.txt", size=2000, minimum_count=2)
    assert issubclass(Vocab, Fitted)  # what `pipelines fit` looks for
    assert not step.is_fitted()
    with pytest.raises(SpecError, match="pipelines fit CONFIG"):
        step.out_spec(TOKENS)
    step.fit(iter(tokens))
    assert step.is_fitted()
    expected = reference(tokens, specials=["<unk>"], min_freq=2, max_tokens=2000)
    assert lines(step.file) == expected
    assert step.out_spec(TOKENS).range == (0, 1999)

    from torchtext.vocab import vocab

    table = vocab(dict.fromkeys(expected, 1))
    table.set_default_index(0)
    others = [*tokens[::7], ["\0", "a\0", "Größe", "", "the"], []]
    assert run(framework, step, others, TOKENS) == [table.lookup_indices(words) for words in others]


def test_without_torchtext(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [["a", "red", "\0", "zebra"], []]
    with_library = run("torch", Vocab(file=EXAMPLE), words, TOKENS)
    monkeypatch.setattr(companions, "why_not", no_library)
    assert run("torch", Vocab(file=EXAMPLE), words, TOKENS) == with_library


def test_without_unknown_token_a_new_token_fails_the_record(framework: str, run: Run) -> None:
    step = Vocab(file=EXAMPLE, unknown=None)
    number = lines(Path(EXAMPLE)).index("red")
    assert run(framework, step, [["red", "red"]], TOKENS) == [[number, number]]
    with pytest.raises(Exception, match=r"zebra.*not in the vocabulary|not in the vocabulary.*zebra"):
        run(framework, step, [["red", "zebra"]], TOKENS)


def test_the_unknown_token_stands_where_special_puts_it(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    Vocab(file=path, special=("<pad>", "<unk>", "<s>")).fit([["b", "a"], ["b"]])
    assert lines(path) == ["<pad>", "<unk>", "<s>", "b", "a"]
    Vocab(file=path, unknown=None).fit([["b", "a"], ["b"]])
    assert lines(path) == ["b", "a"]


def test_a_failed_fit_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    step = Vocab(file=path)
    step.fit([["old"]])
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    for values in ([], [["<unk>"]], [["a\nb", "c\r", "\0", ""]]):
        with pytest.raises(UserError, match="no token occurs"):
            step.fit(values)
    with pytest.raises(UserError, match="size=1 must be >= 2"):
        Vocab(file=path, special=("<pad>",), size=1).fit([["a"]])
    with pytest.raises(OutputError, match="cannot write"):
        Vocab(file=path / "below" / "a.txt").fit([["a"]])
    assert lines(path) == ["<unk>", "old"]
    assert os.listdir(tmp_path) == ["words.txt"]


def test_parameters() -> None:
    with pytest.raises(ValidationError, match="each special token may stand once"):
        Vocab(file="x", special=("a", "a"))
    with pytest.raises(SpecError, match="lacks the unknown token"):
        Vocab(file=EXAMPLE, unknown="[UNK]").out_spec(TOKENS)
