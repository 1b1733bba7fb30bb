"""Oracles of the text steps."""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
from contract.values import Record
from oracle.base import NoOracle, Oracle
from tokenizers import ByteLevelBPETokenizer
from tokenizers.implementations import BertWordPieceTokenizer

from pipelines.spec import Spec
from pipelines.step import Identical

SAME = Identical("tokens are the same or they are not")


def _basic_english(step: Any, x: Spec, record: Record) -> Any:
    from torchtext.data.utils import get_tokenizer

    return get_tokenizer("basic_english")(record.value)


@cache
def _bert(path: Path, lower: bool, strip: bool | None, unknown: str) -> Any:
    made = BertWordPieceTokenizer(str(path), lowercase=lower, strip_accents=strip, unk_token=unknown)
    made.add_special_tokens([])
    return made


def _wordpiece(step: Any, x: Spec, record: Record) -> Any:
    made = _bert(step.vocabulary, step.lower, step.strip_accents, step.unknown)
    return made.encode(record.value, add_special_tokens=False).ids


@cache
def _byte_level(encoder: Path, merges: Path) -> Any:
    return ByteLevelBPETokenizer(str(encoder), str(merges))


def _bpe(step: Any, x: Spec, record: Record) -> Any:
    return _byte_level(step.encoder, step.merges).encode(record.value).ids


@cache
def _model(path: Path) -> Any:
    return sentencepiece.SentencePieceProcessor(model_file=str(path))


def _sentencepiece(step: Any, x: Spec, record: Record) -> Any:
    return _model(step.model).encode(record.value)


def _vocab(step: Any, x: Spec, record: Record) -> Any:
    known = {token: i for i, token in enumerate(step.file.read_text("utf-8").removesuffix("\n").split("\n"))}
    if step.unknown is None:
        return [known[token] for token in record.value]
    return [known.get(token, known[step.unknown]) for token in record.value]


def _clean(step: Any, x: Spec, record: Record) -> Any:
    if step.accents == "strip" or step.lower or step.whitespace == "collapse" or step.form == "none":
        return None
    return unicodedata.normalize(step.form, record.value)


def _truncate(step: Any, x: Spec, record: Record) -> Any:
    from torchtext.transforms import Truncate

    return Truncate(step.length)(np.asarray(record.value).tolist())


def _pad(step: Any, x: Spec, record: Record) -> Any:
    import torch
    from torchtext.transforms import PadTransform

    if not x.is_numeric:
        return None
    return PadTransform(step.length, step.value or 0)(torch.from_numpy(record.value)).numpy()


def _add_tokens(step: Any, x: Spec, record: Record) -> Any:
    from torchtext.transforms import AddToken

    if isinstance(step.begin, str) and x.is_numeric:
        return None
    tokens = np.asarray(record.value).tolist()
    for token, begin in ((step.begin, True), (step.end, False)):
        tokens = tokens if token is None else AddToken(token, begin)(tokens)
    return tokens


ORACLES: dict[str, Oracle | NoOracle] = {
    "text.clean": Oracle("unicodedata", _clean, SAME),
    "text.basic_english": Oracle("torchtext", _basic_english, SAME),
    "text.wordpiece": Oracle("tokenizers", _wordpiece, SAME),
    "text.bpe": Oracle("tokenizers", _bpe, SAME),
    "text.sentencepiece": Oracle("sentencepiece", _sentencepiece, SAME),
    "text.vocab": Oracle("a Python dict", _vocab, SAME),
    "text.add_tokens": Oracle("torchtext", _add_tokens, SAME),
    "text.truncate": Oracle("torchtext", _truncate, SAME),
    "text.pad": Oracle("torchtext", _pad, SAME),
}
