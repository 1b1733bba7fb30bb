"""The first tokens of a sequence."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from pipelines.spec import Axis, Spec
from pipelines.step import Example, Identical, Kernel, Step
from pipelines.text._seams import TOKENS, ids, need_sequence


class Truncate(Step):
    """The first `length` tokens of a sequence; a shorter one stays as it is.

    Takes  int64[..., token] or text[token]
    Gives  the same; out[i] = in[i] for i < length

    Source: torchtext.transforms.Truncate, which takes only lists; slices in both frameworks.
    """

    length: Annotated[int, Field(ge=1)]

    agreement = Identical("tokens are moved, never computed")
    examples = (
        Example(ids(1000), {"length": 6}),
        Example(ids(1000, 9), {"length": 4}),
        Example(ids(1000, 3), {"length": 4}),
        Example(TOKENS, {"length": 2}),
    )

    def out_spec(self, x: Spec) -> Spec:
        need_sequence(x)
        size = x.size("token")
        return x.but(axes=(*x.axes[:-1], Axis("token", None if size is None else min(size, self.length))))

    def bind_torch(self, x: Spec) -> Kernel:
        if not x.is_numeric:
            return lambda tokens: tokens[: self.length]
        return lambda sequence: sequence[..., : self.length]

    def bind_tensorflow(self, x: Spec) -> Kernel:
        def kernel(sequence: Any) -> Any:
            return sequence[..., : self.length]

        return kernel

    def bind_tensorflow_rows(self, x: Spec) -> Kernel | None:
        if x.shape != (None,):
            return None
        return lambda sequences: sequences[:, : self.length]
