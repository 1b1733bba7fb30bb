"""GPT-2's tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from pipelines import companions
from pipelines.fitted import Fitted
from pipelines.spec import TEXT, Spec
from pipelines.step import ConfigPath, Example, Identical, Kernel, host_tensorflow, host_tensorflow_rows
from pipelines.text import _train
from pipelines.text._byte_pairs import LETTERS, SIGNS, as_torchtext, byte_naming, encoder_file, merges_file, pair
from pipelines.text._characters import WHITESPACE, character_class, settled
from pipelines.text._files import write
from pipelines.text._names import kept_whole
from pipelines.text._pieces import Ids, by_pieces
from pipelines.text._seams import Special, ids

_FOLDER = Path(__file__).parent / "_example"
_CUT = rf"'(?:[stmd]|re|ve|ll)| ?{LETTERS}| ?\d+| ?{SIGNS}|\s+(?!\S)|\s+"  # GPT-2's own cuts


class Bpe(Fitted):
    """GPT-2's byte-level byte-pair ids of a text, from its two files.

    Takes  text
    Gives  int64[token]   token id, in [0, largest id of the encoder]

    The text is cut into words, each with the space before it, and numbers, other signs and white
    space; the bytes of each piece are merged pair by pair in the order of `merges` (vocab.bpe), and
    `encoder` (encoder.json) gives the ids. Nothing is unknown, nothing is added. Tokens of `special` in the raw text,
    so written, become their ids; without it <|endoftext|> in the text is text. Files that are not there yet are
    learnt by `pipelines fit` as `train` says: ids 0 on are those of its `special` tokens, then come the 256 bytes,
    then the pairs that occur at least `minimum_count` times (2), `size` tokens in all at most. The same texts give
    the same files.

    Source: Radford et al. 2019; equals tokenizers.ByteLevelBPETokenizer on every text, and learns by its
    BpeTrainer. torchtext's GPT2BPETokenizer is wrong on white space beyond ASCII and on spaces before a
    contraction, so it gets pieces of settled characters, and tokenizers the other texts. keras_nlp's
    BytePairTokenizer is wrong on NUL, line breaks and U+096C and over ten times slower, so tokenizers
    serves TensorFlow.
    """

    encoder: ConfigPath
    merges: ConfigPath
    special: Special = None
    train: _train.PairTraining | None = None

    agreement = Identical("each text takes a path that is proved equal on its characters")
    batches = False
    examples = (
        Example(TEXT, {"encoder": str(_FOLDER / "encoder.json"), "merges": str(_FOLDER / "vocab.bpe")}),
        Example(
            TEXT,
            {
                "encoder": str(_FOLDER / "encoder.json"),
                "merges": str(_FOLDER / "vocab.bpe"),
                "special": ["toile"],
            },
            lambda rng: ["toile", "atoiletoile b", " toile Toile", "to ile", ""],
        ),
        Example(
            TEXT,
            {"encoder": str(_FOLDER / "encoder.json"), "merges": str(_FOLDER / "vocab.bpe")},
            lambda rng: ["", "\n\n a  's\t\u00a0x", "\u096c \0", "<|endoftext|>", " " * 7],
        ),
        Example(
            TEXT,
            {"encoder": str(_FOLDER / "encoder.json"), "merges": str(_FOLDER / "vocab.bpe")},
            lambda rng: ["".join(chr(c) for c in rng.integers(32, 383, size)) for size in (1, 31, 501)],
        ),
    )

    def files(self) -> tuple[Path, ...]:
        return (self.encoder, self.merges)

    @property
    def learns(self) -> bool:
        return self.train is not None

    def naming(self) -> Callable[[int], str]:
        return byte_naming(pair(self.encoder, self.merges)[0], self._special())

    def out_spec(self, x: Spec) -> Spec:
        x.need(("text",), exactly=())
        self.need_fitted()
        encoder, _ = pair(self.encoder, self.merges)
        self._special()
        return ids(max(encoder.values()) + 1)

    def fit(self, values: Iterable[str]) -> None:
        assert self.train is not None, "fit asks `learns` first"
        encoder, merges = _train.byte_pairs(values, self.train)
        write({self.encoder: encoder_file(encoder), self.merges: merges_file(merges)})

    def _special(self) -> tuple[str, ...]:
        return kept_whole(self.special, (), self.encoder)

    def _tokenizers(self) -> Ids:
        from tokenizers import Tokenizer, models, pre_tokenizers

        encoder, merges = pair(self.encoder, self.merges)
        tokenizer = Tokenizer(models.BPE(vocab=encoder, merges=merges))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.add_special_tokens(list(self._special()))
        return lambda text: list(tokenizer.encode(text).ids)

    def _host(self, piece_ids: Ids, text_ids: Ids) -> Ids:
        starts = {token[0] for token in self._special()}
        return by_pieces(f"{character_class((settled() | set(WHITESPACE)) - starts)}*", _CUT, piece_ids, text_ids)

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        text_ids = self._tokenizers()
        host = self._host(self._torchtext() if companions.usable("torchtext") else text_ids, text_ids)
        return lambda text: torch.from_numpy(np.array(host(text), np.int64))

    def _torchtext(self) -> Ids:
        from torchtext.transforms import GPT2BPETokenizer

        model = as_torchtext(GPT2BPETokenizer, *pair(self.encoder, self.merges)).bpe
        return lambda piece: list(model.encode(piece))

    def bind_tensorflow(self, x: Spec) -> Kernel:
        text_ids = self._tokenizers()
        return host_tensorflow(self._host(text_ids, text_ids), x, self.out_spec(x))

    def bind_tensorflow_rows(self, x: Spec) -> Kernel | None:
        text_ids = self._tokenizers()
        return host_tensorflow_rows(self._host(text_ids, text_ids), x, self.out_spec(x))
