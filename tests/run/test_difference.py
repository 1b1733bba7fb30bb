"""Comparing two output folders: values, shapes, absences and keys, in any order and format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pipelines
from pipelines.errors import SourceError, UserError
from pipelines.report.difference import OutputDifference, compare_outputs
from pipelines.run import run


def written(folder: Path, rows: Sequence[Mapping[str, Any]], *, shuffle: bool = False, form: str = "parquet") -> Path:
    """What a run of a plain config over `rows` (text, number, and a list that may be absent) writes."""
    folder.mkdir(parents=True)
    import json

    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "framework": "torch",
        "source": {"manifest": {"path": str(folder / "rows.jsonl"), "key": "id"}},
        "fields": {name: {"from": name, "optional": name == "list"} for name in rows[0] if name != "id"},
        "batch": {"size": 3, "shuffle": shuffle},
        "output": {"format": form, "path": str(folder / "out"), "records_per_shard": 2},
    }
    run(pipelines.load(config))
    return folder / "out"


ROWS = [{"id": f"r{i}", "word": f"w{i}", "number": i / 4, "list": [1.0, i] if i % 2 else None} for i in range(5)]


def changed(**values: Any) -> list[dict[str, Any]]:
    return [dict(row, **(values if row["id"] == "r3" else {})) for row in ROWS]


@pytest.mark.parametrize(
    ("rows", "field", "gap"),
    [
        (ROWS, "word", 0.0),
        (changed(number=1.0), "number", 0.25),
        (changed(list=[1.5, 3.0]), "list", 0.5),
        (changed(list=[1.0]), "list", float("inf")),
        (changed(list=None), "list", float("inf")),
        (changed(word="other"), "word", float("inf")),
    ],
)
def test_the_largest_difference_of_each_field(
    tmp_path: Path, rows: list[dict[str, Any]], field: str, gap: float
) -> None:
    found = compare_outputs(written(tmp_path / "a", ROWS), written(tmp_path / "b", rows, shuffle=True, form="npz"))
    assert found.same_keys
    assert found.records == 5
    assert {name: value for name, value in found.fields.items() if value} == ({field: gap} if gap else {})
    assert found.largest == gap


def test_records_of_one_side_only(tmp_path: Path) -> None:
    found = compare_outputs(written(tmp_path / "a", ROWS[:4]), written(tmp_path / "b", ROWS[1:]))
    assert (found.records, found.only_first, found.only_second) == (3, ("r0",), ("r4",))
    assert found.largest == float("inf")
    assert str(found) == "2 records are on one side only"


def test_words_for_a_table() -> None:
    found = OutputDifference(9, {"mel": 0.00213, "ids": 0.0, "word": float("inf")}, {"mel": "dB", "word": ""}, (), ())
    assert str(found) == "mel 0.0021 dB, word inf"
    assert str(OutputDifference(9, {"ids": 0.0}, {"ids": ""}, (), ())) == "none"


def test_other_fields_and_no_output_are_told(tmp_path: Path) -> None:
    first = written(tmp_path / "a", ROWS)
    other = written(tmp_path / "b", [{"id": "r0", "word": "w0"}])
    with pytest.raises(UserError, match="hold other fields"):
        compare_outputs(first, other)
    with pytest.raises(SourceError):
        compare_outputs(first, tmp_path)


def test_nan_at_the_same_place_is_no_difference() -> None:
    from pipelines.report.difference import _gap

    a = np.array([1.0, np.nan], np.float32)
    assert _gap(a, a.copy()) == 0
    assert _gap(a, np.array([np.nan, 1.0], np.float32)) == float("inf")
    assert _gap(["a", "b"], ["a", "c"]) == float("inf")
    assert _gap(None, None) == 0
