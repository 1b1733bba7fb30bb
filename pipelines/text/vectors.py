"""Pretrained vectors of words."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipelines.errors import RecordError, SpecError
from pipelines.guard import after
from pipelines.native import torch_constant
from pipelines.spec import Axis, Spec
from pipelines.step import ConfigPath, Example, Identical, Kernel, Step
from pipelines.text._files import vocabulary
from pipelines.text._seams import TOKENS, ids, need_sequence
from pipelines.text._vectors import table

_FOLDER = Path(__file__).parent / "_example"
_WORDS = ["red", "circle", "Größe", "世", "zebra", "", ". .", "\0", "RED"]
_NO_VECTOR = "a token has no vector"


class Vectors(Step):
    """Pretrained vectors of tokens, from a local file of GloVe (.txt) or fastText (.vec).

    Takes  text[token], or int64[..., token] ids of `vocabulary`
    Gives  float32[..., token, feature]   the token's numbers in the file, rounded to float32

    `file` holds a word and its numbers a line, apart by single spaces, with fastText's first line (words and numbers)
    or without. Ids need `vocabulary`, the file (one token a line) of the step that made them. A token that is not in
    the file, written just so, gets zeros; with unknown="fail" it fails the record, and with ids each token of the
    vocabulary must have a vector. Of a word that stands there twice the last line counts. A file with a damaged line
    is refused.

    Source: Pennington et al. 2014 (GloVe), Bojanowski et al. 2017 (fastText); equals torchtext.vocab.Vectors, which
    is not used, since it writes a cache file for each it reads, passes over lines that are not UTF-8, cannot tell
    where a file is damaged, and looks tokens up one by one. One table for torch.nn.functional.embedding and tf.gather.
    """

    file: ConfigPath
    vocabulary: ConfigPath | None = None
    unknown: Literal["zeros", "fail"] = "zeros"

    agreement = Identical("a table look-up")
    examples = (
        Example(TOKENS, {"file": str(_FOLDER / "vectors.txt")}),
        Example(
            TOKENS, {"file": str(_FOLDER / "vectors.vec")}, lambda rng: [list(rng.choice(_WORDS, n)) for n in (0, 1, 9)]
        ),
        Example(
            TOKENS, {"file": str(_FOLDER / "vectors.vec"), "unknown": "fail"}, lambda rng: [["red", ". ."], ["世"], []]
        ),
        Example(ids(48), {"file": str(_FOLDER / "vectors.vec"), "vocabulary": str(_FOLDER / "words.txt")}),
        Example(ids(48, 7), {"file": str(_FOLDER / "vectors.txt"), "vocabulary": str(_FOLDER / "words.txt")}),
    )

    def files(self) -> tuple[Path, ...]:
        return (self.file,) if self.vocabulary is None else (self.file, self.vocabulary)

    def out_spec(self, x: Spec) -> Spec:
        need_sequence(x)
        features = table(self.file).vectors.shape[1]
        if x.is_numeric:
            self._check_ids(x)
        elif self.vocabulary is not None:
            raise SpecError(f"vocabulary is for ids; expected int64[token], got {x}")
        return Spec("float32", (*x.axes, Axis("feature", features)))

    def _check_ids(self, x: Spec) -> None:
        if self.vocabulary is None:
            raise SpecError(f"expected tokens, got {x}; name the vocabulary of the ids")
        tokens = vocabulary(self.vocabulary)
        if x.range is None or x.range[0] < 0 or x.range[1] >= len(tokens):
            raise SpecError(f"expected ids of {self.vocabulary}, in [0, {len(tokens) - 1}], got {x}")
        known = table(self.file).rows
        lacking = [token for token in tokens if token not in known]
        if self.unknown == "fail" and lacking:
            raise SpecError(f"{len(lacking)} tokens of {self.vocabulary} have no vector, {lacking[0]!r} first")

    def _rows(self, x: Spec) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The table to look up in: of ids, or of words with a row of zeros at its end."""
        words, vectors = table(self.file)
        padded = np.concatenate([vectors, np.zeros((1, vectors.shape[1]), np.float32)])
        if x.is_numeric and self.vocabulary is not None:
            padded = padded[[words.get(token, -1) for token in vocabulary(self.vocabulary)]]
        return np.asarray(padded, np.float32)

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        rows = torch_constant(self._rows(x))
        if x.is_numeric:
            return lambda tokens: torch.nn.functional.embedding(tokens, rows(tokens))
        words, none = table(self.file).rows, len(table(self.file).rows)

        def kernel(tokens: list[str]) -> torch.Tensor:
            found = torch.tensor([words.get(token, none) for token in tokens], dtype=torch.int64)
            if self.unknown == "fail" and bool((found == none).any()):
                raise RecordError(_NO_VECTOR)
            return torch.nn.functional.embedding(found, rows(found))

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        rows = tf.constant(self._rows(x))
        if x.is_numeric:
            return lambda tokens: tf.gather(rows, tokens)
        words = table(self.file).rows
        pairs = tf.lookup.KeyValueTensorInitializer(list(words), range(len(words)), tf.string, tf.int64)
        places = tf.lookup.StaticHashTable(pairs, len(words))

        def kernel(tokens: Any) -> Any:
            found = places.lookup(tokens)
            if self.unknown == "fail":
                found = after([tf.debugging.Assert(tf.reduce_all(found < len(words)), [_NO_VECTOR])], found)
            return tf.gather(rows, found)

        return kernel
