"""Two sequences as one, as BERT reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from pipelines.errors import SpecError
from pipelines.spec import Axis, Spec
from pipelines.step import ConfigPath, Example, Identical, Kernel, Step
from pipelines.text._seams import TOKENS, TokenOrId, filled, id_or_token, ids, need_sequence

_WORDPIECE = str(Path(__file__).parent / "_example" / "wordpiece.txt")


class Pair(Step):
    """Two sequences joined to one of at most `length` tokens: begin, first, separator, second, separator.

    Takes  int64[..., token] twice, or text[token] twice
    Gives  the same once: [CLS] a [SEP] b [SEP], or with gives="segments" int64[..., token] in [0, 1], which is
           0 from [CLS] to the first [SEP] and 1 after it. RoBERTa's <s> a </s></s> b </s> is begin="<s>",
           separator="</s>", between=2; T5's a </s> b </s> is begin=null, separator="</s>"

    It stands in a field of two values (from: [a, b]) after the tokenizer, which is applied to each. Where both
    together are too long, the longer one loses tokens at its end until they are equal, then both in turn; of an odd
    number of places the longer one has one more, and the second of two that were equally long. On ids, `begin` and
    `separator` are ids, or names that are looked up in `vocabulary` (any file that text.add_tokens takes); on tokens
    they are tokens. A second field with gives="segments" and the same other parameters makes the segment ids.

    Source: Devlin et al. 2018, Liu et al. 2019 (RoBERTa); equals tokenizers.BertWordPieceTokenizer, and its
    RobertaProcessing, on pairs with truncation "longest_first", which is what Transformers runs. BERT's first code
    gives the odd place to the first sequence, as tensorflow_text.RoundRobinTrimmer does; torch.nn.functional.pad,
    torch.cat, tf.concat in the frameworks.
    """

    length: Annotated[int, Field(ge=5)]
    begin: TokenOrId | None = "[CLS]"
    separator: TokenOrId = "[SEP]"
    between: Literal[1, 2] = 1
    vocabulary: ConfigPath | None = None
    gives: Literal["ids", "segments"] = "ids"

    joins = True
    agreement = Identical("tokens are moved, never computed")
    examples = (
        Example((ids(439), ids(439)), {"length": 128, "vocabulary": _WORDPIECE}),
        Example((ids(1000), ids(1000)), {"length": 12, "begin": 101, "separator": 102}),
        Example((ids(1000), ids(1000)), {"length": 9, "begin": 101, "separator": 102, "gives": "segments"}),
        Example((ids(1000, 9), ids(1000, 4)), {"length": 12, "begin": 101, "separator": 102, "gives": "segments"}),
        Example((ids(1000, 2), ids(1000, 3)), {"length": 8, "begin": 1, "separator": 2}),
        Example((TOKENS, TOKENS), {"length": 9}),
        Example((ids(1000), ids(1000)), {"length": 12, "begin": 0, "separator": 2, "between": 2}),
        Example((TOKENS, TOKENS), {"length": 9, "begin": None, "separator": "</s>", "gives": "segments"}),
        Example((TOKENS, TOKENS), {"length": 8, "begin": "<s>", "separator": "</s>", "between": 2}),
        Example((ids(9, 4), ids(9, 5)), {"length": 10, "begin": None, "separator": 1, "between": 2}),
        Example((TOKENS, TOKENS), {"length": 12, "separator": "Größe", "gives": "segments"}),
    )

    def files(self) -> tuple[Path, ...]:
        return () if self.vocabulary is None else (self.vocabulary,)

    def out_spec(self, *x: Spec) -> Spec:
        if len(x) != 2:
            raise SpecError(f"expected two values (from: [a, b]), got {len(x)}")
        for spec in x:
            need_sequence(spec)
        a, b = x
        if (a.dtype, a.axes[:-1], a.range) != (b.dtype, b.axes[:-1], b.range):
            raise SpecError(f"expected two sequences of the same kind, got {a} and {b}")
        self._ends(a)
        n, m = (spec.size("token") for spec in x)
        kept = None if n is None or m is None else sum(self._kept(n, m, min, max)) + self._added
        axes = (*a.axes[:-1], Axis("token", kept))
        return Spec("int64", axes, "segment", (0, 1)) if self.gives == "segments" else a.but(axes=axes)

    @property
    def _added(self) -> int:
        """Tokens that are put in: begin, the separators between, and the last one."""
        return (self.begin is not None) + self.between + 1

    def _ends(self, x: Spec) -> tuple[list[int | str], int | str]:
        """What stands at the begin, if anything does, and the separator."""
        begin = [] if self.begin is None else [id_or_token(self.begin, x, self.vocabulary)]
        return begin, id_or_token(self.separator, x, self.vocabulary)

    def _kept(self, a: Any, b: Any, least: Callable[..., Any], most: Callable[..., Any]) -> tuple[Any, Any]:
        """How many tokens of each sequence stay, of a and of b tokens."""
        room = self.length - self._added
        # the second has the odd place unless the first is longer: with equal numbers, `first_longer` is 0
        first_longer = most(least(a - b, 1), 0)
        half, other = room // 2, room // 2 + room % 2
        share_a = half + (other - half) * first_longer
        share_b = room - share_a
        return least(a, most(share_a, room - b)), least(b, most(share_b, room - a))

    def bind_torch(self, *x: Spec) -> Kernel:
        import torch

        begin, separator = self._ends(x[0])

        def on_tokens(a: list[str], b: list[str]) -> Any:
            n, m = self._kept(len(a), len(b), min, max)
            if self.gives == "segments":
                return torch.tensor([0] * (len(begin) + n + 1) + [1] * (m + self.between))
            return [*begin, *a[:n], *[separator] * self.between, *b[:m], separator]

        def on_ids(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            n, m = self._kept(a.shape[-1], b.shape[-1], min, max)
            leading = a.shape[:-1]
            if self.gives == "segments":
                zeros = a.new_zeros((*leading, len(begin) + n + 1))
                return torch.nn.functional.pad(zeros, (0, m + self.between), value=1)
            first, last = a.new_tensor(begin).expand(*leading, -1), a.new_tensor([separator]).expand(*leading, 1)
            return torch.cat([first, a[..., :n], *[last] * self.between, b[..., :m], last], -1)

        return on_ids if x[0].is_numeric else on_tokens

    def bind_tensorflow(self, *x: Spec) -> Kernel:
        import tensorflow as tf

        begin, separator = self._ends(x[0])
        shape = self.out_spec(*x).shape[-1:]

        def kernel(a: Any, b: Any) -> Any:
            n, m = self._kept(tf.shape(a)[-1], tf.shape(b)[-1], tf.minimum, tf.maximum)
            if self.gives == "segments":
                leading = tf.shape(a)[:-1]
                sizes = ((0, len(begin) + n + 1), (1, m + self.between))
                parts = [tf.fill(tf.concat([leading, [k]], 0), tf.constant(v, tf.int64)) for v, k in sizes]
            else:
                first, last = [filled(a, 1, token) for token in begin], filled(a, 1, separator)
                parts = [*first, a[..., :n], *[last] * self.between, b[..., :m], last]
            return tf.ensure_shape(tf.concat(parts, -1), [*a.shape[:-1], *shape])

        return kernel
