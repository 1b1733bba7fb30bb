"""Oracles of the text steps."""

from __future__ import annotations

import json
import re
import unicodedata
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import sentencepiece
from oracle.base import NoOracle, Oracle
from tokenizers import ByteLevelBPETokenizer, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from tokenizers.implementations import BertWordPieceTokenizer

from pipelines.contract._values import Record
from pipelines.spec import Spec
from pipelines.step import Identical

SAME = Identical("tokens are the same or they are not")


def _basic_english(step: Any, x: Spec, record: Record) -> Any:
    from torchtext.data.utils import get_tokenizer

    return get_tokenizer("basic_english")(record.value)


@cache
def _bert(path: Path, lower: bool, strip: bool | None, unknown: str, special: tuple[str, ...] | None) -> Any:
    # it keeps those five whole that its vocabulary holds
    names = {} if special is None else {f"{n}_token": special[-1] for n in ("sep", "cls", "pad", "mask")}
    return BertWordPieceTokenizer(str(path), lowercase=lower, strip_accents=strip, unk_token=unknown, **names)


def _wordpiece(step: Any, x: Spec, record: Record) -> Any:
    made = _bert(step.vocabulary, step.lower, step.strip_accents, step.unknown, step.special)
    return made.encode(record.value, add_special_tokens=False).ids


@cache
def _byte_level(encoder: Path, merges: Path, special: tuple[str, ...] | None) -> Any:
    made = ByteLevelBPETokenizer(str(encoder), str(merges))
    made.add_special_tokens(list(special or ()))
    return made


def _bpe(step: Any, x: Spec, record: Record) -> Any:
    return _byte_level(step.encoder, step.merges, step.special).encode(record.value).ids


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

    tokens = np.asarray(record.value).tolist()
    if step.side == "left":
        return Truncate(step.length)(tokens[::-1])[::-1]
    return Truncate(step.length)(tokens)


def _pad(step: Any, x: Spec, record: Record) -> Any:
    import torch
    from torchtext.transforms import PadTransform

    if not x.is_numeric:
        return None
    value, given = step.value or 0, record.value
    if isinstance(value, str):
        value = step.vocabulary.read_text("utf-8").split("\n").index(value)
    if step.gives == "mask":
        value, given = 0, np.ones_like(given)
    left = (slice(None), slice(None, None, -1))[step.side == "left"]
    return PadTransform(step.length, value)(torch.from_numpy(given[left].copy())).numpy()[left]


def _add_tokens(step: Any, x: Spec, record: Record) -> Any:
    from torchtext.transforms import AddToken

    if isinstance(step.begin or step.end, str) and x.is_numeric:
        return None
    tokens = np.asarray(record.value).tolist()
    for token, begin in ((step.begin, True), (step.end, False)):
        tokens = tokens if token is None else AddToken(token, begin)(tokens)
    return tokens


