"""SentencePiece's tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipelines.errors import SpecError
from pipelines.spec import TEXT, Spec
from pipelines.step import ConfigPath, Example, HostStep, Identical, Kernel
from pipelines.text._files import read
from pipelines.text._seams import ids

_MODEL = str(Path(__file__).parent / "_example" / "sentencepiece.model")


class Sentencepiece(HostStep):
    """Ids of a text by a SentencePiece model: unigram, byte-pair, word or character.

    Takes  text
    Gives  int64[token]   token id, in [0, pieces in the model - 1]

    The text is normalised as the model says and cut into the model's best sequence of pieces.
    Nothing is added at the ends (text.add_tokens does).

    Source: Kudo and Richardson 2018; the sentencepiece library in both frameworks. The copies in
    torchtext and tensorflow_text are older and break ties of a unigram model otherwise: the zeros of
    "36,000 stolen" become 00 0 instead of 0 00, so their ids would depend on what is installed.
    """

    model: ConfigPath

    agreement = Identical("one library serves both")
    examples = (
        Example(TEXT, {"model": _MODEL}),
        Example(TEXT, {"model": _MODEL}, lambda rng: ["", "36,000 000 0000", "a\0b", "  two  spaces "]),
        Example(TEXT, {"model": _MODEL}, lambda rng: ["".join(map(chr, rng.integers(32, 0x3FF, 40))) for _ in "abc"]),
    )

    def files(self) -> tuple[Path, ...]:
        return (self.model,)

    def out_spec(self, x: Spec) -> Spec:
        x.need(("text",), exactly=())
        return ids(read(self.model, _processor).get_piece_size())

    def bind_numpy(self, x: Spec) -> Kernel:
        processor = read(self.model, _processor)
        return lambda text: np.array(processor.encode(text), dtype=np.int64)


def _processor(path: Path) -> Any:
    from sentencepiece import SentencePieceProcessor

    try:
        model = path.read_bytes()
        if not model:
            raise SpecError(f"{path} is not a SentencePiece model: it is empty")
        return SentencePieceProcessor(model_proto=model)
    except (RuntimeError, OSError, ValueError) as error:
        raise SpecError(f"{path} is not a SentencePiece model") from error
