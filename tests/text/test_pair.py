"""Sentence pairs against the tokenizers library's, which is what BERT is fed in Transformers."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from text.texts import different
from tokenizers import BertWordPieceTokenizer, Tokenizer, models, pre_tokenizers, processors

import pipelines
from pipelines.errors import ConfigError, SpecError
from pipelines.native import to_native, to_numpy
from pipelines.spec import TEXT, Axis, Spec
from pipelines.text import Pair, Wordpiece
from pipelines.text._seams import TOKENS, ids

VOCABULARY = Wordpiece.examples[0].params["vocabulary"]
IDS = ids(1000)


def oracle(path: Path, length: int) -> Any:
    made = BertWordPieceTokenizer(str(path))
    made.enable_truncation(length, strategy="longest_first")
    return made


def call(framework: str, step: Pair, *values: Any, spec: Spec = IDS) -> Any:
    """What the step gives for two values."""
    given = [to_native(value, spec, framework) for value in values]
    return to_numpy(step.bind(framework, spec, spec)(*given), step.out_spec(spec, spec))


def test_pairs_of_real_sentences(framework: str, files: Path, reviews: list[str], naughty: list[str]) -> None:
    path = files / "bert_base_uncased_vocab.txt"
    tokenizer = Wordpiece(vocabulary=path)
    texts = [*reviews[:60], *naughty[::12], "", "x"]
    pairs = list(zip(texts, texts[7:] + texts[:7], strict=True))
    tokenize, spec = tokenizer.bind(framework, TEXT), tokenizer.out_spec(TEXT)
    made = [[to_numpy(tokenize(to_native(text, TEXT, framework)), spec) for text in pair] for pair in pairs]
    for length in (9, 32):
        encoded = oracle(path, length).encode_batch(pairs)
        for gives, expected in (("ids", [e.ids for e in encoded]), ("segments", [e.type_ids for e in encoded])):
            kernel = Pair(length=length, vocabulary=path, gives=gives).bind(framework, spec, spec)
            found = [
                to_numpy(kernel(*(to_native(value, spec, framework) for value in pair)), spec).tolist() for pair in made
            ]
            assert different([str(pair) for pair in pairs], found, expected) == []


def test_every_pair_of_lengths_is_cut_as_the_library_cuts_it(framework: str, tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.txt"
    path.write_text("[UNK]\n[CLS]\n[SEP]\n" + "".join(f"{w}{i}\n" for w in "ab" for i in range(8)), encoding="utf-8")
    spec = ids(19)
    for length in (5, 8, 9):
        library = oracle(path, length)
        kernels = [
            Pair(length=length, vocabulary=path, gives=gives).bind(framework, spec, spec)
            for gives in ("ids", "segments")
        ]
        for n, m in product(range(8), range(8)):
            values = np.arange(3, 3 + n), np.arange(11, 11 + m)
            expected = library.encode(" ".join(f"a{i}" for i in range(n)), " ".join(f"b{i}" for i in range(m)))
            given = [to_native(value, spec, framework) for value in values]
            found = [to_numpy(kernel(*given), spec).tolist() for kernel in kernels]
            assert found == [expected.ids, expected.type_ids], (length, n, m)
            fixed = ids(19, n), ids(19, m)
            assert Pair(length=length, vocabulary=path).out_spec(*fixed).shape == (len(expected.ids),)


def test_tokens_and_leading_axes(framework: str) -> None:
    step = Pair(length=7)
    assert call(framework, step, ["a", "b", "c"], ["d", "e"], spec=TOKENS) == [
        "[CLS]",
        "a",
        "b",
        "[SEP]",
        "d",
        "e",
        "[SEP]",
    ]
    assert call(framework, step, [], [], spec=TOKENS) == ["[CLS]", "[SEP]", "[SEP]"]
    spec = Spec("int64", (Axis("sentence"), Axis("token")), range=(0, 99))
    found = call(framework, Pair(length=6, begin=1, separator=2), [[5, 6], [7, 8]], [[9, 9], [8, 8]], spec=spec)
    assert found.tolist() == [[1, 5, 2, 9, 9, 2], [1, 7, 2, 8, 8, 2]]
    step = Pair(length=6, begin=1, separator=2, gives="segments")
    assert call(framework, step, [[5, 6], [7, 8]], [[9, 9], [8, 8]], spec=spec).tolist() == [[0, 0, 0, 1, 1, 1]] * 2


def test_robertas_pairs_are_those_of_its_own_processing(framework: str) -> None:
    words = ["<s>", "<pad>", "</s>", "<unk>", *(f"w{i}" for i in range(96))]
    library = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    library.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    library.enable_truncation(11, strategy="longest_first")
    step = Pair(length=11, begin=0, separator=2, between=2)
    for n, m in product((0, 1, 4, 9), repeat=2):
        a, b = [*range(4, 4 + n)], [*range(40, 40 + m)]
        expected = library.encode(*(" ".join(words[i] for i in part) for part in (a, b))).ids
        assert call(framework, step, np.array(a, np.int64), np.array(b, np.int64)).tolist() == expected
        assert step.out_spec(ids(99, n), ids(99, m)).shape == (len(expected),)


def test_what_cannot_be_joined_is_refused() -> None:
    step = Pair(length=9, begin=1, separator=2)
    with pytest.raises(SpecError, match=r"expected two values \(from: \[a, b\]\), got 1"):
        step.out_spec(IDS)
    with pytest.raises(SpecError, match=r"expected two sequences of the same kind, got int64.*999.* and int64.*99"):
        step.out_spec(IDS, ids(100))
    with pytest.raises(SpecError, match="of the same kind"):
        Pair(length=9).out_spec(IDS, TOKENS)
    with pytest.raises(SpecError, match=r"the token '\[CLS\]'; name its vocabulary, or give its id"):
        Pair(length=9).out_spec(IDS, IDS)
    with pytest.raises(SpecError, match="the id 1000 cannot be added"):
        Pair(length=9, begin=1000, separator=2).out_spec(IDS, IDS)
    with pytest.raises(ValidationError, match="greater than or equal to 5"):
        Pair(length=4)


CONFIG = """\
framework: torch
source:
  manifest: {path: pairs.csv}
