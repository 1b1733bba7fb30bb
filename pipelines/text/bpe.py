"""GPT-2's tokens."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from pipelines.errors import SpecError
from pipelines.spec import TEXT, Spec
from pipelines.step import ConfigPath, Example, Identical, Kernel, Step, host_tensorflow
from pipelines.text import _library
from pipelines.text._characters import WHITESPACE, character_class, settled
from pipelines.text._files import read, text_of
from pipelines.text._pieces import Ids, by_pieces
from pipelines.text._seams import ids

_FOLDER = Path(__file__).parent / "_example"
# GPT-2's own cuts; on settled characters these classes of `re` are its letters, numbers and white space
_CUT = r"'(?:[stmd]|re|ve|ll)| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+"


class Bpe(Step):
    """GPT-2's byte-level byte-pair ids of a text, from its two files.

    Takes  text
    Gives  int64[token]   token id, in [0, largest id of the encoder]

    The text is cut into words, each with the space before it, and numbers, other signs and white
    space; the bytes of each piece are merged pair by pair in the order of `merges` (vocab.bpe), and
    `encoder` (encoder.json) gives the ids. Nothing is unknown, nothing is added, and
    <|endoftext|> in the text is text.

    Source: Radford et al. 2019; equals tokenizers.ByteLevelBPETokenizer on every text. torchtext's
    GPT2BPETokenizer is wrong on white space beyond ASCII and on spaces before a contraction, so it gets
    pieces of settled characters, and tokenizers the other texts. keras_nlp's BytePairTokenizer is wrong
    on NUL, line breaks and U+096C and over ten times slower, so tokenizers serves TensorFlow.
    """

    encoder: ConfigPath
    merges: ConfigPath

    agreement = Identical("each text takes a path that is proved equal on its characters")
    batches = False
    examples = (
        Example(TEXT, {"encoder": str(_FOLDER / "encoder.json"), "merges": str(_FOLDER / "vocab.bpe")}),
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

    def _read(self) -> tuple[dict[str, int], list[tuple[str, str]]]:
        encoder, merges = read(self.encoder, _encoder), read(self.merges, _merges)
        for pair in merges:
            if "".join(pair) not in encoder:
                raise SpecError(f"{self.encoder} does not belong to {self.merges}: it has no {''.join(pair)!r}")
        return encoder, merges

    def out_spec(self, x: Spec) -> Spec:
        x.need(("text",), exactly=())
        encoder, _ = self._read()
        return ids(max(encoder.values()) + 1)

    def _tokenizers(self) -> Ids:
        from tokenizers import Tokenizer, models, pre_tokenizers

        encoder, merges = self._read()
        tokenizer = Tokenizer(models.BPE(vocab=encoder, merges=merges))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        return lambda text: list(tokenizer.encode(text).ids)

    def _host(self, piece_ids: Ids, text_ids: Ids) -> Ids:
        return by_pieces(f"{character_class(settled() | set(WHITESPACE))}*", _CUT, piece_ids, text_ids)

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        text_ids = self._tokenizers()
        host = self._host(self._torchtext() if _library.usable("torchtext") else text_ids, text_ids)
        return lambda text: torch.from_numpy(np.array(host(text), np.int64))

    def _torchtext(self) -> Ids:
        from torchtext.transforms import GPT2BPETokenizer

        encoder, merges = self._read()
        with tempfile.TemporaryDirectory() as folder:  # torchtext drops the first and the last line, whatever they hold
            paths = Path(folder, "encoder.json"), Path(folder, "vocab.bpe")
            paths[0].write_text(json.dumps(encoder), encoding="utf-8")
            paths[1].write_text("".join(f"{a}\n" for a in ("#version", *map(" ".join, merges))), encoding="utf-8")
            model = GPT2BPETokenizer(*map(str, paths)).bpe
        return lambda piece: list(model.encode(piece))

    def bind_tensorflow(self, x: Spec) -> Kernel:
        text_ids = self._tokenizers()
        return host_tensorflow(self._host(text_ids, text_ids), x, self.out_spec(x))


@cache
def _byte_symbols() -> frozenset[str]:
    """The 256 characters that stand for the bytes."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return frozenset(map(chr, [*plain, *range(0x100, 0x200 - len(plain))]))


def _encoder(path: Path) -> dict[str, int]:
    meant = "a GPT-2 encoder (a JSON object of token: id)"
    try:
        held = json.loads(text_of(path, meant))
    except json.JSONDecodeError as error:
        raise SpecError(f"{path} is not {meant}: line {error.lineno}: {error.msg}") from error
    if not isinstance(held, dict) or not all(type(i) is int and i >= 0 for i in held.values()):
        raise SpecError(f"{path} is not {meant}")
    if len(set(held.values())) < len(held):
        raise SpecError(f"{path} is not {meant}: two tokens have the same id")
    if missing := sorted(_byte_symbols() - held.keys()):
        raise SpecError(f"{path} is not {meant}: it lacks {len(missing)} of the 256 bytes, {missing[0]!r} first")
    return held


def _merges(path: Path) -> list[tuple[str, str]]:
    meant = "a list of byte-level merges (two symbols a line)"
    lines = text_of(path, meant).split("\n")
    known, merges = set(_byte_symbols()), []
    for number, line in enumerate(lines, 1):
        line = line.removesuffix("\r")
        if not line or (number == 1 and line.startswith("#version")):
            continue
        pair = tuple(line.split(" "))
        if len(pair) != 2 or not known.issuperset(pair):
            raise SpecError(f"{path} is not {meant}: line {number} is {line[:40]!r}")
        known.add("".join(pair))
        merges.append(pair)
    return merges