@cache
def clip_tokenizer(encoder: Path, merges: Path) -> Tokenizer:
    """CLIP's tokenizer as Transformers sets it up: with begin and end, which a test takes off."""
    ids = json.loads(encoder.read_text(encoding="utf-8"))
    pairs = [(a, b) for a, b in map(str.split, merges.read_text(encoding="utf-8").splitlines()[1:])]
    unknown = "<|endoftext|>"
    model = models.BPE(
        vocab=ids, merges=pairs, continuing_subword_prefix="", end_of_word_suffix="</w>", unk_token=unknown
    )
    made = Tokenizer(model)
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    cut = Regex(r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+""")
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(cut, behavior="removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    first, last = ((token, ids[token]) for token in ("<|startoftext|>", "<|endoftext|>"))
    made.post_processor = processors.RobertaProcessing(last, first, trim_offsets=False, add_prefix_space=False)
    made.add_special_tokens([first[0], last[0]])
    return made


def _clip_bpe(step: Any, x: Spec, record: Record) -> Any:
    return clip_tokenizer(step.encoder, step.merges).encode(record.value).ids[1:-1]


def _regex(step: Any, x: Spec, record: Record) -> Any:
    if r"\p" in step.pattern or not record.value.isascii():  # which `re` does not know, or has other classes for
        return None
    spans = [match.span() for match in re.finditer(step.pattern, record.value, re.ASCII)]
    if step.mode == "match":
        return [record.value[i:j] for i, j in spans]
    ends = [0, *(place for span in spans for place in span), len(record.value)]
    return [record.value[i:j] for i, j in zip(ends[::2], ends[1::2], strict=True) if i < j]


def _characters(step: Any, x: Spec, record: Record) -> Any:
    if any(unicodedata.category(c) in ("Mn", "Mc", "Cf", "So") or c in "\r\u1100\u1161" for c in record.value):
        return None
    return list(record.value)


@cache
def _pairs(length: int, begins: bool, between: int) -> Any:
    """On words that are named by their ids, so that any ids can be asked for."""
    words = ["[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(1000))]
    made = BertWordPieceTokenizer({word: i for i, word in enumerate(words)})
    if not begins or between == 2:
        special = [("[CLS]", 1), ("[SEP]", 2)]
        pair = f"{'[CLS] ' * begins}$A [SEP]{' [SEP]:1' * (between - 1)} $B:1 [SEP]:1"
        made.post_processor = processors.TemplateProcessing(single="$A", pair=pair, special_tokens=special)
    made.enable_truncation(length, strategy="longest_first")
    return made


def _pair(step: Any, x: Any, record: Record) -> Any:
    if not x[0].is_numeric:
        return None
    encoded = _pairs(step.length, step.begin is not None, step.between).encode(
        *(" ".join(f"w{i}" for i in ids) for ids in record.value)
    )
    if step.gives == "segments":
        return encoded.type_ids
    known = [] if step.vocabulary is None else step.vocabulary.read_text("utf-8").split("\n")
    ends = [known.index(token) if isinstance(token, str) else token for token in (step.begin, step.separator)]
    return [ends[i - 1] if i < 3 else i - 3 for i in encoded.ids]


def _vectors(step: Any, x: Spec, record: Record) -> Any:
    from torchtext.vocab import Vectors

    lines = step.file.read_text("utf-8").replace(". .", "._.")  # torchtext takes no word with a space in it
    with TemporaryDirectory() as folder:
        path = Path(folder, step.file.name)
        path.write_text(lines, encoding="utf-8")
        table = Vectors(str(path), cache=folder)
    words = record.value
    if x.is_numeric:
        words = [step.vocabulary.read_text("utf-8").split("\n")[i] for i in record.value]
    if not words:
        return None
    return table.get_vecs_by_tokens([word.replace(". .", "._.") for word in words]).numpy()


def _ngrams(step: Any, x: Spec, record: Record) -> Any:
    from torchtext.data.utils import ngrams_iterator

    if step.joint != " ":
        return None
    return [run for run in ngrams_iterator(record.value, step.most) if run.count(" ") + 1 >= step.least]


ORACLES: dict[str, Oracle | NoOracle] = {
    "text.clean": Oracle("unicodedata", _clean, SAME),
    "text.basic_english": Oracle("torchtext", _basic_english, SAME),
    "text.wordpiece": Oracle("tokenizers", _wordpiece, SAME),
    "text.bpe": Oracle("tokenizers", _bpe, SAME),
    "text.sentencepiece": Oracle("sentencepiece", _sentencepiece, SAME),
    "text.vocab": Oracle("a Python dict", _vocab, SAME),
    "text.embed": NoOracle("tests/text/test_embed.py holds it to torchtext's and keras-hub's own models"),
    "text.add_tokens": Oracle("torchtext", _add_tokens, SAME),
    "text.truncate": Oracle("torchtext", _truncate, SAME),
    "text.pad": Oracle("torchtext", _pad, SAME),
    "text.pair": Oracle("tokenizers", _pair, SAME),
    "text.vectors": Oracle("torchtext", _vectors, Identical("numbers are looked up, never computed")),
    "text.clip_bpe": Oracle("tokenizers", _clip_bpe, SAME),
    "text.whitespace": Oracle("str.split", lambda step, x, record: record.value.split(), SAME),
    "text.regex": Oracle("re", _regex, SAME),
    "text.characters": Oracle("code points", _characters, SAME),
    "text.ngrams": Oracle("torchtext", _ngrams, SAME),
    "text.utf8": Oracle("str.encode", lambda step, x, record: [step.first + b for b in record.value.encode()], SAME),
    "text.code_points": Oracle("ord", lambda step, x, record: list(map(ord, record.value)), SAME),
}
