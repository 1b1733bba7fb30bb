"""Tokens by a pattern."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from pipelines import companions
from pipelines.spec import TEXT, Spec
from pipelines.step import Example, Identical, Kernel, Step, host_tensorflow, host_tensorflow_rows
from pipelines.text._characters import character_class, tabled
from pipelines.text._seams import TOKENS, Route

_MARK = "\x01"  # stands beside each match; no character of the tables


class Regex(Step):
    """The parts of a text that match a pattern, or that lie between its matches.

    Takes  text
    Gives  text[token]

    `mode` match gives the matches of `pattern` from left to right, none over another; split gives what is left
    between them. Empty tokens are left out. `pattern` is RE2's, found leftmost first as in Perl and Python, on code
    points; \\w, \\d, \\s and \\b are ASCII, so say \\p{L}, \\p{N} for letters and numbers of all scripts. It must not
    match the empty text.

    Source: RE2, whose time grows with the text and not faster. The engines of `re`, `regex` and `tokenizers` try
    alternatives again and again, so a pattern such as (a+)+b may take for ever, and a limit in time would fail
    other records on other machines; what RE2 leaves out for it (look-around, references back) is refused. RE2 is
    called in torchtext and tf.strings.regex_replace for texts of characters that the tables of every copy hold alike,
    in pyarrow for the others. pyarrow reads the pattern anew for each call, which takes milliseconds with classes such
    as \\p{L}, so it is handed all such texts of a batch at once.
    """

    pattern: Annotated[str, Field(min_length=1)]
    mode: Literal["match", "split"] = "match"

    agreement = Identical("each text takes a path that is proved equal on its characters")
    batches = False
    examples = (
        Example(TEXT, {"pattern": r"\p{L}+|\p{N}+|[^\s\p{L}\p{N}]"}),
        Example(TEXT, {"pattern": r"[\s\p{P}]+", "mode": "split"}),
        Example(TEXT, {"pattern": r"(?i)(the|qu)|\w\b"}, lambda rng: ["", "\1\0 a\1", "The quick\n\u00a0ſtop", "ÄÖ"]),
        Example(TEXT, {"pattern": r"\b", "mode": "split"}, lambda rng: ["it's", "a\u2003b ", "-", "\x01\x01 a", "中a"]),
    )

    @field_validator("pattern")
    @classmethod
    def _is_re2(cls, pattern: str) -> str:
        from pyarrow import ArrowInvalid

        if re.search(r"(?<!\\)(?:\\\\)*\\C", pattern) or re.search(r"\(\?P?<", pattern):
            raise ValueError(f"expected a pattern without \\C and without names for groups, got {pattern!r}")
        try:
            (found,) = _replace([""], pattern, _MARK)
        except ArrowInvalid as error:
            why = str(error).removeprefix("Invalid regular expression: ")
            raise ValueError(f"expected a pattern of RE2, got {pattern!r}: {why}") from error
        if found:
            raise ValueError(f"expected a pattern that takes at least one character, got {pattern!r}, which needs none")
        return pattern

    def out_spec(self, x: Spec) -> Spec:
        x.need(("text",), exactly=())
        return TOKENS

    def _marked(self, mark: str) -> str:
        """What stands in the place of each match."""
        return mark if self.mode == "split" else rf"{mark}\0{mark}"

    def _cut(self, marked: str, mark: str) -> list[str]:
        parts = marked.split(mark)
        return [part for part in (parts if self.mode == "split" else parts[1::2]) if part]

    def _any_text(self, text: str) -> list[str]:
        return self._any_texts([text])[0]

    def _any_texts(self, texts: list[str]) -> list[list[str]]:
        held = set().union(*texts)
        mark = next(c for c in (_MARK, *map(chr, range(0xE000, 0xF8FF))) if c not in held)
        return [self._cut(found, mark) for found in _replace(texts, self.pattern, self._marked(mark))]

    def bind_torch(self, x: Spec) -> Kernel:
        is_fast, fast = self._torchtext()
        return lambda text: fast(text) if is_fast(text) else self._any_text(text)

    def bind_torch_rows(self, x: Spec) -> Kernel:
        is_fast, fast = self._torchtext()

        def kernel(texts: list[str]) -> list[list[str]]:
            slow = [text for text in texts if not is_fast(text)]
            found = dict(zip(slow, self._any_texts(slow), strict=True)) if slow else {}
            return [found[text] if text in found else fast(text) for text in texts]

        return kernel

    def _torchtext(self) -> tuple[Callable[[str], object], Kernel]:
        """Whether torchtext's RE2 may have a text, and the kernel by it."""
        if not companions.usable("torchtext"):
            return lambda text: False, self._any_text
        from torchtext._torchtext import Regex as Compiled

        # an older RE2 prints that it does not know a pattern, and then replaces nothing
        if Compiled(rf"(?:{self.pattern})|\x01").Sub(_MARK, "") == _MARK:
            return lambda text: False, self._any_text
        compiled, put = Compiled(self.pattern), self._marked(_MARK)
        return re.compile(_safe()).fullmatch, lambda text: self._cut(compiled.Sub(text, put), _MARK)

    def _route(self) -> Route | None:
        import tensorflow as tf

        try:
            tf.strings.regex_replace("", self.pattern, "")
        except tf.errors.InvalidArgumentError:  # an older RE2 does not know it
            return None
        every = self.mode == "split"

        def in_graph(texts: Any) -> Any:
            marked = tf.strings.regex_replace(texts, self.pattern, self._marked(_MARK))
            parts = tf.strings.split(marked, _MARK)
            parts = parts if every else parts[:, 1::2]
            return tf.ragged.boolean_mask(parts, tf.strings.length(parts) > 0)

        return Route(_safe(), in_graph, self._any_text)

    def bind_tensorflow(self, x: Spec) -> Kernel:
        route = self._route()
        return route.one(x, TOKENS) if route else host_tensorflow(self._any_text, x, TOKENS)

    def bind_tensorflow_rows(self, x: Spec) -> Kernel | None:
        route = self._route()
        return route.rows(x, TOKENS) if route else host_tensorflow_rows(self._any_text, x, TOKENS)


@cache
def _safe() -> str:
    return f"{character_class(tabled())}*"


def _replace(texts: list[str], pattern: str, replacement: str) -> list[str]:
    import pyarrow
    from pyarrow import compute

    found = compute.replace_substring_regex(
        pyarrow.array(texts, pyarrow.large_string()), pattern=pattern, replacement=replacement
    )
    return list(found.to_pylist())
