"""basic_english against torchtext's published output and torchtext itself."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text.texts import HARD, TEXTS, Run, different, no_library

from pipelines import companions
from pipelines.native import to_native, to_numpy
from pipelines.spec import TEXT
from pipelines.step import Kernel
from pipelines.text import BasicEnglish
from pipelines.text._seams import TOKENS

MARKUP = st.lists(st.sampled_from([*"<br />\"'.;:,()!? aΣ\t", "<br />", "İ", "\u2003"]), max_size=25).map("".join)


def test_the_published_output_over_ag_news(framework: str, data: Path, files: Path, run: Run) -> None:
    golden = (files / "text_normalization_ag_news_ref_results.test").read_text(encoding="utf-8").splitlines()
    lines = (data / "text_ag_news" / "test.csv").read_text(encoding="utf-8").splitlines()
    expected = [line.removeprefix("__label__").split() for line in golden]
    assert len(lines) == 7600
    assert different(lines, run(framework, BasicEnglish(), lines), expected) == []


def reference(text: str) -> list[str]:
    """The function whose meaning the step has."""
    from torchtext.data.utils import get_tokenizer

    tokens: list[str] = get_tokenizer("basic_english")(text)
    return tokens


@pytest.mark.needs("torchtext")
@pytest.mark.parametrize("hidden", [False, True], ids=["with libraries", "without"])
def test_hard_texts(
    framework: str, run: Run, naughty: list[str], udhr: list[str], hidden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [*naughty, *udhr, *HARD]
    expected = [reference(text) for text in texts]
    if hidden:
        monkeypatch.setattr(companions, "why_not", no_library)
    assert different(texts, run(framework, BasicEnglish(), texts), expected) == []


@cache
def bound(framework: str) -> Kernel:
    kernel: Kernel = BasicEnglish().bind(framework, TEXT)
    return kernel


@pytest.mark.needs("torchtext")
@given(texts=st.one_of(TEXTS, st.lists(MARKUP, min_size=1, max_size=30)))
@settings(max_examples=60, deadline=None)
def test_any_text(framework: str, texts: list[str]) -> None:
    found = [to_numpy(bound(framework)(to_native(text, TEXT, framework)), TOKENS) for text in texts]
    assert different(texts, found, [reference(text) for text in texts]) == []
