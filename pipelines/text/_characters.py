"""The characters on which every library's Unicode tables agree, and patterns made of them.

The libraries carry Unicode tables of different versions, and disagree on characters that are new,
unassigned, invisible or white space beyond ASCII. A text of these characters alone may take a
library's fast path; any other text takes the path that is right for all texts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache
from itertools import groupby

WHITESPACE = "\t\n\r "
# assigned long ago and settled; a test compares every character of them with each library
_BLOCKS = (
    (0x20, 0x7E),  # ASCII
    (0xA1, 0x2AF),  # Latin-1, Latin Extended A and B, IPA
    (0x370, 0x52F),  # Greek, Cyrillic
    (0x531, 0x556),  # Armenian
    (0x561, 0x587),
    (0x5D0, 0x5EA),  # Hebrew letters
    (0x621, 0x64A),  # Arabic letters
    (0x904, 0x939),  # Devanagari letters
    (0xE01, 0xE30),  # Thai letters
    (0x10D0, 0x10F0),  # Georgian
    (0x1E00, 0x1EFF),  # Latin Extended Additional
    (0x2010, 0x205E),  # General punctuation
    (0x20A0, 0x20B5),  # Currency
    (0x2190, 0x22FF),  # Arrows, mathematical operators
    (0x2500, 0x26FF),  # Box drawing, shapes, symbols
    (0x3001, 0x301F),  # CJK punctuation
    (0x3041, 0x3096),  # Hiragana
    (0x30A1, 0x30FE),  # Katakana
    (0x4E00, 0x9FA5),  # Han
    (0xFF01, 0xFF5E),  # Full-width ASCII
)


# emoji of Unicode 10 and before, which are in many texts
_EMOJI = ((0x1F300, 0x1F6D2), (0x1F910, 0x1F93E), (0x1F940, 0x1F96B), (0x1F980, 0x1F997))


@cache
def tabled() -> frozenset[str]:
    """Characters that every copy of RE2 holds in the same classes: those of one category since Unicode 3.2, and emoji.

    White space among them, and what joins emoji and letters; no other controls and nothing for private use.
    """
    of_old = unicodedata.ucd_3_2_0.category
    kept = (chr(code) for code in range(0x10000) if of_old(chr(code)) not in ("Cn", "Co", "Cs", "Cc"))
    old = {c for c in kept if of_old(c) == unicodedata.category(c)}
    return frozenset(old | set(WHITESPACE) | {chr(code) for first, last in _EMOJI for code in range(first, last + 1)})


@cache
def settled(*, folds: bool = False) -> frozenset[str]:
    """Letters, decimal digits, punctuation and symbols that all libraries treat alike, without white space.

    With `folds`, only those whose NFKC case folding is no more than lower case and decomposition.
    """
    found = (chr(code) for first, last in _BLOCKS for code in range(first, last + 1))
    kept = (c for c in found if unicodedata.category(c)[0] in "LPS" or unicodedata.category(c) == "Nd")
    return frozenset(c for c in kept if not folds or _folds_plainly(c))


def character_class(characters: Iterable[str]) -> str:
    """A bracket expression that matches one of `characters`, for `re` and for RE2 alike."""
    runs = groupby(enumerate(sorted(map(ord, set(characters)))), lambda pair: pair[1] - pair[0])
    ranges = []
    for _, run in runs:
        codes = [code for _, code in run]
        ranges.append(f"{_escaped(codes[0])}-{_escaped(codes[-1])}" if len(codes) > 1 else _escaped(codes[0]))
    return f"[{''.join(ranges)}]"


def _escaped(code: int) -> str:
    return rf"\x{code:02x}" if code < 0x80 else chr(code)


def _folds_plainly(c: str) -> bool:
    return unicodedata.normalize("NFKD", c) == unicodedata.normalize("NFD", c) and c.casefold() == c.lower()
