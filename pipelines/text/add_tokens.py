"""Tokens at the ends of a sequence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import model_validator
from typing_extensions import Self

from pipelines.spec import Axis, Spec
from pipelines.step import ConfigPath, Example, Identical, Kernel, Step
from pipelines.text._seams import EXAMPLES, TOKENS, TokenOrId, filled, id_or_token, ids, need_sequence

_WORDPIECE = str(EXAMPLES / "wordpiece.txt")


class AddTokens(Step):
    """One token before the first of a sequence, one after its last, or both.

    Takes  int64[..., token] or text[token]
    Gives  the same with one or two tokens more: begin, in[0], ..., in[-1], end

    On ids, `begin` and `end` are ids, or names that are looked up in `vocabulary`: the file of the step before, be it
    a vocabulary (one token a line), an encoder (.json) or a SentencePiece model. On tokens they are tokens. Input of
    BERT is text.wordpiece, text.truncate {length: 126}, text.add_tokens {begin: "[CLS]", end: "[SEP]",
    vocabulary: ...}, text.pad {length: 128}.

    Source: torchtext.transforms.AddToken, on tensors by torch.nn.functional.pad; tf.concat.
    """

    begin: TokenOrId | None = None
    end: TokenOrId | None = None
    vocabulary: ConfigPath | None = None

    agreement = Identical("tokens are moved, never computed")
    examples = (
        Example(ids(1000), {"begin": 101, "end": 102}),
        Example(ids(1000, 5), {"end": 0}),
        Example(ids(439), {"begin": "[CLS]", "end": "[SEP]", "vocabulary": _WORDPIECE}),
        Example(ids(500), {"end": "</s>", "vocabulary": str(EXAMPLES / "sentencepiece.model")}),
        Example(TOKENS, {"begin": "<s>", "end": "Größe"}),
    )

    @model_validator(mode="after")
    def _adds_something(self) -> Self:
        if self.begin is None and self.end is None:
            raise ValueError("expected begin, end or both, got neither")
        return self

    def files(self) -> tuple[Path, ...]:
        return () if self.vocabulary is None else (self.vocabulary,)

    def _value(self, token: int | str | None, x: Spec) -> int | str | None:
        """What is put into a sequence of `x` for `begin` or `end`."""
        return None if token is None else id_or_token(token, x, self.vocabulary)

    def out_spec(self, x: Spec) -> Spec:
        need_sequence(x)
        added = [self._value(token, x) for token in (self.begin, self.end)]
        size = x.size("token")
        return x.but(axes=(*x.axes[:-1], Axis("token", None if size is None else size + 2 - added.count(None))))

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        begin, end = self._value(self.begin, x), self._value(self.end, x)
        if not x.is_numeric:
            before, after = [[] if token is None else [token] for token in (begin, end)]
            return lambda tokens: [*before, *tokens, *after]

        def kernel(sequence: torch.Tensor) -> torch.Tensor:
            for token, sides in ((begin, (1, 0)), (end, (0, 1))):
                if token is not None:
                    sequence = torch.nn.functional.pad(sequence, sides, value=int(token))
            return sequence

        return kernel

    def bind_torch_rows(self, x: Spec) -> Kernel | None:
        if not x.is_numeric or len(x.axes) != 1:
            return None
        import torch

        sides = [[] if t is None else [t] for t in (self._value(self.begin, x), self._value(self.end, x))]
        begin, end = (np.array(side, np.int64) for side in sides)

        def kernel(rows: list[torch.Tensor]) -> list[torch.Tensor]:  # a NumPy call costs a third of a torch call
            return [torch.from_numpy(np.concatenate((begin, row.numpy(), end))) for row in rows]

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        begin, end = self._value(self.begin, x), self._value(self.end, x)

        def kernel(sequence: Any) -> Any:
            before, after = [[] if t is None else [filled(sequence, 1, t)] for t in (begin, end)]
            return tf.concat([*before, sequence, *after], -1)

        return kernel

    def bind_tensorflow_rows(self, x: Spec) -> Kernel | None:
        if x.shape != (None,):
            return None
        import tensorflow as tf

        begin, end = self._value(self.begin, x), self._value(self.end, x)

        def kernel(sequences: Any) -> Any:
            count = sequences.nrows()
            before, after = [
                [] if t is None else [tf.fill([count, 1], tf.constant(t, sequences.dtype))] for t in (begin, end)
            ]
            return tf.concat([*before, sequences, *after], 1)

        return kernel
