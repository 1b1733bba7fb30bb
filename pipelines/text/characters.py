"""Characters as a reader sees them."""

from __future__ import annotations

from pipelines.spec import TEXT, Spec
from pipelines.step import Example, Identical, Kernel, Step
from pipelines.text._characters import WHITESPACE, character_class, settled
from pipelines.text._seams import TOKENS, Route


class Characters(Step):
    """The user-perceived characters of a text.

    Takes  text
    Gives  text[token]   one character each; joined they are the text

    A token is an extended grapheme cluster: a letter with all its accents, a Hangul syllable, a flag, an emoji with
    its modifiers, or a carriage return with its line feed. White space is kept. (Single code points: text.code_points.)

    Source: Unicode annex 29 (15.0) by the tokenizers library (Oniguruma's \\X); list() and tf.strings.unicode_split
    where each code point is a character of its own, as all settled ones are.
    """

    agreement = Identical("each text takes a path that is proved equal on its characters")
    batches = False
    examples = (
        Example(TEXT),
        Example(TEXT, values=lambda rng: ["", "\r\n\n\r", "e\u0301\u0323", "각\u1100\u1161\u11a8", "\0a\u200db"]),
        Example(TEXT, values=lambda rng: ["\U0001f1e9\U0001f1ea\U0001f1eb", "\U0001f469\u200d\U0001f680!", "नमस्ते"]),
    )

    def out_spec(self, x: Spec) -> Spec:
        x.need(("text",), exactly=())
        return TOKENS

    def _safe(self) -> str:
        return f"{character_class((settled() | set(WHITESPACE)) - {chr(13)})}*"  # a carriage return joins a line feed

    def bind_torch(self, x: Spec) -> Kernel:
        import re

        is_plain, clusters = re.compile(self._safe()).fullmatch, _clusters()
        return lambda text: list(text) if is_plain(text) else clusters(text)

    def _route(self) -> Route:
        import tensorflow as tf

        return Route(self._safe(), lambda texts: tf.strings.unicode_split(texts, "UTF-8"), _clusters())

    def bind_tensorflow(self, x: Spec) -> Kernel:
        return self._route().one(x, TOKENS)

    def bind_tensorflow_rows(self, x: Spec) -> Kernel | None:
        return self._route().rows(x, TOKENS)


def _clusters() -> Kernel:
    from tokenizers import Regex, pre_tokenizers

    cut = pre_tokenizers.Split(Regex(r"\X"), behavior="isolated")
    return lambda text: [piece for piece, _ in cut.pre_tokenize_str(text)]
