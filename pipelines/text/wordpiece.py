"""BERT's tokens."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from pipelines import companions
from pipelines.errors import SpecError
from pipelines.fitted import Fitted
from pipelines.spec import TEXT, Spec
from pipelines.step import ConfigPath, Example, Identical, Kernel, host_tensorflow, host_tensorflow_rows
from pipelines.text import _train
from pipelines.text._characters import WHITESPACE, character_class, settled
from pipelines.text._files import lines, vocabulary, write
from pipelines.text._names import kept_whole
from pipelines.text._pieces import Ids, by_pieces
from pipelines.text._seams import Route, Special, ids

_VOCABULARY = str(Path(__file__).parent / "_example" / "wordpiece.txt")
_SPECIAL = ("[SEP]", "[CLS]", "[PAD]", "[MASK]")
_PUNCTUATION = r"!-/:-@\[-`{-~"  # ASCII; BERT makes each a word of its own, whatever stands beside it
_LONGEST_WORD = 100  # characters; BERT gives the unknown token for a longer one


class Wordpiece(Fitted):
    """BERT's WordPiece ids of a text, from a vocabulary file.

    Takes  text
    Gives  int64[token]   token id, in [0, tokens in the vocabulary - 1]

    The text is cleaned of control characters, put into lower case, freed of accents, cut at white
    space, punctuation and Han characters, and each word into the longest pieces that `vocabulary`
    (one token a line, ids from 0) holds, from left to right; a word with no such pieces, or of more
    than 100 characters, is `unknown`. `strip_accents` left out follows `lower`, as in BERT.
    Nothing is added at the ends (text.add_tokens does). Tokens of `special` are never split: in the raw text,
    so written, they become their ids; left out, these are `unknown`, [SEP], [CLS], [PAD] and [MASK] where the
    vocabulary holds them, and with [] a text is nothing but text. A vocabulary that is not there yet is learnt
    by `pipelines fit` as `train` says: its `special` tokens (`unknown` first where it is not one of them), the
    characters that occur at least `minimum_count` times (2), within words and at their start, then the pieces
    that do, `size` tokens in all at most. The same texts give the same file.

    Source: Devlin et al. 2018; equals tokenizers.BertWordPieceTokenizer on every text, and learns by its
    WordPieceTrainer, whose result hangs on chance where the characters within words are not named. torchtext
    BERTTokenizer and tensorflow_text FastBertTokenizer differ from it on controls, new or invisible
    characters and NFKC folds, so they get only texts of settled characters, tokenizers the others.
    """

    vocabulary: ConfigPath
    lower: bool = True
    strip_accents: bool | None = None
    unknown: str = Field(default="[UNK]", min_length=1)
    special: Special = None
    train: _train.PairTraining | None = None

    agreement = Identical("each text takes a path that is proved equal on its characters")
    batches = False
    examples = (
        Example(TEXT, {"vocabulary": _VOCABULARY}),
        Example(TEXT, {"vocabulary": _VOCABULARY, "lower": False}),
        Example(TEXT, {"vocabulary": _VOCABULARY, "strip_accents": False}),
        Example(
            TEXT,
            {"vocabulary": _VOCABULARY, "special": ["[UNK]", "[PAD]"]},
            lambda rng: ["a [PAD][CLS] b", "[unk][UNK]"],
        ),
    )

    def files(self) -> tuple[Path, ...]:
        return (self.vocabulary,)

    @property
    def learns(self) -> bool:
        return self.train is not None

    def fit(self, values: Iterable[str]) -> None:
        assert self.train is not None, "fit asks `learns` first"
        tokens = _train.wordpiece(values, self.train, self.unknown, self.lower, self.strip_accents)
        write({self.vocabulary: lines(tokens)})

    def naming(self) -> Callable[[int], str]:
        return vocabulary(self.vocabulary).__getitem__

    def out_spec(self, x: Spec) -> Spec:
        x.need(("text",), exactly=())
        self.need_fitted()
        tokens = vocabulary(self.vocabulary)
        if self.unknown not in tokens:
            raise SpecError(f"{self.vocabulary} is no WordPiece vocabulary with the unknown token {self.unknown!r}")
        self._special()
        return ids(len(tokens))

    @property
    def _accents_follow_case(self) -> bool:
        return self.strip_accents in (None, self.lower)

    def _special(self) -> tuple[str, ...]:
        return kept_whole(self.special, (self.unknown, *_SPECIAL), self.vocabulary)

    def _tokenizers(self) -> Ids:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

        table = {token: i for i, token in enumerate(vocabulary(self.vocabulary))}
        model = models.WordPiece(vocab=table, unk_token=self.unknown, max_input_chars_per_word=_LONGEST_WORD)
        tokenizer = Tokenizer(model)
        tokenizer.add_special_tokens(list(self._special()))
        tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=self.strip_accents, lowercase=self.lower)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        return lambda text: list(tokenizer.encode(text, add_special_tokens=False).ids)

    def _host(self, piece_ids: Ids, text_ids: Ids) -> Ids:
        starts = {token[0] for token in self._special()}
        safe = character_class((settled() | set(WHITESPACE)) - starts)
        return by_pieces(f"{safe}*", rf"[^\s{_PUNCTUATION}]+|[{_PUNCTUATION}]", piece_ids, text_ids)

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        text_ids = piece_ids = self._tokenizers()
        if self._accents_follow_case and self.unknown == "[UNK]" and companions.usable("torchtext"):
            piece_ids = self._torchtext(text_ids)
        host = self._host(piece_ids, text_ids)
        return lambda text: torch.from_numpy(np.array(host(text), np.int64))

    def _torchtext(self, long: Ids) -> Ids:
        from torchtext.transforms import BERTTokenizer

        with tempfile.TemporaryDirectory() as folder:  # torchtext reads the lines of a file by rules of its own
            path = Path(folder, "vocabulary.txt")
            path.write_text("".join(f"{t}\n" for t in vocabulary(self.vocabulary)), encoding="utf-8", newline="\n")
            # strip_accents=False would strip; None follows the case
            model = BERTTokenizer(str(path), do_lower_case=self.lower, strip_accents=None).bert_model
        # its limit is 100 bytes, not characters, and a settled character has at most 3
        return lambda piece: list(model.encode(piece)) if len(piece) <= _LONGEST_WORD // 3 else long(piece)

    def bind_tensorflow(self, x: Spec) -> Kernel:
        route, host = self._ways()
        return route.one(x, self.out_spec(x)) if route else host_tensorflow(host, x, self.out_spec(x))

    def bind_tensorflow_rows(self, x: Spec) -> Kernel | None:
        route, host = self._ways()
        return route.rows(x, self.out_spec(x)) if route else host_tensorflow_rows(host, x, self.out_spec(x))

    def _ways(self) -> tuple[Route | None, Ids]:
        """The ways in TensorFlow: by tensorflow_text where it can be, and the host's."""
        ids_of = self._tokenizers()
        host = self._host(ids_of, ids_of)
        if not (self._accents_follow_case and companions.usable("tensorflow_text")):
            return None, host
        tokenizer = _fast(vocabulary(self.vocabulary), self.unknown, self.lower)
        starts = {token[0] for token in self._special()}
        safe = character_class((settled(folds=self.lower) | set(WHITESPACE)) - starts)
        too_long = f"[^{WHITESPACE}]{{{_LONGEST_WORD + 1}}}"
        return Route(f"{safe}*", tokenizer.tokenize, host, unless=too_long), host


@lru_cache(maxsize=4)
def _fast(tokens: tuple[str, ...], unknown: str, lower: bool) -> Any:
    """tensorflow_text's tokenizer, kept, since its trie takes a good part of a second to build."""
    import tensorflow as tf
    import tensorflow_text

    with tf.init_scope():  # usable in every graph
        return tensorflow_text.FastBertTokenizer(
            list(tokens),
            max_bytes_per_word=4 * _LONGEST_WORD,  # bytes; the guard counts characters
            token_out_type=tf.int64,
            unknown_token=unknown,
            lower_case_nfd_strip_accents=lower,
        )
