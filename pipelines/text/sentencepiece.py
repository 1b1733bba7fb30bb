"""SentencePiece's tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from pipelines.fitted import Fitted
from pipelines.spec import TEXT, Spec
from pipelines.step import ConfigPath, Example, HostStep, Identical, Kernel
from pipelines.text import _train
from pipelines.text._files import read, write
from pipelines.text._names import processor
from pipelines.text._seams import ids

_MODEL = str(Path(__file__).parent / "_example" / "sentencepiece.model")


class Sentencepiece(HostStep, Fitted):
    """Ids of a text by a SentencePiece model: unigram, byte-pair, word or character.

    Takes  text
    Gives  int64[token]   token id, in [0, pieces in the model - 1]

    The text is normalised as the model says and cut into the model's best sequence of pieces.
    Nothing is added at the ends (text.add_tokens does). A model that is not there yet is learnt by `pipelines fit`
    as `train` says: of that `kind`, with at most `size` pieces: <unk> 0, <s> 1, </s> 2, the `special` tokens, which
    never come of a text, then the 256 bytes with `byte_fallback`, then pieces of the most frequent characters, by
    which the share `coverage` of all text is covered. The same texts give the same file.

    Source: Kudo and Richardson 2018; the sentencepiece library in both frameworks, and its trainer. The copies in
    torchtext and tensorflow_text are older and break ties of a unigram model otherwise: the zeros of
    "36,000 stolen" become 00 0 instead of 0 00, so their ids would depend on what is installed.
    """

    model: ConfigPath
    train: _train.ModelTraining | None = None

    agreement = Identical("one library serves both")
    examples = (
        Example(TEXT, {"model": _MODEL}),
        Example(TEXT, {"model": _MODEL}, lambda rng: ["", "36,000 000 0000", "a\0b", "  two  spaces "]),
        Example(TEXT, {"model": _MODEL}, lambda rng: ["".join(map(chr, rng.integers(32, 0x3FF, 40))) for _ in "abc"]),
    )

    def files(self) -> tuple[Path, ...]:
        return (self.model,)

    @property
    def learns(self) -> bool:
        return self.train is not None

    def fit(self, values: Iterable[str]) -> None:
        assert self.train is not None, "fit asks `learns` first"
        write({self.model: _train.sentencepiece(values, self.train)})

    def naming(self) -> Callable[[int], str]:
        model = read(self.model, processor)
        return lambda number: str(model.id_to_piece(number)).replace("\u2581", " ")

    def out_spec(self, x: Spec) -> Spec:
        x.need(("text",), exactly=())
        self.need_fitted()
        return ids(read(self.model, processor).get_piece_size())

    def bind_numpy(self, x: Spec) -> Kernel:
        model = read(self.model, processor)
        return lambda text: np.array(model.encode(text), dtype=np.int64)
