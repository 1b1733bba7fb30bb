"""Tokens to ids of a vocabulary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from pipelines import companions
from pipelines.errors import RecordError, SpecError, UserError
from pipelines.fitted import Fitted
from pipelines.guard import after
from pipelines.spec import Spec
from pipelines.step import ConfigPath, Example, Identical, Kernel
from pipelines.text._files import lines, vocabulary, write
from pipelines.text._seams import TOKENS, Distinct, ids

_FILE = str(Path(__file__).parent / "_example" / "words.txt")
_WORDS = ("a", "red", "circle", "Größe", "<unk>", "<pad>", "below", "\0", "a\0", "")
Token = Annotated[str, Field(min_length=1)]


class Vocab(Fitted):
    """Ids of tokens, by a vocabulary from a file or learnt from the records.

    Takes  text[token]
    Gives  int64[token]   token id, in [0, tokens in the vocabulary - 1]

    `file` holds one token a line, its id the number of lines above it. A token that is not in it
    becomes `unknown`; without `unknown` it fails the record. `pipelines fit` writes the file: first
    `unknown` and `special` (in that order; give `unknown` among `special` to place it elsewhere), then
    the tokens that occur at least `minimum_count` times, most frequent first and equal ones in order of
    code points, `size` in all at most. Tokens with a line break or NUL in them are left out.

    Source: torchtext.vocab.Vocab and build_vocab_from_iterator; tf.lookup.StaticHashTable.
    """

    file: ConfigPath
    unknown: Token | None = "<unk>"
    special: Annotated[tuple[Token, ...], Distinct] = ()
    size: Annotated[int, Field(ge=1)] | None = None
    minimum_count: Annotated[int, Field(ge=1)] = 1

    agreement = Identical("a table look-up")
    batches = False
    examples = (
        Example(TOKENS, {"file": _FILE}),
        Example(TOKENS, {"file": _FILE}, lambda rng: [list(rng.choice(_WORDS, size)) for size in (0, 1, 17)]),
        Example(TOKENS, {"file": _FILE, "unknown": None}, lambda rng: [["a", "red", "circle"], ["<pad>"]]),
    )

    def files(self) -> tuple[Path, ...]:
        return (self.file,)

    def asks(self) -> frozenset[str]:
        # a config that only reads the file need not say how it was learnt
        return frozenset(self.model_fields_set - {"unknown"} if self.unknown is None else self.model_fields_set)

    def naming(self) -> Callable[[int], str]:
        return vocabulary(self.file).__getitem__

    def out_spec(self, x: Spec) -> Spec:
        x.need(("text",), exactly=("token",))
        self.need_fitted()
        tokens = vocabulary(self.file)
        if self.unknown is not None and self.unknown not in tokens:
            raise SpecError(f"{self.file} lacks the unknown token {self.unknown!r}; name its own, or unknown: null")
        return ids(len(tokens), x.size("token"))

    def fit(self, values: Iterable[Any]) -> None:
        counts: Counter[str] = Counter()
        for tokens in values:
            counts.update(tokens)
        first = list(self.special)
        if self.unknown is not None and self.unknown not in first:
            first.insert(0, self.unknown)
        kept = [t for t, n in counts.items() if n >= self.minimum_count and t not in first and _fits_on_a_line(t)]
        kept.sort(key=lambda token: (-counts[token], token))
        if not kept:
            raise UserError(f"no token occurs {self.minimum_count} times or more, so {self.file} would be empty")
        if self.size is not None and self.size < len(first):
            raise UserError(f"size={self.size} must be >= {len(first)}, the number of special tokens")
        tokens = (first + kept)[: self.size]
        write({self.file: lines(tokens)})

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        tokens = vocabulary(self.file)
        numbers = {token: i for i, token in enumerate(tokens)}
        default = None if self.unknown is None else numbers[self.unknown]

        def by_table(words: list[str]) -> list[int]:
            return [numbers[word] if default is None else numbers.get(word, default) for word in words]

        lookup = by_table
        if default is not None and companions.usable("torchtext"):
            from torchtext.vocab import vocab

            table = vocab(dict.fromkeys(tokens, 1))
            table.set_default_index(default)
            lookup = table.lookup_indices

        def kernel(words: list[str]) -> torch.Tensor:
            if default is None and (missing := next((w for w in words if w not in numbers), None)) is not None:
                raise RecordError(f"{missing!r} is not in the vocabulary, which has no unknown token")
            return torch.tensor(lookup(words), dtype=torch.int64)

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        tokens = vocabulary(self.file)
        pairs = tf.lookup.KeyValueTensorInitializer(list(tokens), range(len(tokens)), tf.string, tf.int64)
        table = tf.lookup.StaticHashTable(pairs, -1 if self.unknown is None else tokens.index(self.unknown))

        def kernel(words: Any) -> Any:
            found = table.lookup(words)
            if self.unknown is not None:
                return found
            known = tf.debugging.Assert(tf.reduce_all(found >= 0), ["a token is not in the vocabulary:", words])
            return after([known], found)

        return kernel

    def bind_tensorflow_rows(self, x: Spec) -> Kernel | None:
        if x.size("token") is not None:
            return None
        import tensorflow as tf

        kernel = self.bind_tensorflow(x)
        return lambda words: tf.ragged.map_flat_values(kernel, words)


def _fits_on_a_line(token: str) -> bool:
    return bool(token) and not {"\n", "\r", "\0"} & set(token)
