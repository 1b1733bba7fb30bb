"""What the columns of a table hold, as some of its rows show it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from pipelines.config._models import FIELD_NAME, RESERVED
from pipelines.errors import RecordError, SourceError, UserError
from pipelines.report._evenly import evenly
from pipelines.report._facts import facts_of
from pipelines.report._look import MOST_CLASSES, Files
from pipelines.sources.manifest import Manifest

ROWS = 500
FILES = 100
KEYS = {"id", "key", "name", "uid", "uuid"}
MOST_WORDS = 4
"""Of the name of a class, or of a column."""


class Columns:
    """Some rows of a table by column, without what is absent, and the columns that name files beside it."""

    def __init__(self, path: Path) -> None:
        opened = Manifest.model_validate({"path": path.resolve()}).open()
        self.names: tuple[str, ...] = ()
        """Names for the columns of a table that has none."""
        if path.with_suffix("").suffix != ".jsonl" and _is_data(tuple(opened.values), path):
            self.names = tuple(f"column{number + 1}" for number in range(len(opened.values)))
            opened = Manifest.model_validate({"path": path.resolve(), "columns": self.names, "header": False}).open()
        rows: list[dict[str, Any]] = []
        for place in evenly(len(opened), ROWS):
            with suppress(RecordError, OSError):  # a row that cannot be read fails its own record, in a run
                rows.append(opened.read(place, list(opened.values)))
        if not rows:
            raise UserError(f"{path} has no row that can be read")
        self.records = len(opened)
        self.cells = {name: [row[name] for row in rows if _is_there(row[name])] for name in opened.values}
        self.files = [name for name, cells in self.cells.items() if _name_files(cells, path.parent)]
        self.key = next((name for name in (*self.files, *self.cells) if self._names_records(name, path)), None)

    def _names_records(self, name: str, path: Path) -> bool:
        """Whether a column of files, or one called so, tells every record from all others."""
        if name not in self.files and name.lower() not in KEYS:
            return False
        try:
            named = {"columns": self.names, "header": False} if self.names else {}
            Manifest.model_validate({"path": path.resolve(), "key": name, **named}).open()
        except SourceError:
            return False
        return True


def field_name(column: str, taken: set[str]) -> str:
    """A name that a field may have, like the column's, and that no other has."""
    name = re.sub(r"\W+", "_", column, flags=re.ASCII).strip("_") or "value"
    name = name if FIELD_NAME.fullmatch(name) else f"value_{name}"
    name = f"{name}_value" if RESERVED.fullmatch(name) else name
    if name not in taken:
        return name
    return next(other for number in count(2) if (other := f"{name}_{number}") not in taken)


def media(cells: list[Any], root: Path, are_files: bool) -> Sequence[Any]:
    """What the pictures or sounds in a column say of themselves, be they named or held; nothing for other columns."""
    some = [cells[place] for place in evenly(len(cells), FILES)]
    if are_files:
        pictures = Files(root, tuple(some), "image", Counter()).facts()
        return pictures or Files(root, tuple(some), "audio", Counter()).facts()
    found = []
    for cell in some:
        with suppress(RecordError):  # a damaged one fails its own record, in a run
            found.append(facts_of(cell) if isinstance(cell, bytes) else None)
    kinds = Counter(type(one) for one in found if one is not None)
    return [one for one in found if type(one) is kinds.most_common(1)[0][0]] if kinds else []


def words_of(cells: list[Any]) -> list[int]:
    """How many words each cell has; nothing where one is no text."""
    return [len(cell.split()) for cell in cells] if all(isinstance(cell, str) for cell in cells) else []


def few(cells: list[Any]) -> bool:
    """Whether the values repeat enough to be labels."""
    return len(set(cells)) <= min(MOST_CLASSES, len(cells) // 3)


def _is_data(names: tuple[str, ...], path: Path) -> bool:
    """Whether what was taken for the names of columns is a row: names of a file, numbers, or whole sentences."""
    if not {".csv", ".tsv"} & set(path.suffixes):
        return False
    number = re.compile(r"[-+]?\d+([.,]\d+)?")
    return any(number.fullmatch(n) or len(n.split()) > MOST_WORDS or (path.parent / n).is_file() for n in names)


def _is_there(cell: Any) -> bool:
    return cell is not None and not (isinstance(cell, str) and not cell)


def _name_files(cells: list[Any], root: Path) -> bool:
    some = [cells[place] for place in evenly(len(cells), 20)]
    return bool(some) and all(isinstance(cell, str) and len(cell) < 1000 and (root / cell).is_file() for cell in some)
