"""Which companion libraries of the text steps work here, and what the steps use where one does not.

torchtext ends with torch 2.3; tensorflow-text and keras-nlp have no build for every Python and
TensorFlow. The steps give the same ids without them, through the libraries of the base install.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

INSTEAD = {"torchtext": "tokenizers", "tensorflow_text": "tokenizers", "keras_nlp": "tensorflow"}
"""Each companion library of the text steps, and what gives the same values where it cannot be loaded."""

_missed: ContextVar[list[str] | None] = ContextVar("missed", default=None)


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
    lacking = [library for library in libraries if why_not(library) is not None]
    told = _missed.get()
    if told is not None:
        told += lacking
    return not lacking


@contextmanager
def missed() -> Iterator[list[str]]:
    """Collects the libraries that steps, bound meanwhile, ask for and have to do without."""
    lacking: list[str] = []
    token = _missed.set(lacking)
    try:
        yield lacking
    finally:
        _missed.reset(token)
