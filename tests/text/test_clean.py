"""Unicode forms against the consortium's own test, and the other options by what they must do."""

from __future__ import annotations

import bz2
import unicodedata
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text.texts import HARD, Run, different

from pipelines.spec import TEXT
from pipelines.text import Clean

FORMS = ("NFC", "NFD", "NFKC", "NFKD")


def normalization_test(data: Path) -> list[list[str]]:
    """Source, NFC, NFD, NFKC and NFKD of each line whose characters this Python knows."""
    text = bz2.decompress((data / "golden_unicode" / "NormalizationTest.txt.bz2").read_bytes()).decode()
    rows = [line.split(";")[:5] for line in text.splitlines() if line and line[0] not in "#@"]
    columns = [["".join(chr(int(code, 16)) for code in cell.split()) for cell in row] for row in rows]
    # a character newer than this Python's Unicode tables is passed on unchanged
    known = [row for row in columns if not any(unicodedata.category(c) == "Cn" for c in "".join(row))]
    assert len(known) > 0.97 * len(columns) > 18_000
    return known


@pytest.mark.parametrize("form", FORMS)
def test_the_consortiums_test(framework: str, data: Path, run: Run, form: str) -> None:
    rows = normalization_test(data)
    if framework == "tensorflow":
        rows = rows[::6]  # one function serves both; the graph costs more a text
    texts = [row[0] for row in rows]
    expected = [row[1 + FORMS.index(form)] for row in rows]
    assert different(texts, run(framework, Clean(form=form), texts), expected) == []


CASES: list[tuple[dict[str, Any], str, str]] = [
    ({}, " \u00c9\0 ", " \u00c9\0 "),
    ({"lower": True}, "ÅΑΣ İ", "åας i\u0307"),
    ({"accents": "strip"}, "Crème brûlée, Ñandú, ガ", "Creme brulee, Nandu, カ"),
    ({"accents": "strip"}, "한국어 Å", "한국어 A"),  # letters that only decompose come back together
    ({"accents": "strip", "form": "NFD"}, "한é", unicodedata.normalize("NFD", "한") + "e"),
    ({"accents": "strip", "lower": True}, "İSTANBUL", "istanbul"),
    ({"form": "NFKC", "lower": True}, "™ ﬁ ² Ⅷ", "tm fi 2 viii"),
    ({"whitespace": "collapse"}, "\u2003a \t\u00a0b\x1f\u2028c\n", "a b c"),
    ({"whitespace": "collapse"}, " \n ", ""),
]


@pytest.mark.parametrize(("options", "text", "expected"), CASES)
def test_options(framework: str, run: Run, options: dict[str, Any], text: str, expected: str) -> None:
    assert run(framework, Clean(**options), [text]) == [expected]


@pytest.mark.parametrize("form", ["none", *FORMS])
@given(text=st.text(max_size=30) | st.sampled_from(HARD))
@settings(max_examples=60, deadline=None)
def test_the_result_is_in_the_form_and_cleaning_it_again_changes_nothing(form: Any, text: str) -> None:
    for lower, strip, collapse in product((False, True), repeat=3):
        clean = Clean(
            form=form,
            lower=lower,
            accents="strip" if strip else "keep",
            whitespace="collapse" if collapse else "keep",
        ).bind_numpy(TEXT)
        once = clean(text)
        assert form == "none" or unicodedata.is_normalized(form, once)
        assert clean(once) == once
