"""The settled characters are settled: every library treats each of them as `tokenizers` does."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from text.texts import TEXT_OPS

from pipelines.text import ClipBpe
from pipelines.text._characters import WHITESPACE, character_class, settled
from pipelines.text.clip_bpe import _plain as clip_plain

LETTERS = sorted(settled())
TEXTS = [f"a{c}B {c}" for c in LETTERS]


@cache
def bert_vocabulary() -> tuple[str, ...]:
    """Every token that a text of settled characters can have: each character in each case, with and without ##."""
    from tokenizers.normalizers import BertNormalizer

    plain = BertNormalizer(lowercase=True)
    found = {c for text in TEXTS for form in (text, plain.normalize_str(text)) for c in form if not c.isspace()}
    return ("[UNK]", *sorted(found), *(f"##{c}" for c in sorted(found)))


@cache
def bert_tokens(lower: bool) -> list[list[str]]:
    """The oracle's tokens of every text."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    table = {token: i for i, token in enumerate(bert_vocabulary())}
    oracle = Tokenizer(models.WordPiece(vocab=table, unk_token="[UNK]"))
    oracle.normalizer = normalizers.BertNormalizer(lowercase=lower)
    oracle.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return [encoding.tokens for encoding in oracle.encode_batch(TEXTS)]


@pytest.mark.needs("torchtext")
@pytest.mark.parametrize("lower", [True, False])
def test_torchtext_tokenizes_settled_characters_as_bert_does(lower: bool, tmp_path: Path) -> None:
    from torchtext.transforms import BERTTokenizer

    path = tmp_path / "vocabulary.txt"
    path.write_text("\n".join(bert_vocabulary()) + "\n", encoding="utf-8")
    tokenizer = BERTTokenizer(str(path), do_lower_case=lower, return_tokens=True)
    assert [c for c, text, e in zip(LETTERS, TEXTS, bert_tokens(lower), strict=True) if tokenizer(text) != e] == []


@pytest.mark.parametrize("lower", [True, False] if TEXT_OPS else [])
def test_tensorflow_text_tokenizes_them_so_too(lower: bool) -> None:
    import tensorflow as tf
    import tensorflow_text

    tokenizer = tensorflow_text.FastBertTokenizer(
        list(bert_vocabulary()), token_out_type=tf.string, lower_case_nfd_strip_accents=lower
    )
    given = tokenizer.tokenize(tf.constant([text.encode() for text in TEXTS])).to_list()
    found = [[token.decode() for token in tokens] for tokens in given]
    wrong = {c for c, f, e in zip(LETTERS, found, bert_tokens(lower), strict=True) if f != e}
    assert wrong & settled(folds=lower) == set()


def test_letters_and_numbers_of_re_are_those_of_byte_level_bpe() -> None:
    from tokenizers import pre_tokenizers

    cut = pre_tokenizers.ByteLevel(add_prefix_space=False)

    def kind(c: str) -> str:  # each kind joins its own and stands apart from the others
        joined = [len(cut.pre_tokenize_str(f"{other}{c}")) == 1 for other in "a1."]
        return "letter" * joined[0] + "number" * joined[1] + "sign" * joined[2]

    def by_re(c: str) -> str:
        return "letter" if re.fullmatch(r"[^\W\d_]", c) else "number" if re.fullmatch(r"\d", c) else "sign"

    assert [c for c in LETTERS if kind(c) != by_re(c)] == []


def test_lower_case_is_the_same_in_both() -> None:
    import tensorflow as tf

    texts = [f"a{c}b {c}" for c in LETTERS if c != "Σ"]
    lowered = tf.strings.lower(tf.constant([text.encode() for text in texts]), encoding="utf-8").numpy()
    assert [t for t, low in zip(texts, lowered, strict=True) if low.decode() != t.lower()] == []


def test_a_character_class_matches_its_characters_alone_in_re_and_in_re2() -> None:
    import tensorflow as tf

    every = [chr(c) for c in [*range(1, 0xD800), *range(0xE000, 0x11000)]]
    for chosen in (settled() | set(WHITESPACE), settled(folds=True), frozenset("]^-\\[a\n")):
        pattern = character_class(chosen)
        assert {c for c in every if re.fullmatch(pattern, c)} == chosen
        matches = tf.strings.regex_full_match(tf.constant([c.encode() for c in every]), pattern).numpy()
        assert {c for c, match in zip(every, matches, strict=True) if match} == chosen


def test_no_invisible_new_or_combining_character_is_settled() -> None:
    assert settled(folds=True) < settled()
    assert not settled() & set(" \t\n\r\0\x0b\x7f\x85\xa0\xad\u200b\u2028\u3000\u0301\ufeff\ufffd\u0378²½")
    assert set("abcABC019.,'\"ÄßéжЖ中あ—“€") <= settled()
    assert set("ß²…") & settled(folds=True) == set()


@pytest.mark.needs("torchtext")
def test_torchtext_cuts_and_lowers_clips_characters_as_tokenizers_does() -> None:
    step = ClipBpe(**ClipBpe.examples[0].params)
    with_torchtext, whole = step._host(step._torchtext(), step._tokenizers()), step._tokenizers()
    texts = [f"a{c}B {c}{c}1's" for c in sorted(clip_plain())]
    assert [text for text in texts if with_torchtext(text) != whole(text)] == []
    assert settled() - clip_plain() == set("\u0374\u037e\u0387\u03a3")  # three change in NFC
