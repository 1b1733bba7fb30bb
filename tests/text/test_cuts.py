"""Steps that cut a text into characters, words and matches: against Python, Unicode's own tests and RE2's copies."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from pydantic import ValidationError
from stacks import holds
from text.texts import HARD, TEXTS, Run, different, no_library

from pipelines import companions
from pipelines.native import to_native, to_numpy
from pipelines.spec import TEXT
from pipelines.step import Step
from pipelines.text import Characters, CodePoints, Regex, Whitespace
from pipelines.text import regex as regex_module
from pipelines.text._characters import WHITESPACE, settled, tabled
from pipelines.text.whitespace import BLANKS

# patterns that mean the same in `re` with its ASCII flag, where no text has other characters
PATTERNS = (
    r"\w+",
    r"\w+|[^\w\s]",
    r"[A-Z][a-z]*",
    r"(?i)a+|b",
    r"\d{1,3}",
    r"(a|ab)(c|bcd)?",
    r"\b\w",
    r"[^a-e]+?x",
    r"x*y",
)


def test_unicodes_own_grapheme_tests(framework: str, data: Path, run: Run) -> None:
    lines = (data / "golden_unicode" / "GraphemeBreakTest.txt").read_text(encoding="utf-8").splitlines()
    cuts = [line.partition("#")[0].strip("÷ \t") for line in lines if line.startswith("÷")]
    expected = [
        ["".join(chr(int(c, 16)) for c in re.findall("[0-9A-F]+", part)) for part in cut.split("÷")] for cut in cuts
    ]
    assert len(expected) == 602
    texts = ["".join(parts) for parts in expected]
    assert different(texts, run(framework, Characters(), texts), expected) == []


def test_each_emoji_is_one_character(framework: str, data: Path, run: Run) -> None:
    lines = (data / "golden_unicode" / "emoji-test.txt").read_text(encoding="utf-8").splitlines()
    emoji = [
        "".join(chr(int(c, 16)) for c in line.split(";")[0].split()) for line in lines if ";" in line.split("#")[0]
    ]
    assert len(emoji) > 4000
    assert different(emoji, run(framework, Characters(), emoji), [[e] for e in emoji]) == []


def test_each_settled_character_is_one_whatever_stands_beside_it(framework: str, run: Run) -> None:
    every = sorted(settled() | set(WHITESPACE))
    parts = [f"{c}a{c}{c}中" for c in every]
    lines = [parts[i : i + 64] for i in range(0, len(parts), 64)]  # a text to each part is mostly the cost of a call
    texts = ["".join(line) for line in lines]
    assert different(texts, run(framework, Characters(), texts), [list(text) for text in texts]) == []
    marked = ["".join(part + "\u0301" for part in line) for line in lines]
    cut = [[c for part in line for c in (*part[:-1], "中\u0301")] for line in lines]
    assert different(marked, run("torch", Characters(), marked), cut) == []


def test_white_space_is_pythons() -> None:
    assert set(BLANKS) == {chr(c) for c in range(0x110000) if chr(c).isspace()}


def test_every_code_point(framework: str, run: Run) -> None:
    every = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    whole = "".join(every)
    assert run(framework, CodePoints(), [whole]) == [list(map(ord, whole))]
    words = " ".join(f"a{c}b" for c in every)
    assert run(framework, Whitespace(), [words]) == [words.split()]


@pytest.mark.parametrize("text", ["a\ud800", "\udfff"])
def test_text_that_is_no_unicode_fails(text: str) -> None:
    import tensorflow as tf

    with pytest.raises(Exception, match="text that is not valid Unicode"):
        CodePoints().bind("torch", TEXT)(text)
    for raw in (text.encode("utf-8", "surrogatepass"), b"\xff", b"a\xc3", b"\xc0\x80"):
        with pytest.raises(tf.errors.InvalidArgumentError, match="text that is not valid Unicode"):
            CodePoints().bind("tensorflow", TEXT)(tf.constant(raw))


@cache
def bound(framework: str, step: Step) -> Callable[[str], Any]:
    """The step on one text, read as NumPy."""
    kernel, out = step.bind(framework, TEXT), step.out_spec(TEXT)
    return lambda text: to_numpy(kernel(to_native(text, TEXT, framework)), out)


@given(texts=TEXTS)
@settings(max_examples=25, deadline=None)
def test_any_text(framework: str, texts: list[str]) -> None:
    white, points, characters = (bound(framework, step) for step in (Whitespace(), CodePoints(), Characters()))
    for text in texts:
        assert white(text) == text.split()
        assert points(text).tolist() == list(map(ord, text))
        assert "".join(characters(text)) == text


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_mean_what_they_mean_in_python(framework: str, pattern: str, run: Run) -> None:
    rng = np.random.default_rng(0)
    compiled = re.compile(pattern, re.ASCII)
    texts = ["".join(rng.choice(list("abcdxyzABX019 _-.\t\n'"), size)) for size in (0, 1, 2, *[17] * 20)]
    matches, between = [], []
    for text in texts:
        found = [m.span() for m in compiled.finditer(text)]
        ends = [0, *(place for span in found for place in span), len(text)]
        matches.append([text[i:j] for i, j in found])
        between.append([text[i:j] for i, j in zip(ends[::2], ends[1::2], strict=True) if i < j])
    assert different(texts, run(framework, Regex(pattern=pattern), texts), matches) == []
    assert different(texts, run(framework, Regex(pattern=pattern, mode="split"), texts), between) == []


@pytest.mark.parametrize(
    ("pattern", "mode"),
    [
        (r"\p{L}+|\p{N}+|[^\s\p{L}\p{N}]+", "match"),
        (r"\p{Lu}|\p{Han}", "split"),
        (r"(?i)[a-zäöüß]+|ſ", "match"),
        (".", "match"),
        (r"\PL", "split"),
        (r"\s+\S|[[:punct:]]", "match"),
    ],
)
def test_every_copy_of_re2_gives_the_same(
    framework: str,
    run: Run,
    pattern: str,
    mode: Literal["match", "split"],
    naughty: list[str],
    udhr: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = ["".join(sorted(tabled())), *naughty[::16], *udhr[::160], *HARD[::9], "a\x01b", "\x01\ue000\0"]
    step = Regex(pattern=pattern, mode=mode)
    expected = [step._any_text(text) for text in texts]
    assert different(texts, run(framework, step, texts), expected) == []
    monkeypatch.setattr(companions, "why_not", no_library)
    plain = [text for text in texts[::10] if text]
    assert run("torch", step, plain) == [step._any_text(text) for text in plain]


# all classes of RE2 that characters can be in, but scripts that have come since
CLASSES = (
    "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf "
    "Arabic Armenian Bengali Bopomofo Braille Buhid Canadian_Aboriginal Cherokee Common Cyrillic Devanagari "
    "Ethiopic Georgian Greek Gujarati Gurmukhi Han Hangul Hanunoo Hebrew Hiragana Inherited Kannada Katakana "
    "Khmer Lao Latin Malayalam Mongolian Myanmar Ogham Oriya Runic Sinhala Syriac Tagalog Tagbanwa Tamil "
    "Telugu Thaana Thai Tibetan Yi"
)


def test_every_copy_of_re2_has_the_same_tables_for_these_characters(framework: str) -> None:
    every = "".join(sorted(tabled()))
    assert len(every) > 49_000
    assert set("각नमस्ते\U0001f680\u200d\u200c\t") <= tabled()
    assert not tabled() & set("\0\1\x0b\u0378\u08c8\ue000\ud800")
    for name in CLASSES.split():
        step = Regex(pattern=rf"\p{{{name}}}+")  # runs of them, which are few
        assert bound(framework, step)(every) == step._any_text(every), name


def test_texts_that_pyarrow_must_cut_are_handed_to_it_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads the pattern anew for each call: 6 ms with such classes."""
    step, calls = Regex(pattern=r"\p{L}+|\p{N}+"), []
    replace = regex_module._replace
    monkeypatch.setattr(regex_module, "_replace", lambda texts, *rest: calls.append(texts) or replace(texts, *rest))
    one, rows = step.bind("torch", TEXT), step.bind_rows("torch", TEXT)
    assert one("각 नमस्ते 1 \U0001f680") == ["각", "नमस", "त", "1"]
    assert bool(calls) is not holds("torchtext")  # whose own copy of RE2 may have such a text
    calls.clear()
    texts = ["a\u08c8 1", "안녕", "", "\u08c8\1b", "a\u08c8 1"]
    assert rows is not None
    assert rows(texts) == [["a\u08c8", "1"], ["안녕"], [], ["\u08c8", "b"], ["a\u08c8", "1"]] == list(map(one, texts))
    assert calls[0] == ([texts[0], texts[3], texts[4]] if holds("torchtext") else texts)


def test_a_pattern_that_backtracks_for_ever_elsewhere_takes_no_time(framework: str, run: Run) -> None:
    start = time.perf_counter()
    for text in ("a" * 30_000, "a" * 30_000 + "é\u0378"):
        assert run(framework, Regex(pattern=r"(a+)+b|(a|aa)+c"), [text]) == [[]]
    assert time.perf_counter() - start < 20  # `re` would need longer than the universe is old


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", r"expected a pattern of RE2, got '\(': missing \)"),
        (r"(?=a)", "invalid perl operator"),
        (r"(a)\1", "invalid escape sequence"),
        ("x*", "takes at least one character"),
        ("^", "takes at least one character"),
        (r"\C", r"without \\C and without names"),
        (r"(?P<a>b)", r"without \\C and without names"),
        ("", "at least 1 character"),
    ],
)
def test_patterns_that_cannot_be_are_refused(pattern: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Regex(pattern=pattern)
    assert Regex(pattern=r"\\C").pattern == r"\\C"  # a backslash and a C
