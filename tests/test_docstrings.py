"""What the code says of itself is there, has the agreed form, and its examples run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import pipelines
from pipelines.catalog import find_step, step_names
from pipelines.step import Step

STEPS = [find_step(name) for name in step_names()]
MODULES = sorted(
    m.name for m in pkgutil.walk_packages(pipelines.__path__, "pipelines.") if m.name != "pipelines.__main__"
)
every_step = pytest.mark.parametrize("cls", STEPS, ids=lambda cls: cls.step_name())
every_module = pytest.mark.parametrize("name", MODULES)


def faults_of_step(doc: str) -> list[str]:
    """What a step's docstring lacks."""
    first, *rest = doc.splitlines()
    wrong = [] if re.fullmatch(r"[A-Z][^.]*(?:\.\w[^.]*)*\.", first) else ["the first line is not one sentence"]
    if rest and rest[0]:
        wrong.append("no blank line after the first")
    wrong += [f"no line {word!r}" for word in ("Takes ", "Gives ") if not re.search(rf"^{word} *\S", doc, re.M)]
    if not re.search(r"^(Takes|Gives) .*(\w+\[.*\]|text|bytes|int64|dtype)", doc, re.M):
        wrong.append("no type in Takes or Gives")
    if not re.search(r"^Source: \S.*", doc, re.M):
        wrong.append("no line 'Source: ...' (the method's reference, the equal function, or why there is none)")
    return wrong


@every_step
def test_steps_say_what_they_take_and_give(cls: type[Step]) -> None:
    assert faults_of_step(inspect.getdoc(cls) or "\n") == []


@pytest.mark.parametrize(
    ("doc", "fault"),
    [
        ("Mirrors a picture. Always.\n\nTakes  uint8[a]\nGives  the same\nSource: tf.reverse.", "one sentence"),
        ("mirrors\n\nTakes  uint8[a]\nGives  the same\nSource: tf.reverse.", "one sentence"),
        ("Mirrors.\nTakes  uint8[a]\nGives  the same\nSource: tf.reverse.", "blank line"),
        ("Mirrors.\n\nGives  uint8[a]\nSource: tf.reverse.", "'Takes '"),
        ("Mirrors.\n\nTakes  uint8[a]\nSource: tf.reverse.", "'Gives '"),
        ("Mirrors.\n\nTakes  it\nGives  that\nSource: tf.reverse.", "no type"),
        ("Mirrors.\n\nTakes  uint8[a]\nGives  the same", "Source"),
    ],
)
def test_a_faulty_docstring_is_found(doc: str, fault: str) -> None:
    (found,) = faults_of_step(doc)
    assert fault in found


def public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """The functions and classes a module defines without an underscore, and the classes' own methods."""
    for name, held in vars(module).items():
        if name.startswith("_") or getattr(held, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(held) or inspect.isclass(held):
            yield name, held


@every_module
def test_modules_and_public_names_have_docstrings(name: str) -> None:
    module = importlib.import_module(name)
    assert (module.__doc__ or "").strip(), f"{name} has no docstring"
    bare = [held for held, thing in public(module) if not (thing.__doc__ or "").strip()]
    assert bare == []


@every_module
def test_examples_in_docstrings_run(name: str) -> None:
    failed = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert failed.failed == 0
