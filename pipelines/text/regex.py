"""Tokens by a pattern."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from pipelines import companions
from pipelines.spec import TEXT, Spec
from pipelines.step import Example, Identical, Kernel, Step, host_tensorflow, host_tensorflow_rows
from pipelines.text._characters import WHITESPACE, character_class, settled
from pipelines.text._seams import TOKENS, Route

_MARK = "\x01"  # stands beside each match; no settled character


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
    called in pyarrow, and where a text has settled characters alone in torchtext and tf.strings.regex_replace,
    whose copies have other Unicode tables. pyarrow reads the pattern anew for each text: with classes such as \\p{L}
    that takes milliseconds, which only texts of other characters, or a Python without torchtext, have to wait for.
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
            found = _replace("", pattern, _MARK)
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
        mark = next(c for c in (_MARK, *map(chr, range(0xE000, 0xF8FF))) if c not in text)
        return self._cut(_replace(text, self.pattern, self._marked(mark)), mark)

    def _safe(self) -> str:
        return f"{character_class(settled() | set(WHITESPACE))}*"

    def bind_torch(self, x: Spec) -> Kernel:
        if not companions.usable("torchtext"):
            return self._any_text
        from torchtext._torchtext import Regex as Compiled

        # an older RE2 prints that it does not know a pattern, and then replaces nothing
        if Compiled(rf"(?:{self.pattern})|\x01").Sub(_MARK, "") == _MARK:
            return self._any_text
        compiled, is_safe, put = Compiled(self.pattern), re.compile(self._safe()).fullmatch, self._marked(_MARK)
        return lambda text: self._cut(compiled.Sub(text, put), _MARK) if is_safe(text) else self._any_text(text)

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

        return Route(self._safe(), in_graph, self._any_text)

    def bind_tensorflow(self, x: Spec) -> Kernel:
        route = self._route()
        return route.one(x, TOKENS) if route else host_tensorflow(self._any_text, x, TOKENS)

    def bind_tensorflow_rows(self, x: Spec) -> Kernel | None:
        route = self._route()
        return route.rows(x, TOKENS) if route else host_tensorflow_rows(self._any_text, x, TOKENS)


def _replace(text: str, pattern: str, replacement: str) -> str:
    import pyarrow
    from pyarrow import compute

    found = compute.replace_substring_regex(pyarrow.scalar(text), pattern=pattern, replacement=replacement)
    return str(found.as_py())
