"""Runs of tokens against torchtext and Keras, bytes against keras-hub, and both in whole columns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from text.texts import HARD, TEXT_OPS, Run, different

from pipelines.errors import RecordError
from pipelines.spec import TEXT
from pipelines.step import Step
from pipelines.text import BasicEnglish, Ngrams, Utf8
from pipelines.text._seams import TOKENS

WORDS = st.lists(st.sampled_from(["a", "b", "", "\0", "é", "世 界"]), max_size=7)


@pytest.mark.needs("torchtext")
def test_ngrams_of_news_are_torchtexts(framework: str, run: Run, news: list[str]) -> None:
    from torchtext.data.utils import ngrams_iterator

    tokens = [[], ["one"], *run("torch", BasicEnglish(), news[:200])]
    for most in (1, 2, 4):
        expected = [list(ngrams_iterator(words, most)) for words in tokens]
        assert run(framework, Ngrams(most=most), tokens, TOKENS) == expected


def test_ngrams_are_those_of_kerass_text_vectorization(run: Run) -> None:
    import keras
    import tensorflow as tf

    layer = keras.layers.TextVectorization(standardize=None, ngrams=(2, 3), output_mode="int", vocabulary=["a b"])
    words = ["a", "b", "c", "a", "b"]
    found = run("tensorflow", Ngrams(least=2, most=3), [words], TOKENS)[0]
    ids = layer(tf.constant(" ".join(words))).numpy().tolist()
    assert [2 if run_ == "a b" else 1 for run_ in found] == ids


@given(words=WORDS, least=st.integers(1, 4), more=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_every_run_is_there_once(words: list[str], least: int, more: int) -> None:
    found = Ngrams(least=least, most=least + more, joint="|").bind("torch", TOKENS)(words)
    expected = {n: max(len(words) - n + 1, 0) for n in range(least, least + more + 1)}
    assert [run.count("|") + 1 for run in found] == [n for n, count in expected.items() for _ in range(count)]
    assert all(run in "|".join(words) for run in found)


def test_bytes_are_the_texts(framework: str, run: Run) -> None:
    assert different(list(HARD), run(framework, Utf8(), HARD), [list(text.encode()) for text in HARD]) == []
    assert run(framework, Utf8(first=3), ["aé"]) == [[100, 198, 172]]
    with pytest.raises(RecordError, match="not valid Unicode"):
        Utf8().bind("torch", TEXT)("a\ud800")


@pytest.mark.parametrize("text", ["plain", "Größe 世界 \U0001f680"] * TEXT_OPS)
def test_bytes_are_keras_hubs(framework: str, run: Run, text: str) -> None:
    import keras_hub

    # later releases give an array, earlier ones a tensor
    expected = np.asarray(keras_hub.tokenizers.ByteTokenizer(lowercase=False)(text)).tolist()
    assert run(framework, Utf8(), [text])[0] == expected


def test_a_column_at_once() -> None:
    import tensorflow as tf

    cases: list[tuple[Step, list[object]]] = [
        (Utf8(first=3), ["", "a\0é", "b"]),
        (Ngrams(most=3), [["a", "b", "c"], []]),
    ]
    for step, values in cases:
        spec = TEXT if isinstance(step, Utf8) else TOKENS
        one, rows = step.bind("tensorflow", spec), step.bind_rows("tensorflow", spec)
        assert rows is not None
        column = tf.constant(values) if spec is TEXT else tf.ragged.constant(values, dtype=tf.string)
        alone = [one(tf.constant(value, tf.string)).numpy().tolist() for value in values]
        assert rows(column).to_list() == alone


def test_parameters() -> None:
    with pytest.raises(ValidationError, match="most=2 must be >= least=3"):
        Ngrams(least=3)
