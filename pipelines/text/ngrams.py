"""Runs of neighbouring tokens."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator
from typing_extensions import Self

from pipelines.spec import Axis, Spec
from pipelines.step import Example, Identical, Kernel, Step
from pipelines.text._seams import TOKENS


class Ngrams(Step):
    """Runs of `least` to `most` neighbouring tokens, each run joined to one token.

    Takes  text[token]
    Gives  text[token]   all runs of `least` tokens from left to right, then those of one more, up to `most`

    `joint` stands between the tokens of a run. A sequence that is shorter than a run has none of it. Before text.vocab
    this makes the vocabulary of a bag of n-grams.

    Source: torchtext.data.utils.ngrams_iterator, whose least is 1; tf.strings.ngrams.
    """

    least: Annotated[int, Field(ge=1)] = 1
    most: Annotated[int, Field(ge=1)] = 2
    joint: str = " "

    agreement = Identical("tokens are joined, never changed")
    batches = False
    examples = (
        Example(TOKENS),
        Example(TOKENS, {"most": 3}),
        Example(
            TOKENS, {"least": 2, "most": 2, "joint": "\u2581"}, lambda rng: [[], ["a"], ["a", "", "\0"], ["é"] * 5]
        ),
        Example(TOKENS.but(axes=(Axis("token", 4),)), {"least": 2, "most": 5, "joint": ""}),
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.most < self.least:
            raise ValueError(f"most={self.most} must be >= least={self.least}")
        return self

    def out_spec(self, x: Spec) -> Spec:
        x.need(("text",), exactly=("token",))
        size = x.size("token")
        return x.but(axes=(Axis("token", None if size is None else sum(max(size - n + 1, 0) for n in self._widths)),))

    @property
    def _widths(self) -> range:
        return range(self.least, self.most + 1)

    def bind_torch(self, x: Spec) -> Kernel:
        def kernel(tokens: list[str]) -> list[str]:
            return [self.joint.join(tokens[i : i + n]) for n in self._widths for i in range(len(tokens) - n + 1)]

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        size = self.out_spec(x).shape

        def kernel(tokens: Any) -> Any:
            return tf.ensure_shape(tf.strings.ngrams(tokens, tuple(self._widths), self.joint), size)

        return kernel

    def bind_tensorflow_rows(self, x: Spec) -> Kernel | None:
        if x.size("token") is not None:
            return None
        import tensorflow as tf

        return lambda tokens: tf.strings.ngrams(tokens, tuple(self._widths), self.joint)
