"""What flows between text steps, and how a guarded graph is built."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, Field

from pipelines.errors import SpecError
from pipelines.spec import Axis, Spec
from pipelines.step import Kernel, host_tensorflow, host_tensorflow_rows
from pipelines.text._names import id_of

TOKENS = Spec("text", (Axis("token"),))
EXAMPLES = Path(__file__).parent / "_example"


def _distinct(special: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(special)) < len(special):
        raise ValueError("each special token may stand once")
    return special


TokenOrId = Annotated[int, Field(ge=0, strict=True)] | Annotated[str, Field(min_length=1)]
Distinct = AfterValidator(_distinct)
"""Of special tokens: each stands once."""
Special = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...] | None, AfterValidator(lambda s: s and _distinct(s))
]
"""Special tokens that are kept whole where a raw text holds them; None for those that the model has."""


def ids(count: int, length: int | None = None) -> Spec:
    """Token ids of a vocabulary of `count` entries; `length` None means that each text has its own."""
    return Spec("int64", (Axis("token", length),), "token id", (0, count - 1))


class Route(NamedTuple):
    """Two ways from texts to tokens or ids in TensorFlow: `in_graph` where it is proved equal, else `on_host`."""

    pattern: str
    """What a text that goes in the graph matches as a whole."""
    in_graph: Kernel
    """Texts, string[n], to a RaggedTensor."""
    on_host: Kernel
    """One text to a list or an array, in Python."""
    unless: str | None = None
    """A text in which this occurs goes to the host too."""

    def is_safe(self, texts: Any) -> Any:
        """Whether texts may go in the graph."""
        import tensorflow as tf

        safe = tf.strings.regex_full_match(texts, self.pattern)
        if self.unless is not None:
            safe &= ~tf.strings.regex_full_match(texts, f"(?s).*(?:{self.unless}).*")
        return safe

    def one(self, x: Spec, out: Spec) -> Kernel:
        """The TensorFlow kernel for one text."""
        import tensorflow as tf

        host = host_tensorflow(self.on_host, x, out)

        def kernel(text: Any) -> Any:
            return tf.cond(self.is_safe(text), lambda: self.in_graph(text[None]).values, lambda: host(text))

        return kernel

    def rows(self, x: Spec, out: Spec) -> Kernel | None:
        """The TensorFlow kernel for the texts of a batch."""
        import tensorflow as tf

        host = host_tensorflow_rows(self.on_host, x, out)
        if host is None:
            return None

        def kernel(texts: Any) -> Any:
            safe = self.is_safe(texts)
            places = [tf.where(which)[:, 0] for which in (safe, ~safe)]

            def apart() -> Any:
                parts = [way(tf.gather(texts, at)) for way, at in zip((self.in_graph, host), places, strict=True)]
                return tf.gather(tf.concat(parts, 0), tf.argsort(tf.concat(places, 0)))

            return tf.cond(tf.reduce_all(safe), lambda: self.in_graph(texts), apart)

        return kernel


def need_sequence(x: Spec) -> None:
    """Raise SpecError unless `x` is a sequence of token ids or of tokens."""
    x.need(("int64", "text"), last=("token",))
    if not x.is_numeric:
        x.need(exactly=("token",))


def id_or_token(token: int | str, x: Spec, names: Path | None) -> int | str:
    """What `token` is in a sequence of `x`: itself among tokens, among ids its id, by the file `names`."""
    if isinstance(token, str) and not x.is_numeric:
        return token
    if isinstance(token, int):
        if not x.is_numeric or (x.range and token > x.range[1]):
            raise SpecError(f"the id {token} cannot be added to {x}")
        return token
    if names is None:
        raise SpecError(f"expected an id to add to {x}, got the token {token!r}; name its vocabulary, or give its id")
    return id_of(token, names)


def filled(sequence: Any, count: Any, value: int | str | None) -> Any:
    """A TensorFlow tensor of `count` tokens `value`, with the leading axes of `sequence`."""
    import tensorflow as tf

    shape = tf.concat([tf.shape(sequence)[:-1], [count]], 0)
    return tf.fill(shape, tf.constant(value, sequence.dtype))