fields:
  ids:
    from: [premise, hypothesis]
    steps: &both
      - text.wordpiece: {vocabulary: VOCABULARY}
      - text.pair: {length: 16, vocabulary: VOCABULARY}
      - text.pad: {length: 16}
  segments:
    from: [premise, hypothesis]
    steps:
      - text.wordpiece: {vocabulary: VOCABULARY}
      - text.pair: {length: 16, vocabulary: VOCABULARY, gives: segments}
      - text.pad: {length: 16}
batch: {size: 3}
"""


def test_a_config_of_pairs(framework: str, tmp_path: Path) -> None:
    rows = [("A red circle", "a blue square."), ("the quick brown fox " * 4, "right?"), ("", "window"), ("a", "")]
    lines = "".join(f'"{a}","{b}"\n' for a, b in rows)
    (tmp_path / "pairs.csv").write_text(f"premise,hypothesis\n{lines}", encoding="utf-8")
    path = tmp_path / "pairs.yaml"
    path.write_text(CONFIG.replace("VOCABULARY", str(VOCABULARY)), encoding="utf-8")
    library = oracle(VOCABULARY, 16)
    library.enable_padding(length=16)
    expected = library.encode_batch(rows)
    batches = list(pipelines.load(path, framework=framework, device="cpu"))
    for name, wanted in (("ids", [e.ids for e in expected]), ("segments", [e.type_ids for e in expected])):
        assert np.concatenate([np.asarray(batch[name]) for batch in batches]).tolist() == wanted
    pipe = pipelines.load(path, framework=framework, device="cpu")
    one = pipe.apply({"premise": rows[0][0], "hypothesis": rows[0][1]})
    assert np.asarray(one["ids"]).tolist() == expected[0].ids


def test_two_values_that_nothing_joins_are_a_fault_of_the_config(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("premise,hypothesis\na,b\n", encoding="utf-8")
    path = tmp_path / "pairs.yaml"
    path.write_text(
        CONFIG.replace("VOCABULARY", str(VOCABULARY)).replace("[premise, hypothesis]", "premise", 1), encoding="utf-8"
    )
    with pytest.raises(ConfigError, match=r"pairs\.yaml:9: text\.pair: expected two values"):
        pipelines.load(path)
