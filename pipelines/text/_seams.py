"""What flows between text steps, and how a guarded graph is built."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from pipelines.errors import SpecError, nearest
from pipelines.spec import Axis, Spec
from pipelines.step import Kernel
from pipelines.text._files import vocabulary

TOKENS = Spec("text", (Axis("token"),))


def _distinct(special: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(special)) < len(special):
        raise ValueError("each special token may stand once")
    return special


TokenOrId = Annotated[int, Field(ge=0, strict=True)] | Annotated[str, Field(min_length=1)]
Distinct = AfterValidator(_distinct)
"""Of special tokens: each stands once."""


def ids(count: int, length: int | None = None) -> Spec:
    """Token ids of a vocabulary of `count` entries; `length` None means that each text has its own."""
    return Spec("int64", (Axis("token", length),), "token id", (0, count - 1))


def routed(pattern: str, in_graph: Kernel, on_host: Kernel, unless: str | None = None) -> Kernel:
    """A TensorFlow kernel: `in_graph` for a text that matches `pattern` as a whole, `on_host` for any other.

    A text in which `unless` occurs goes to `on_host` too.
    """
    import tensorflow as tf

    def kernel(text: Any) -> Any:
        safe = tf.strings.regex_full_match(text, pattern)
        if unless is not None:
            safe &= ~tf.strings.regex_full_match(text, f"(?s).*(?:{unless}).*")
        return tf.cond(safe, lambda: in_graph(text), lambda: on_host(text))

    return kernel


def need_sequence(x: Spec) -> None:
    """Raise SpecError unless `x` is a sequence of token ids or of tokens."""
    x.need(("int64", "text"), last=("token",))
    if not x.is_numeric:
        x.need(exactly=("token",))


def id_or_token(token: int | str, x: Spec, names: Path | None) -> int | str:
    """What `token` is in a sequence of `x`: itself among tokens, among ids its id, by the vocabulary file `names`."""
    if isinstance(token, str) and not x.is_numeric:
        return token
    if isinstance(token, int):
        if not x.is_numeric or (x.range and token > x.range[1]):
            raise SpecError(f"the id {token} cannot be added to {x}")
        return token
    if names is None:
        raise SpecError(f"expected an id to add to {x}, got the token {token!r}; name its vocabulary, or give its id")
    known = vocabulary(names)
    if token not in known:
        raise SpecError(f"{token!r} is not in {names}{nearest(token, known[:1000])}")
    return known.index(token)


def filled(sequence: Any, count: Any, value: int | str | None) -> Any:
    """A TensorFlow tensor of `count` tokens `value`, with the leading axes of `sequence`."""
    import tensorflow as tf

    shape = tf.concat([tf.shape(sequence)[:-1], [count]], 0)
    return tf.fill(shape, tf.constant(value, sequence.dtype))
