"""Steps that learn from the records, and the note beside their files that says how these were learnt."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipelines.errors import OutputError, SpecError
from pipelines.sinks._files import replace_file, sha256_of
from pipelines.step import Step


class Fitted(Step):
    """A step that learns from the records before it can run: a vocabulary, a mean and a deviation.

    `pipelines fit` hands it the values that flow into it, it keeps what it learnt in its `files()`, and a note beside
    them says by which parameters. `out_spec` raises SpecError (`need_fitted`) until the files are there, and where the
    config says something else by now. Files without a note, or with another content than the note knows, came from
    elsewhere, and are taken as they are.
    """

    @property
    def learns(self) -> bool:
        """Whether `fit` can be asked; a step whose files may come from elsewhere says no if not told how to learn."""
        return True

    def is_fitted(self) -> bool:
        """Whether what the step learns is already there."""
        return all(path.is_file() for path in self.files())

    @abstractmethod
    def fit(self, values: Iterable[Any]) -> None:
        """Learn from `values`, each as NumPy holds it (`str`, a list of `str`, an array), and write `files()`."""

    def asks(self) -> frozenset[str]:
        """The parameters of which a difference to the note counts; files, which are where it lies, never do."""
        return frozenset(type(self).model_fields)

    @property
    def note(self) -> Path:
        """The file that says how the others were learnt."""
        first = self.files()[0]
        return first.with_name(f"{first.name}.learnt")

    def write_note(self, before: str) -> None:
        """Note the parameters, and `before`: what the steps before this one mean."""
        contents = {path.name: _sha256(path) for path in self.files()}
        told = {"parameters": self._parameters(), "before": before, "sha256": contents}
        try:
            replace_file(self.note, json.dumps(told, indent=1) + "\n")
        except OSError as error:
            raise OutputError(f"cannot write {self.note}: {error.strerror}") from error

    def changes(self, before: str | None = None) -> list[str]:
        """What is said otherwise now than when the files were learnt: `size was 8000, is 16000`.

        With `before`, also whether the steps before this one were others.
        """
        noted = self._noted()
        if noted is None:
            return []
        found = [f"{n} was {was}, is {now}" for n, was, now in self._other(noted["parameters"])]
        return found + ["the steps before it were others"] * (before is not None and before != noted["before"])

    def differing(self, other: Fitted) -> list[str]:
        """What another step that learns the same files asks for otherwise: `size is 8000 and 16000`."""
        theirs = other.asks()
        found = self._other(other._parameters())
        return [f"{n} is {now} and {was}" for n, was, now in found if n.partition(".")[0] in theirs]

    def _other(self, held: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        """The parameters that are others in `held`: name, value there, value here."""
        was, now = dict(_flat(held)), dict(_flat(self._parameters()))
        asked = [name for name in {**was, **now} if name.partition(".")[0] in self.asks()]
        return [(n, _said(was.get(n)), _said(now.get(n))) for n in asked if was.get(n) != now.get(n)]

    def need_fitted(self) -> None:
        """SpecError while a file is still to be learnt, or was learnt by other parameters than these."""
        if not self.learns:
            return
        missing = next((path for path in self.files() if not path.exists()), None)
        if missing is not None:
            raise SpecError(f"there is no file {missing} yet; make it with: pipelines fit CONFIG")
        changes = self.changes()
        if changes:
            found = f"{self.files()[0]} was learnt by other parameters ({'; '.join(changes)})"
            raise SpecError(f"{found}; make it anew with: pipelines fit CONFIG")

    def _parameters(self) -> dict[str, Any]:
        held = json.loads(self.model_dump_json())
        return {name: value for name, value in held.items() if not isinstance(getattr(self, name), Path)}

    def _noted(self) -> Mapping[str, Any] | None:
        """The note, or None where there is none that fits the files."""
        try:
            told: Mapping[str, Any] = json.loads(self.note.read_text("utf-8"))
            fits = told["sha256"] == {path.name: _sha256(path) for path in self.files()}
            return told if fits and isinstance(told["parameters"], dict) and "before" in told else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _flat(held: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in held.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _said(value: Any) -> str:
    return "not given" if value is None else json.dumps(value, ensure_ascii=False)


def _sha256(path: Path) -> str:
    found = path.stat()
    return _kept(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=64)
def _kept(path: Path, mtime_ns: int, size: int) -> str:
    return sha256_of(path)
