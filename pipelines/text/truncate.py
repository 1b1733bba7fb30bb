"""The first, or last, tokens of a sequence."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from pipelines.spec import Axis, Spec
from pipelines.step import Example, Identical, Kernel, Step
from pipelines.text._seams import TOKENS, ids, need_sequence


class Truncate(Step):
    """The first `length` tokens of a sequence, or its last; a shorter one stays as it is.

    Takes  int64[..., token] or text[token]
    Gives  the same; out[i] = in[i] for i < length, or with side="left", where tokens are cut off then, the last ones

    Source: torchtext.transforms.Truncate, which takes only lists; slices in both frameworks.
    """

    length: Annotated[int, Field(ge=1)]
    side: Literal["right", "left"] = "right"

    agreement = Identical("tokens are moved, never computed")
    examples = (
        Example(ids(1000), {"length": 6}),
        Example(ids(1000, 9), {"length": 4}),
        Example(ids(1000, 3), {"length": 4}),
        Example(TOKENS, {"length": 2}),
        Example(ids(1000), {"length": 6, "side": "left"}),
        Example(TOKENS, {"length": 3, "side": "left"}),
    )

    def out_spec(self, x: Spec) -> Spec:
        need_sequence(x)
        size = x.size("token")
        return x.but(axes=(*x.axes[:-1], Axis("token", None if size is None else min(size, self.length))))

    @property
    def _kept(self) -> slice:
        return slice(-self.length, None) if self.side == "left" else slice(self.length)

    def bind_torch(self, x: Spec) -> Kernel:
        if not x.is_numeric:
            return lambda tokens: tokens[self._kept]
        length, kept = self.length, self._kept
        return lambda sequence: sequence if sequence.shape[-1] <= length else sequence[..., kept]

    def bind_tensorflow(self, x: Spec) -> Kernel:
        def kernel(sequence: Any) -> Any:
            return sequence[..., self._kept]

        return kernel

    def bind_tensorflow_rows(self, x: Spec) -> Kernel | None:
        if x.shape != (None,):
            return None
        return lambda sequences: sequences[:, self._kept]
