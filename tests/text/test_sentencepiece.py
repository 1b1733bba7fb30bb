"""SentencePiece ids: those of the library, in both frameworks, whatever else is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece
from text.texts import HARD, TEXT_OPS, Run, different

from pipelines.errors import SpecError
from pipelines.spec import TEXT
from pipelines.text import Sentencepiece


@pytest.mark.parametrize("model", ["spm_example.model", "test_model.model", "test_ja_model.model"])
def test_real_texts(
    framework: str, data: Path, run: Run, naughty: list[str], udhr: list[str], news: list[str], model: str
) -> None:
    (path,) = [*data.glob(f"text_tokenizer_files/{model}"), *data.glob(f"text_sentencepiece/python/test/{model}")]
    texts = [*naughty, *udhr[::3], *news[:600], *HARD]
    library = sentencepiece.SentencePieceProcessor(model_file=str(path))
    step = Sentencepiece(model=path)
    assert different(texts, run(framework, step, texts), library.encode(texts)) == []
    assert step.out_spec(TEXT).range == (0, library.get_piece_size() - 1)


def test_ids_lead_back_to_the_text(framework: str, run: Run) -> None:
    model = Sentencepiece.examples[0].params["model"]
    library = sentencepiece.SentencePieceProcessor(model_file=model)
    texts = [
        "A red circle above",
        "Größe, 100,000",
        "我能吞下",
        "\U0001f680 नमस्ते",
    ]  # bytes stand in for what is unknown
    assert [library.decode(ids) for ids in run(framework, Sentencepiece(model=model), texts)] == texts


def torchtext_ids(path: Path, text: str) -> list[int]:
    from torchtext.data.functional import load_sp_model

    return list(load_sp_model(str(path)).EncodeAsIds(text))


def tensorflow_text_ids(path: Path, text: str) -> list[int]:
    import tensorflow as tf
    import tensorflow_text

    found = tensorflow_text.SentencepieceTokenizer(model=path.read_bytes()).tokenize(tf.constant(text))
    return list(found.numpy().tolist())


COMPANIONS = [pytest.param(torchtext_ids, marks=pytest.mark.needs("torchtext")), *[tensorflow_text_ids] * TEXT_OPS]


@pytest.mark.parametrize("companion", COMPANIONS)
def test_companion_libraries_break_ties_otherwise(data: Path, companion: Callable[[Path, str], list[int]]) -> None:
    """Why neither is used: the day one agrees, this test says so."""
    path = data / "text_sentencepiece" / "python" / "test" / "test_ja_model.model"
    library = sentencepiece.SentencePieceProcessor(model_file=str(path)).encode("1,000.00")
    found = companion(path, "1,000.00")
    assert found != library
    assert sorted(found) == sorted(library)


@pytest.mark.parametrize("content", [b"", b"\0\1\2", b"[UNK]\n[CLS]\n"])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.model"
    path.write_bytes(content)
    with pytest.raises(SpecError, match=r"x\.model is not a SentencePiece model"):
        Sentencepiece(model=path).out_spec(TEXT)
