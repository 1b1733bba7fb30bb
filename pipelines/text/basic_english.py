"""torchtext's plain English words."""

from __future__ import annotations

import re
from typing import Any

from pipelines import companions
from pipelines.spec import TEXT, Spec
from pipelines.step import Example, Identical, Kernel, Step
from pipelines.text._characters import WHITESPACE, character_class, settled
from pipelines.text._seams import TOKENS, Route

# what the replacements of torchtext amount to, in this order
_DROPPED = '"'
_BLANK = r"<br />|[;:]"
_APART = r"['.,()!?]"


class BasicEnglish(Step):
    """Words and punctuation of an English text, in lower case.

    Takes  text
    Gives  text[token]

    Lower case; double quotes go; `<br />`, `;` and `:` become spaces; each of ' . , ( ) ! ? is a
    token of its own; the rest is cut at white space. A text of nothing else gives no tokens.

    Source: torchtext.data.utils.get_tokenizer("basic_english"); tf.strings where the text has only
    settled characters (its lower case ends at NUL, and its white space is ASCII), the same rules in
    Python for other texts and where torchtext cannot be loaded.
    """

    agreement = Identical("each text takes a path that is proved equal on its characters")
    batches = False
    examples = (
        Example(TEXT),
        Example(TEXT, values=lambda rng: ['<br />A "B"; c<br/>d', '<"br />', "don't.stop(now)!?", "", '" ; :']),
        Example(TEXT, values=lambda rng: ["a\0b", "x\u2003y\x1fz", "ΑΣ. ΑΣ'", "İstanbul", "\u00a0"]),
    )

    def out_spec(self, x: Spec) -> Spec:
        x.need(("text",), exactly=())
        return TOKENS

    def bind_torch(self, x: Spec) -> Kernel:
        if not companions.usable("torchtext"):
            return tokens
        from torchtext.data.utils import get_tokenizer

        tokenizer: Kernel = get_tokenizer("basic_english")
        return tokenizer

    def _route(self) -> Route:
        import tensorflow as tf

        def in_graph(texts: Any) -> Any:
            texts = tf.strings.lower(texts, encoding="utf-8")
            texts = tf.strings.regex_replace(texts, _DROPPED, "")
            texts = tf.strings.regex_replace(texts, _BLANK, " ")
            return tf.strings.split(tf.strings.regex_replace(texts, _APART, r" \0 "))

        # the lower case of a capital sigma hangs on its neighbours
        safe = character_class((settled() | set(WHITESPACE)) - {"Σ"})
        return Route(f"{safe}*", in_graph, tokens)

    def bind_tensorflow(self, x: Spec) -> Kernel:
        return self._route().one(x, TOKENS)

    def bind_tensorflow_rows(self, x: Spec) -> Kernel | None:
        return self._route().rows(x, TOKENS)


def tokens(text: str) -> list[str]:
    """The tokens of one text."""
    text = re.sub(_BLANK, " ", text.lower().replace(_DROPPED, ""))
    return re.sub(_APART, r" \g<0> ", text).split()
