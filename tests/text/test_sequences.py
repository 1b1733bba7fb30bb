"""add_tokens, truncate and pad: against torchtext and keras-hub, on ids, tokens and batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from text.texts import TEXT_OPS, Run
from tokenizers import BertWordPieceTokenizer, Tokenizer, models, pre_tokenizers

from pipelines.errors import SpecError
from pipelines.native import to_native, to_numpy
from pipelines.spec import TEXT, Axis, Spec
from pipelines.step import Step
from pipelines.text import AddTokens, Pad, Truncate, Wordpiece
from pipelines.text._seams import EXAMPLES, TOKENS, ids

IDS = ids(1000)
SEQUENCES = st.lists(st.integers(0, 999), max_size=12)


def apply(framework: str, step: Step, value: Any, spec: Spec = IDS) -> Any:
    """One value through a step, as NumPy."""
    return to_numpy(step.bind(framework, spec)(to_native(value, spec, framework)), step.out_spec(spec))


@pytest.mark.needs("torchtext")
@given(sequence=SEQUENCES, length=st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_together_they_are_torchtexts_transforms(framework: str, sequence: list[int], length: int) -> None:
    import torch
    from torchtext import transforms

    expected = transforms.Sequential(
        transforms.Truncate(length), transforms.AddToken(101), transforms.AddToken(102, begin=False)
    )(sequence)
    padded = transforms.PadTransform(length + 2, 7)(torch.tensor(expected))
    value: Any = np.array(sequence, dtype=np.int64)
    spec = IDS
    for step in (Truncate(length=length), AddTokens(begin=101, end=102), Pad(length=length + 2, value=7)):
        value, spec = apply(framework, step, value, spec), step.out_spec(spec)
    assert value.dtype == np.int64
    assert value.tolist() == padded.tolist()
    assert spec.shape == (length + 2,)
    assert spec.is_fixed


def test_together_they_are_berts_input(
    framework: str, files: Path, run: Run, naughty: list[str], news: list[str]
) -> None:
    path = files / "bert_base_uncased_vocab.txt"
    texts = [*naughty[:200], *news[:200]]
    value: list[Any] = texts
    spec = TEXT
    for step in (
        Wordpiece(vocabulary=path),
        Truncate(length=46),
        AddTokens(begin="[CLS]", end="[SEP]", vocabulary=path),
        Pad(length=48),
    ):
        value, spec = run(framework, step, value, spec), step.out_spec(spec)
    oracle = BertWordPieceTokenizer(str(path))
    oracle.enable_truncation(48)
    oracle.enable_padding(length=48)
    assert value == [encoding.ids for encoding in oracle.encode_batch(texts)]


@pytest.mark.parametrize("length", [3, 8] if TEXT_OPS else [])
def test_together_they_are_keras_hubs_packer(length: int) -> None:
    import keras_hub
    import tensorflow as tf

    sequences = [[], [5], [5, 6, 7, 8, 9, 10, 11]]
    packer = keras_hub.layers.StartEndPacker(length, start_value=101, end_value=102, pad_value=7)
    for sequence in sequences:
        value: Any = np.array(sequence, dtype=np.int64)
        spec = IDS
        for step in (Truncate(length=length - 2), AddTokens(begin=101, end=102), Pad(length=length, value=7)):
            value, spec = apply("tensorflow", step, value, spec), step.out_spec(spec)
        assert value.tolist() == packer(tf.constant(sequence, tf.int64)).numpy().tolist()


def test_tokens(framework: str) -> None:
    for words in ([], ["a"], ["a", "ß", "c", "d"]):
        assert apply(framework, AddTokens(begin="<s>", end="é"), words, TOKENS) == ["<s>", *words, "é"]
        assert apply(framework, Truncate(length=2), words, TOKENS) == words[:2]
        assert apply(framework, Pad(length=4), words, TOKENS) == [*words, *["<pad>"] * (4 - len(words))]


def test_at_the_other_end_and_as_a_mask(framework: str) -> None:
    """As generation takes its prompts: the last tokens, padding before them, and the mask that tokenizers gives."""
    oracle = Tokenizer(models.WordLevel({f"w{i}": i for i in range(1000)}, unk_token="w0"))
    oracle.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    oracle.enable_truncation(4, direction="left")
    oracle.enable_padding(length=6, pad_id=7, direction="left")
    cut = Truncate(length=4, side="left")
    for sequence in ([], [5], [5, 6, 7, 8], [5, 6, 7, 8, 9, 10, 11]):
        expected = oracle.encode(" ".join(f"w{i}" for i in sequence))
        kept = apply(framework, cut, np.array(sequence, np.int64))
        assert apply(framework, Pad(length=6, value=7, side="left"), kept).tolist() == expected.ids
        assert apply(framework, Pad(length=6, side="left", gives="mask"), kept).tolist() == expected.attention_mask
        words = [str(i) for i in kept]
        assert (
            apply(framework, Pad(length=6, side="left", gives="mask"), words, TOKENS).tolist()
            == expected.attention_mask
        )
        shown = apply(framework, Pad(length=6, side="left"), words, TOKENS)
        assert shown == [*["<pad>"] * (6 - len(words)), *words]
    assert Pad(length=6, gives="mask").out_spec(TOKENS) == Spec("int64", (Axis("token", 6),), "mask", (0, 1))


def test_a_token_is_named_in_whatever_file_the_tokenizer_has(framework: str) -> None:
    files = {
        "</s>": EXAMPLES / "sentencepiece.model",
        "toile": EXAMPLES / "encoder.json",
        "[SEP]": EXAMPLES / "wordpiece.txt",
    }
    model = sentencepiece.SentencePieceProcessor(model_file=str(files["</s>"]))
    wanted = {
        "</s>": model.piece_to_id("</s>"),
        "toile": json.loads(files["toile"].read_text())["toile"],
        "[SEP]": files["[SEP]"].read_text().split("\n").index("[SEP]"),
    }
    for name, path in files.items():
        found = apply(framework, AddTokens(end=name, vocabulary=path), np.array([1], np.int64))
        assert found.tolist() == [1, wanted[name]]
        assert (
            apply(framework, Pad(length=2, value=name, vocabulary=path), np.zeros(0, np.int64)).tolist()
            == [wanted[name]] * 2
        )
        with pytest.raises(SpecError, match=f"'no such' is not in .*{path.name}"):
            Pad(length=2, value="no such", vocabulary=path).out_spec(IDS)


def test_batches_of_fixed_length(framework: str) -> None:
    batch = np.arange(24, dtype=np.int64).reshape(2, 3, 4)
    expected = {
        Truncate(length=3): batch[..., :3],
        Pad(length=6, value=9): np.pad(batch, ((0, 0), (0, 0), (0, 2)), constant_values=9),
        AddTokens(begin=5, end=6): np.pad(batch, ((0, 0), (0, 0), (1, 1)), constant_values=((0, 0), (0, 0), (5, 6))),
        AddTokens(end=6): np.pad(batch, ((0, 0), (0, 0), (0, 1)), constant_values=6),
    }
    for step, result in expected.items():
        assert apply(framework, step, batch, ids(1000, 4)).tolist() == result.tolist()


def test_a_longer_sequence_is_not_padded(framework: str) -> None:
    with pytest.raises(Exception, match=r"longer than 3 tokens; put text\.truncate before"):
        apply(framework, Pad(length=3), np.arange(4))
    with pytest.raises(Exception, match=r"longer than 3 tokens; put text\.truncate before"):
        apply(framework, Pad(length=3), list("abcd"), TOKENS)


@pytest.mark.parametrize(
    ("step", "spec", "message"),
    [
        (Pad(length=3), ids(9, 4), "length=3 must be >= 4"),
        (Pad(length=3, value="x"), IDS, "got the token 'x'; name its vocabulary"),
        (Pad(length=3, value=0), TOKENS, "the id 0 cannot be added"),
        (Pad(length=3, value=1000), IDS, "the id 1000 cannot be added"),
        (AddTokens(begin=1000), IDS, "the id 1000 cannot be added"),
        (AddTokens(end=1), TOKENS, "the id 1 cannot be added"),
        (AddTokens(end="[SEP]"), IDS, "name its vocabulary"),
        (Truncate(length=3), TEXT, "expected axes ending in"),
        (Truncate(length=3), Spec("float32", IDS.axes), "expected int64 or text"),
    ],
)
def test_seams(step: Step, spec: Spec, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        step.out_spec(spec)


def test_sizes_that_are_known() -> None:
    assert Truncate(length=3).out_spec(ids(9, 5)).shape == (3,)
    assert Truncate(length=9).out_spec(ids(9, 5)).shape == (5,)
    assert Truncate(length=9).out_spec(ids(9)).shape == (None,)
    assert AddTokens(begin=1, end=1).out_spec(ids(9, 0)).shape == (2,)
    assert AddTokens(begin=1).out_spec(ids(9)).shape == (None,)


def test_a_name_that_is_not_in_the_vocabulary() -> None:
    path = AddTokens.examples[2].params["vocabulary"]
    step = AddTokens(begin="[CLZ]", vocabulary=path)
    with pytest.raises(SpecError, match=r"'\[CLZ\]' is not in .*; did you mean '\[CLS\]'"):
        step.out_spec(IDS)
    assert step.files() == (Path(path),)


@pytest.mark.parametrize("params", [{}, {"begin": -1}, {"begin": ""}, {"begin": True}, {"end": 1.5}])
def test_parameters(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AddTokens(**params)
