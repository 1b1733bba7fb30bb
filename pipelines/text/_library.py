"""Which companion libraries of the text steps work here, and what the steps use where one does not.

torchtext ends with torch 2.3; tensorflow-text and keras-nlp have no build for every Python and
TensorFlow. The steps give the same ids without them, through the libraries of the base install.
"""

from __future__ import annotations

import importlib
from functools import cache

INSTEAD = {"torchtext": "tokenizers", "tensorflow_text": "tokenizers", "keras_nlp": "tensorflow"}
"""Each companion library of the text steps, and what gives the same values where it cannot be loaded."""


@cache
def why_not(library: str) -> str | None:
    """Why `library` cannot be used here, or None when it can. Loads it, since some are found and then fail to load."""
    try:
        module = importlib.import_module(library)
    except Exception as error:  # a library built for another framework version fails in ways of its own
        return f"{type(error).__name__}: {error}".splitlines()[0]
    if library == "torchtext":
        module.disable_torchtext_deprecation_warning()  # its submodules warn on import that it has ended
    return None


def usable(*libraries: str) -> bool:
    """Whether all of `libraries` can be used here."""
    return all(why_not(library) is None for library in libraries)
