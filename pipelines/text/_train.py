"""Learning the pieces of a text: WordPiece, byte-level byte pairs, SentencePiece.

The same texts give the same files, whatever the machine, the number of its threads and the run.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipelines.errors import UserError
from pipelines.text._byte_pairs import Merges
from pipelines.text._seams import Distinct

_LONGEST_WORD = 100  # characters; WordPiece gives the unknown token for a longer one
_THREADS = 4  # part of the result: sums over texts depend on how they are shared out, and the model names the number
Token = Annotated[str, Field(min_length=1, pattern=r"^[^\s\x00]+$")]


class _Training(BaseModel):
    """How to learn the files of a step that are not there yet: at most `size` tokens, `special` ones among them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    size: Annotated[int, Field(ge=1)]
    special: Annotated[tuple[Token, ...], Distinct] = ()


class PairTraining(_Training):
    """Learning by joining the pair of neighbours that occurs most often, again and again."""

    minimum_count: Annotated[int, Field(ge=1)] = 2


class ModelTraining(_Training):
    """Learning a SentencePiece model."""

    kind: Literal["unigram", "bpe", "word", "char"] = "unigram"
    coverage: Annotated[float, Field(ge=0.98, le=1)] = 0.9995
    byte_fallback: bool = False


def wordpiece(values: Iterable[str], train: PairTraining, unknown: str, lower: bool, accents: bool | None) -> list[str]:
    """The tokens of a BERT vocabulary: special ones, characters within words, characters, then what was joined."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    clean = normalizers.BertNormalizer(strip_accents=accents, lowercase=lower).normalize_str
    cut = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    counts: Counter[str] = Counter()
    for text in values:
        counts.update(word for word, _ in cut(clean(text)))
    letters: Counter[str] = Counter()
    for word, count in counts.items():
        letters.update(dict.fromkeys(word, count))
    rare = {letter for letter, count in letters.items() if count < train.minimum_count}
    words = sorted(word for word in counts if len(word) <= _LONGEST_WORD and rare.isdisjoint(word))
    special = list(train.special) if unknown in train.special else [unknown, *train.special]
    # the trainer numbers these in the order of a hash table, and breaks ties by number, unless they are named first
    within = sorted({f"##{letter}" for word in words for letter in word[1:]})
    needed = len(special) + len(within) + len(set("".join(words)))
    _need(words, f"no character occurs {train.minimum_count} times or more")
    _need_size(train, needed, "special tokens and characters, these at a word's start and within")
    trainer = trainers.WordPieceTrainer(
        vocab_size=train.size,
        min_frequency=train.minimum_count,
        special_tokens=[*special, *within],
        show_progress=False,
    )
    model = Tokenizer(models.WordPiece(unk_token=unknown))
    model.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    model.train_from_iterator(_repeated(words, counts), trainer)
    ids = model.get_vocab()
    return sorted(ids, key=lambda token: ids[token])


def _repeated(words: list[str], counts: Counter[str]) -> Iterator[str]:
    for word in words:
        full, rest = divmod(counts[word], 1000)
        yield from [" ".join([word] * 1000)] * full
        yield " ".join([word] * rest)


def byte_pairs(values: Iterable[str], train: PairTraining) -> tuple[dict[str, int], Merges]:
    """Encoder and merges of a byte-level byte-pair tokenizer: special tokens, the 256 bytes, then what was joined."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    _need_size(train, 256 + len(train.special), "special tokens and bytes")
    trainer = trainers.BpeTrainer(
        vocab_size=train.size,
        min_frequency=train.minimum_count,
        special_tokens=list(train.special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(iter(values), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    pairs: Merges = [(a, b) for a, b in (p.split(" ") if isinstance(p, str) else p for p in model["merges"])]
    _need(pairs, f"no two bytes stand side by side {train.minimum_count} times or more")
    return model["vocab"], pairs


def sentencepiece(values: Iterable[str], train: ModelTraining) -> bytes:
    """A SentencePiece model: <unk>, <s>, </s>, special tokens as control symbols, bytes if asked, then pieces."""
    from sentencepiece import SentencePieceTrainer

    held, failed = io.BytesIO(), []

    def sentences() -> Iterator[str]:
        try:
            for text in values:
                # the trainer passes over a whole text with one of these in it
                yield text.translate({0: " ", 9: " ", 0x2585: " "})
        except Exception as error:  # which the trainer would take for the end
            failed.append(error)

    try:
        SentencePieceTrainer.train(
            sentence_iterator=sentences(),
            model_writer=held,
            vocab_size=train.size,
            model_type=train.kind,
            character_coverage=train.coverage,
            byte_fallback=train.byte_fallback,
            control_symbols=list(train.special),
            hard_vocab_limit=False,
            max_sentence_length=2**30,
            num_threads=_THREADS,
            minloglevel=2,
        )
    except (RuntimeError, OSError, ValueError) as error:
        raise (failed or [UserError(f"sentencepiece cannot learn from these texts: {_last(error)}")])[0] from error
    if failed:
        raise failed[0]
    return held.getvalue()


def _last(error: Exception) -> str:
    return " ".join(str(error).split()).rpartition("] ")[2]


def _need(found: object, why: str) -> None:
    if not found:
        raise UserError(f"{why}, so there is nothing to learn")


def _need_size(train: PairTraining, least: int, what: str) -> None:
    if train.size < least:
        raise UserError(f"size={train.size} must be >= {least}, the number of {what}")
