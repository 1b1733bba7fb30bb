"""Which library is used, and that no doubt about it is left to chance."""

from __future__ import annotations

import sys
import threading

import pytest
from text.texts import TEXT_OPS, no_library

from pipelines import companions
from pipelines.spec import TEXT
from pipelines.text import Bpe, ClipBpe, Wordpiece


@pytest.mark.needs("torchtext")
def test_a_library_that_is_missing_or_fails_to_load_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    companions.why_not.cache_clear()
    monkeypatch.setitem(sys.modules, "torchtext", None)  # importing it now raises ImportError
    assert "torchtext" in (companions.why_not("torchtext") or "")
    assert not companions.usable("torchtext")
    monkeypatch.undo()
    companions.why_not.cache_clear()
    assert companions.why_not("torchtext") is None


def test_a_library_that_breaks_while_it_loads_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("broken")
    (folder / "broken_library.py").write_text("raise OSError('undefined symbol: _ZN3c10')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    assert companions.why_not("broken_library") == "OSError: undefined symbol: _ZN3c10"
    assert not companions.usable("json", "broken_library")
    assert companions.usable("json")


@pytest.mark.parametrize(
    ("engine", "cls"),
    [
        *(pytest.param("torch", cls, marks=pytest.mark.needs("torchtext")) for cls in (Wordpiece, Bpe, ClipBpe)),
        *[("tensorflow", Wordpiece)] * TEXT_OPS,
    ],
)
def test_the_companion_library_is_what_runs(
    engine: str, cls: type[Wordpiece] | type[Bpe] | type[ClipBpe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the library in place the base library is never asked for a plain text; without it, it is."""
    asked: list[str] = []

    def tokenizers(self: object) -> object:
        def ids(text: str) -> list[int]:
            asked.append(text)
            return [0]

        return ids

    monkeypatch.setattr(cls, "_tokenizers", tokenizers)
    text = "A red circle, isn't it? Schön"

    def ask() -> list[str]:
        asked.clear()
        kernel = cls(**cls.examples[0].params).bind(engine, TEXT)
        if engine == "torch":
            kernel(text)
        else:
            import tensorflow as tf

            kernel(tf.constant(text))
        return asked

    assert ask() == []
    monkeypatch.setattr(companions, "why_not", no_library)
    assert ask() != []


def test_threads_share_a_kernel(news: list[str]) -> None:
    kernel = Bpe(**Bpe.examples[0].params).bind("torch", TEXT)
    alone = [kernel(text).tolist() for text in news[:200]]
    kernel = Bpe(**Bpe.examples[0].params).bind("torch", TEXT)
    found: dict[int, list[list[int]]] = {}

    def work(number: int) -> None:
        found[number] = [kernel(text).tolist() for text in news[:200]]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(4), alone)
