"""Strings that tokenizers stumble over, by hand and by hypothesis, and what is done with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from stacks import holds

TEXT_OPS = holds("tensorflow_text") and holds("keras_hub")
"""Whether tensorflow-text and keras-hub exist for this Python beside this TensorFlow."""
Run = Callable[..., list[Any]]
"""The fixture `run`: (framework, step, values, spec) to what the step gives for each value."""

CONTROLS = ("", " ", "\0", "a\0b", "\x01 \x7f", "a\x0bb\x0cc", "\x1cx\x1fy", "\u0085", "a\u00adb", "\ufeffa", "\ufffd")
SPACES = (
    "  two  spaces  ",
    "\n\n1",
    "a\n\nb",
    "a \n b\r\n",
    "\t\tx",
    "  's",
    "b  'll",
    "\u00a0\u2003x\u3000\u2028y",
    "   ",
)
WIDE_SPACES = ("\u00a0\u2003x\u3000\u2028y", " \u2028b", "1 \u00a0", "\u1680.")
EMOJI = ("\U0001f469\u200d\U0001f680", "\u263a\ufe0f", "\U0001f1e9\U0001f1ea")
CASES = ("ΑΣ ΣΑΣ Σ", "İstanbul ıI", "Straße ﬁn ſo ŉ", "DŽ ǅ", "ϒ Ω Å", "Ａｂｃ", "²½Ⅷ①")
MARKS = ("e\u0301a\u0323\u0307", "=\u0338", "\u0301", "각\u1100\u1161", "ガ", "नमस्ते", "\u302e\u302f")
SCRIPTS = (
    "我能吞下玻璃而不傷身體。",
    "カタカナひらがな",
    "안녕 세계",
    "สวัสดี",
    "שלום",
    "١٢٣ ६६",
    "\U0001d7d8\U0001f469\u200d\U0001f680",
)
NEW = ("\u0378", "\u08c8\u08c7", "\ua7c0\u2c2f", "\U0001fae8", "\U00010597", "\ue000", "\U000e0001", "\u180e")
SPECIAL = ("[CLS] a [SEP]b[MASK]", "x[UNK]y[PAD]", "[cls]", "[CLS", "<|endoftext|> <s>", "##ing", "\u2581a")
LONG = tuple(c * n + end for c in "aéжß中ガ.각" for n in (33, 34, 50, 51, 99, 100, 101, 102) for end in ("", " b"))
HARD = (*CONTROLS, *SPACES, *WIDE_SPACES, *CASES, *MARKS, *SCRIPTS, *EMOJI, *NEW, *SPECIAL, *LONG)

PARTS = st.sampled_from(
    [
        *CONTROLS,
        *SPACES,
        *WIDE_SPACES,
        *CASES,
        *MARKS,
        *SCRIPTS,
        *EMOJI,
        *NEW,
        *SPECIAL,
        "don't",
        "I'll",
        "'",
        " ",
        "\n",
    ]
)
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TEXTS = st.lists(st.lists(st.one_of(PARTS, ANY), max_size=5).map("".join), min_size=1, max_size=20)


def different(texts: list[str], found: list[Any], expected: list[Any]) -> list[tuple[str, Any, Any]]:
    """Every text for which something else was found than expected."""
    assert len(texts) == len(found) == len(expected) > 0
    return [row for row in zip(texts, found, expected, strict=True) if row[1] != row[2]]


def no_library(name: str) -> str:
    """In the place of `companions.why_not`: as if no companion library could be loaded."""
    return f"{name} is hidden by a test"
