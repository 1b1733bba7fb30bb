"""WordPiece ids against the tokenizers library."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from text.texts import HARD, TEXTS, Run, different, no_library
from tokenizers import BertWordPieceTokenizer

from pipelines import companions
from pipelines.errors import SpecError
from pipelines.native import to_native, to_numpy
from pipelines.spec import TEXT, Spec
from pipelines.step import Kernel
from pipelines.text import Wordpiece

EXAMPLE = Wordpiece.examples[0].params["vocabulary"]


def oracle(path: Any, texts: list[str], **options: Any) -> list[list[int]]:
    """The ids that the library gives, without its [CLS] and [SEP]."""
    tokenizer = BertWordPieceTokenizer(str(path), **options)
    return [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]


@pytest.mark.parametrize(
    "options",
    [{"strip_accents": False}, {"lowercase": False, "strip_accents": True}],
    ids=["accents kept", "cased without accents"],
)
def test_real_texts_in_other_modes(
    framework: str,
    files: Path,
    run: Run,
    naughty: list[str],
    udhr: list[str],
    news: list[str],
    options: dict[str, bool],
) -> None:
    vocabulary = files / "bert_base_cased_vocab.txt"
    texts = [*naughty, *udhr[::2], *news[:500], *HARD]
    step = Wordpiece(
        vocabulary=vocabulary, lower=options.get("lowercase", True), strip_accents=options.get("strip_accents")
    )
    assert different(texts, run(framework, step, texts), oracle(vocabulary, texts, **options)) == []


@cache
def bound(framework: str, lower: bool, hidden: bool) -> Kernel:
    with pytest.MonkeyPatch.context() as patch:
        if hidden:
            patch.setattr(companions, "why_not", no_library)
        kernel: Kernel = Wordpiece(vocabulary=EXAMPLE, lower=lower).bind(framework, TEXT)
        return kernel


@pytest.mark.parametrize("lower", [True, False])
@given(texts=TEXTS)
@settings(max_examples=40, deadline=None)
def test_any_text(framework: str, lower: bool, texts: list[str]) -> None:
    ids = Spec("int64")
    expected = oracle(EXAMPLE, texts, lowercase=lower)
    for hidden in (False, True):
        kernel = bound(framework, lower, hidden)
        found = [to_numpy(kernel(to_native(t, TEXT, framework)), ids).tolist() for t in texts]
        assert different(texts, found, expected) == []


def test_without_companion_libraries(
    framework: str, files: Path, run: Run, naughty: list[str], news: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    vocabulary = files / "bert_base_uncased_vocab.txt"
    texts = [*naughty, *news[:1000], *HARD]
    monkeypatch.setattr(companions, "why_not", no_library)
    found = run(framework, Wordpiece(vocabulary=vocabulary), texts)
    assert different(texts, found, oracle(vocabulary, texts)) == []


def test_another_unknown_token(framework: str, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.txt"
    path.write_text("UNK\n[CLS]\n[SEP]\nfun\n##ky\nun\n##k\nf\n", encoding="utf-8")
    texts = ["funky zebra", "FUNKY fun", "UNK", "xUNKy fun", "\u00e9 fun"]
    found = run(framework, Wordpiece(vocabulary=path, unknown="UNK"), texts)
    assert different(texts, found, oracle(path, texts, unk_token="UNK")) == []
    assert found[0] == [3, 4, 0]


def test_which_tokens_are_never_split(framework: str, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.txt"
    path.write_text("\n".join(["[UNK]", "[CLS]", "[ENT]", *"[]abc", "##l", "##s", "cl", "en", "ent", "see"]), "utf-8")
    words = path.read_text("utf-8").split("\n")
    for special, expected in {
        None: ["[CLS]", "see", "[", "ent", "]", "a"],  # the five of BERT
        ("[ENT]",): ["[", "cl", "##s", "]", "see", "[ENT]", "a"],
        (): ["[", "cl", "##s", "]", "see", "[", "ent", "]", "a"],
    }.items():
        (found,) = run(framework, Wordpiece(vocabulary=path, special=special), ["[CLS] see[ENT] A"])
        assert [words[i] for i in found] == expected
    with pytest.raises(SpecError, match=r"'\[ENTS\]' is not in .*; did you mean '\[ENT\]'"):
        Wordpiece(vocabulary=path, special=["[ENTS]"]).out_spec(TEXT)


def test_the_spec_says_how_many_ids_there_are(files: Path) -> None:
    spec = Wordpiece(vocabulary=files / "bert_base_uncased_vocab.txt").out_spec(TEXT)
    assert (spec.dtype, spec.names, spec.range) == ("int64", ("token",), (0, 30521))


def test_a_vocabulary_without_the_unknown_token_is_refused() -> None:
    with pytest.raises(SpecError, match="no WordPiece vocabulary with the unknown token '<unk>'"):
        Wordpiece(vocabulary=EXAMPLE, unknown="<unk>").out_spec(TEXT)


def test_a_changed_vocabulary_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.txt"
    step = Wordpiece(vocabulary=path)
    for count in (3, 5):
        path.write_text("\n".join(["[UNK]", *"abcdef"[: count - 1]]), encoding="utf-8")
        assert step.out_spec(TEXT).range == (0, count - 1)
