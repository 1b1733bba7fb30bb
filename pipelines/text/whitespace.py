"""Words between white space."""

from __future__ import annotations

from typing import Any

from pipelines.spec import TEXT, Spec
from pipelines.step import Example, Identical, Kernel, Step
from pipelines.text._characters import character_class
from pipelines.text._seams import TOKENS

# Unicode's property White_Space, and the four separators U+001C to U+001F: what str.isspace says
BLANKS = (
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680"
    + "".join(map(chr, range(0x2000, 0x200B)))
    + ("\u2028\u2029\u202f\u205f\u3000")
)


class Whitespace(Step):
    """The parts of a text between white space.

    Takes  text
    Gives  text[token]

    White space is what Python's str.isspace says: Unicode's White_Space and U+001C to U+001F, so a no-break space and
    an ideographic space separate, a zero-width space does not. No token is empty; white space alone gives none.

    Source: str.split(); tf.strings.regex_replace and tf.strings.split, which alone knows ASCII white space only.
    tensorflow_text's WhitespaceTokenizer cuts some wide spaces in the middle of their bytes.
    """

    agreement = Identical("text is cut, never changed")
    batches = False
    examples = (
        Example(TEXT),
        Example(
            TEXT, values=lambda rng: ["", " \t\n", "a\u00a0b\u3000c\x1cd\x85e", "a\u200bb \ufeffc", "\0 a\0b \x00"]
        ),
        Example(TEXT, values=lambda rng: ["".join(f"{c}é" for c in BLANKS), " leading and trailing\u2029"]),
    )

    def out_spec(self, x: Spec) -> Spec:
        x.need(("text",), exactly=())
        return TOKENS

    def bind_torch(self, x: Spec) -> Kernel:
        return lambda text: text.split()

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        blank = character_class(BLANKS)

        def kernel(text: Any) -> Any:
            return tf.strings.split(tf.strings.regex_replace(text, blank, " "))

        return kernel

    def bind_tensorflow_rows(self, x: Spec) -> Kernel | None:
        return self.bind_tensorflow(x)
