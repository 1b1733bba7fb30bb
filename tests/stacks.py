"""The two stacks, what each does not hold by design, and which is under test: the one place that says so.

scripts/test names the stack in PIPELINES_STACK. A test marked `needs("torchtext")` is left out, and counted, where the
stack under test does not hold torchtext; test_locked_packages.py shows that each stack holds all else.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Stack:
    """A set of versions: `lock` names its file, `lacks` the libraries that no version of it has."""

    name: str
    lock: str
    lacks: frozenset[str]


# tensorflow-text and keras-hub have no build for Python 3.12 that fits TensorFlow 2.16
_WITHOUT_TEXT = frozenset(
    {"tensorflow_text", "keras_hub", "keras_hub.StartEndPacker"} if sys.version_info >= (3, 12) else ()
)
STACKS = {
    "full": Stack("full", "full-dev", _WITHOUT_TEXT),
    "current": Stack(
        "current",
        "current-dev",
        frozenset({"torchtext", "tensorflow_io", "torchaudio.load", "keras_hub.StartEndPacker"}),
    ),
}
STACK = STACKS[os.environ.get("PIPELINES_STACK", "full")]


def holds(library: str) -> bool:
    """Whether the stack under test has a library, by the name it is imported by."""
    return library not in STACK.lacks
