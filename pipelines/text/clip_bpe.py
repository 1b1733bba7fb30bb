"""CLIP's tokens."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from pipelines import companions
from pipelines.spec import TEXT, Spec
from pipelines.step import ConfigPath, Example, Identical, Kernel, Step, host_tensorflow, host_tensorflow_rows
from pipelines.text._byte_pairs import LETTERS, NUMBER, SIGNS, WORD_END, as_torchtext, byte_naming, pair
from pipelines.text._characters import WHITESPACE, character_class, settled
from pipelines.text._names import kept_whole
from pipelines.text._pieces import Ids, by_pieces
from pipelines.text._seams import Special, ids

_FOLDER = Path(__file__).parent / "_example"
_FILES = {"encoder": str(_FOLDER / "clip_encoder.json"), "merges": str(_FOLDER / "clip_vocab.bpe")}
_SPECIAL = ("<|startoftext|>", "<|endoftext|>")
_CUT = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"  # CLIP's own cuts
_CUT_SETTLED = rf"'(?:[stmd]|re|ve|ll)|{LETTERS}|{NUMBER}|{SIGNS}"


class ClipBpe(Step):
    """CLIP's byte-pair ids of a text, from its two files.

    Takes  text
    Gives  int64[token]   token id, in [0, largest id of the encoder]

    The text is put into Unicode form NFC and lower case and cut into words, single digits and runs of other signs,
    without the white space between them; the bytes of each piece, the last one marked as a word's end, are merged
    pair by pair in the order of `merges` (bpe_simple_vocab, merges.txt), and `encoder` (vocab.json) gives the ids.
    Tokens of `special` in the raw text, so written, become their ids: <|startoftext|> and <|endoftext|> if it is left
    out, where the encoder holds them.
    Nothing is added at the ends: CLIP's input is text.truncate {length: 75}, text.add_tokens {begin: 49406,
    end: 49407}, text.pad {length: 77}.

    Source: Radford et al. 2021; equals the tokenizers library set up as for CLIP in Transformers. CLIP's first code
    mends broken text by ftfy where this has NFC. torchtext's CLIPTokenizer knows no NFC, gives the end's id for
    special tokens in any case and lowers a last sigma otherwise, so it gets pieces of other settled characters, and
    tokenizers the rest; keras_nlp has no CLIP tokenizer before 0.18, so tokenizers serves TensorFlow.
    """

    encoder: ConfigPath
    merges: ConfigPath
    special: Special = None

    agreement = Identical("each text takes a path that is proved equal on its characters")
    batches = False
    examples = (
        Example(TEXT, _FILES),
        Example(
            TEXT, _FILES, lambda rng: ["", "\n\n a  'S\t\u00a0x", "e\u0301 \u0387\u037e", "<|endoftext|>a", "ΟΔΟΣ."]
        ),
        Example(TEXT, _FILES, lambda rng: ["".join(chr(c) for c in rng.integers(32, 383, n)) for n in (1, 31, 501)]),
    )

    def files(self) -> tuple[Path, ...]:
        return (self.encoder, self.merges)

    def naming(self) -> Callable[[int], str]:
        return byte_naming(pair(self.encoder, self.merges, WORD_END)[0], self._special())

    def out_spec(self, x: Spec) -> Spec:
        x.need(("text",), exactly=())
        encoder, _ = pair(self.encoder, self.merges, WORD_END)
        self._special()
        return ids(max(encoder.values()) + 1)

    def _special(self) -> tuple[str, ...]:
        return kept_whole(self.special, _SPECIAL, self.encoder)

    def _tokenizers(self) -> Ids:
        from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

        encoder, merges = pair(self.encoder, self.merges, WORD_END)
        tokenizer = Tokenizer(models.BPE(vocab=encoder, merges=merges, end_of_word_suffix=WORD_END))
        blank = normalizers.Replace(Regex(r"\s+"), " ")
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), blank, normalizers.Lowercase()])
        cut = pre_tokenizers.Split(Regex(_CUT), behavior="removed", invert=True)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(add_prefix_space=False)])
        tokenizer.add_special_tokens(list(self._special()))
        return lambda text: list(tokenizer.encode(text).ids)

    def _host(self, piece_ids: Ids, text_ids: Ids) -> Ids:
        safe = character_class((_plain() | set(WHITESPACE)) - {token[0] for token in self._special()})
        return by_pieces(f"{safe}*", f"(?i:{_CUT_SETTLED})", piece_ids, text_ids)

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        text_ids = self._tokenizers()
        host = self._host(self._torchtext() if companions.usable("torchtext") else text_ids, text_ids)
        return lambda text: torch.from_numpy(np.array(host(text), np.int64))

    def _torchtext(self) -> Ids:
        from torchtext.transforms import CLIPTokenizer

        def made(encoder: str, merges: str) -> CLIPTokenizer:
            return CLIPTokenizer(merges, encoder_json_path=encoder)

        encoder, merges = pair(self.encoder, self.merges, WORD_END)
        # it takes as many merges as the encoder would have with both special tokens and nothing else
        whole = 2 * 256 + len(merges) + len(_SPECIAL) == len(encoder)
        if not whole:
            return self._tokenizers()
        model = as_torchtext(made, encoder, merges).bpe
        return lambda piece: list(model.encode(piece.lower()))

    def bind_tensorflow(self, x: Spec) -> Kernel:
        text_ids = self._tokenizers()
        return host_tensorflow(self._host(text_ids, text_ids), x, self.out_spec(x))

    def bind_tensorflow_rows(self, x: Spec) -> Kernel | None:
        text_ids = self._tokenizers()
        return host_tensorflow_rows(self._host(text_ids, text_ids), x, self.out_spec(x))


@cache
def _plain() -> frozenset[str]:
    """The settled characters that are in NFC and have one lower case."""
    formed = {c for c in settled() if unicodedata.normalize("NFC", c) == c}
    return frozenset(formed - {"Σ"})
