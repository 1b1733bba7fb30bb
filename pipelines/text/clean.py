"""Unicode form, case, accents and white space."""

from __future__ import annotations

import unicodedata
from typing import Literal

from pipelines.spec import TEXT, Spec
from pipelines.step import Example, HostStep, Identical, Kernel


class Clean(HostStep):
    """Text in one Unicode form, in lower case, without accents, with single spaces, as asked.

    Takes  text
    Gives  text

    In this order: `form`; `accents: strip` decomposes and drops combining marks (category Mn);
    `lower`; `whitespace: collapse` makes every run of white space one space and drops it at the ends;
    then `form` once more (NFC when accents were stripped and `form` is none), so that the result is in it.

    Source: Unicode annex 15, unicodedata.normalize, str.lower, str.split, on both frameworks: the
    tables of tensorflow_text and tf.strings are of another Unicode version than Python's.
    """

    form: Literal["none", "NFC", "NFD", "NFKC", "NFKD"] = "none"
    lower: bool = False
    accents: Literal["keep", "strip"] = "keep"
    whitespace: Literal["keep", "collapse"] = "keep"

    agreement = Identical("one function serves both")
    examples = (
        Example(TEXT, {"form": "NFKC", "lower": True}),
        Example(TEXT, {"accents": "strip", "whitespace": "collapse"}),
        Example(TEXT, {"form": "NFD", "lower": True, "accents": "strip", "whitespace": "collapse"}),
        Example(TEXT, {"form": "NFC"}, lambda rng: ["", "\0 e\u0301", "\u1e9b\u0323", "\uac00\u11a8"]),
        Example(TEXT, {"form": "NFKD"}),
        Example(TEXT),
    )

    def out_spec(self, x: Spec) -> Spec:
        x.need(("text",), exactly=())
        return x

    def bind_numpy(self, x: Spec) -> Kernel:
        form, last = self.form, "NFC" if self.form == "none" and self.accents == "strip" else self.form

        def kernel(text: str) -> str:
            text = _formed(text, form)
            if self.accents == "strip":
                text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
            if self.lower:
                text = text.lower()
            if self.whitespace == "collapse":
                text = " ".join(text.split())
            return _formed(text, last)

        return kernel


def _formed(text: str, form: Literal["none", "NFC", "NFD", "NFKC", "NFKD"]) -> str:
    return text if form == "none" else unicodedata.normalize(form, text)
