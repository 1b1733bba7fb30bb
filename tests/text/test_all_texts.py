"""Each tokenizer against its oracle on all texts: news, 300 languages, naughty strings, Unicode's own tests.

Of the news, all alike in language and signs, every fifth item is taken: the tokenizers themselves, ours and the
oracles', take nearly all the time, and two thirds of all letters were news. Whatever is rare is taken whole.
"""

from __future__ import annotations

import bz2
import json
import re
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from oracle.text_oracles import clip_tokenizer
from text.texts import HARD, Run, different
from tokenizers import BertWordPieceTokenizer, ByteLevelBPETokenizer, Regex, pre_tokenizers

from pipelines.step import Step
from pipelines.text import BasicEnglish, Bpe, Characters, ClipBpe, Sentencepiece, Whitespace, Wordpiece

NEWS = 5  # every fifth of 7600
LETTERS = 1000  # of each language; whole texts, 4.7 million letters, agree too and take minutes
# texts on which a step cannot give what its oracle gives, one by one, each with the reason
CANNOT_AGREE: dict[str, dict[str, str]] = {
    "wordpiece": {},
    "wordpiece cased": {},
    "bpe": {},
    "clip_bpe": {},
    "sentencepiece": {},
    "basic_english": {},
    "whitespace": {},
    "characters": {},
}


@pytest.fixture(scope="session")
def unicode_tests(data: Path) -> list[str]:
    """The strings of Unicode's own tests of breaks, of normal forms (several to a text) and of emoji."""
    folder = data / "golden_unicode"
    found = []
    for name in ("GraphemeBreakTest", "WordBreakTest", "SentenceBreakTest"):
        lines = (folder / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        found += [_spelled(line.partition("#")[0]) for line in lines if line.startswith("÷")]
    forms = bz2.decompress((folder / "NormalizationTest.txt.bz2").read_bytes()).decode().splitlines()
    forms = [_spelled(line.partition("#")[0]) for line in forms if re.match("[0-9A-F]", line)]
    emoji = (folder / "emoji-test.txt").read_text(encoding="utf-8").splitlines()
    emoji = [_spelled(line.partition(";")[0]) for line in emoji if re.match("[0-9A-F]", line)]
    assert len(found) > 2500
    assert len(forms) > 18000
    assert len(emoji) > 4000
    return [*found, *(" ".join(part[i : i + 50]) for part in (forms, emoji) for i in range(0, len(part), 50))]


def _spelled(codes: str) -> str:
    return "".join(chr(int(code, 16)) for code in re.findall(r"\b[0-9A-F]{4,6}\b", codes))


@pytest.fixture(scope="session")
def texts(
    data: Path, naughty: list[str], udhr: list[str], news: list[str], articles: list[str], unicode_tests: list[str]
) -> tuple[str, ...]:
    """All of them but most news: of the Declaration of Human Rights first lines, and the first letters as one text."""
    with zipfile.ZipFile(data / "text_udhr" / "udhr2.zip") as held:
        names = [name for name in held.namelist() if name.endswith(".txt")]
        whole = [held.read(name).decode("utf-8", errors="replace")[:LETTERS] for name in names]
    every = [*naughty, *udhr, *whole, *news[::NEWS], *articles, *unicode_tests, *HARD]
    return tuple(dict.fromkeys(text for text in every if not re.search("[\ud800-\udfff]", text)))


Expected = Callable[[list[str]], list[Any]]


@cache
def case(name: str, files: Path) -> tuple[Step, Expected]:
    """A step, and what its oracle gives for texts."""
    if name.startswith("wordpiece"):
        cased = "cased" in name
        path = files / f"bert_base_{'cased' if cased else 'uncased'}_vocab.txt"
        bert = BertWordPieceTokenizer(str(path), lowercase=not cased)
        return Wordpiece(vocabulary=path, lower=not cased), lambda texts: [
            e.ids for e in bert.encode_batch(texts, add_special_tokens=False)
        ]
    if name == "bpe":
        pair = files / "gpt2_bpe_encoder.json", files / "gpt2_bpe_vocab.bpe"
        library = ByteLevelBPETokenizer(*map(str, pair))
        return Bpe(encoder=pair[0], merges=pair[1]), lambda texts: [e.ids for e in library.encode_batch(texts)]
    if name == "clip_bpe":
        pair = files / "clip_encoder.json", files / "clip_vocab.bpe"
        made = clip_tokenizer(*pair)
        return ClipBpe(encoder=pair[0], merges=pair[1]), lambda texts: [e.ids[1:-1] for e in made.encode_batch(texts)]
    if name == "sentencepiece":
        model = files / "t5_tokenizer_base.model"
        return Sentencepiece(model=model), sentencepiece.SentencePieceProcessor(model_file=str(model)).encode
    if name == "basic_english":
        from torchtext.data.utils import get_tokenizer

        english = get_tokenizer("basic_english")
        return BasicEnglish(), lambda texts: [english(text) for text in texts]
    if name == "whitespace":
        return Whitespace(), lambda texts: [text.split() for text in texts]
    clusters = pre_tokenizers.Split(Regex(r"\X"), behavior="isolated")
    return Characters(), lambda texts: [
        list(text) if text.isascii() and "\r" not in text else [part for part, _ in clusters.pre_tokenize_str(text)]
        for text in texts
    ]


@cache
def expected(name: str, files: Path, texts: tuple[str, ...]) -> list[Any]:
    """Asked once for both frameworks."""
    return case(name, files)[1](list(texts))


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.needs("torchtext")] * (n == "basic_english")) for n in CANNOT_AGREE],
)
def test_all_texts(framework: str, name: str, files: Path, texts: tuple[str, ...], run: Run) -> None:
    assert len(texts) > 7000
    found = run(framework, case(name, files)[0], texts)
    wrong = different(list(texts), found, expected(name, files, texts))
    assert {text: row for text, *row in wrong if text not in CANNOT_AGREE[name]} == {}
    assert CANNOT_AGREE[name].keys() == {text for text, *_ in wrong}, "these agree by now"


@pytest.mark.needs("torchtext")
def test_torchtext_is_a_second_oracle_of_clip(files: Path, news: list[str], run: Run) -> None:
    from torchtext.transforms import CLIPTokenizer

    library = CLIPTokenizer(str(files / "clip_vocab.bpe"), encoder_json_path=str(files / "clip_encoder.json"))
    some = news[::10]  # of those on which the step and the first oracle agree above
    ids = [list(map(int, found)) for found in library(some)]
    assert different(some, run("tensorflow", case("clip_bpe", files)[0], some), ids) == []


def test_clips_published_ids(framework: str, files: Path, run: Run) -> None:
    """Of torchtext's documentation: "awesome,awe" is awesome, a comma, aw and e."""
    texts = ["awesome,awe", "<|startoftext|> The Quick brown <|endoftext|>", "<|EndOfText|>"]
    found = run(framework, case("clip_bpe", files)[0], texts)
    tokens = {i: t for t, i in json.loads((files / "clip_encoder.json").read_text(encoding="utf-8")).items()}
    assert [tokens[i] for i in found[0]] == ["awesome</w>", ",</w>", "awe</w>"]
    assert found[1] == [49406, 518, 3712, 2866, 49407]
    assert 49407 not in found[2]  # special tokens are taken as they are written
