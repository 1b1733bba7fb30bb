"""Packing: every token in its place, first fit, whole runs on both frameworks, shards of the unpacked records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipelines
from pipelines.errors import ConfigError
from pipelines.spec import FRAMEWORKS
from pipelines.text import Pack

lengths_strategy = st.lists(st.integers(0, 30), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(lengths_strategy, st.integers(1, 24))
def test_every_token_has_its_place(lengths: list[int], room: int) -> None:
    width = max(lengths)
    plan = Pack(fields=("ids",), length=room).plan(np.array(lengths), width)
    places, segments, positions, row, start, kept = plan
    assert kept.tolist() == [min(length, room) for length in lengths]
    seen = []
    for number, length in enumerate(kept.tolist()):
        part = np.s_[row[number], start[number] : start[number] + length]
        assert places[part].tolist() == [number * width + i for i in range(length)]
        assert positions[part].tolist() == list(range(length))
        assert len(set(segments[part].tolist())) <= 1
        seen += places[part].tolist()
    assert sorted(places[places >= 0].tolist()) == sorted(seen)
    np.testing.assert_array_equal(segments > 0, places >= 0)
    for line in segments:  # 1, 1, .., 2, 2, .., and zeros at the end
        used = line[line > 0]
        assert (line[: len(used)] == used).all()
        assert (np.diff(used) >= 0).all()


@settings(max_examples=60, deadline=None)
@given(lengths_strategy, st.integers(1, 24))
def test_it_is_first_fit(lengths: list[int], room: int) -> None:
    """No sequence would have fitted into an earlier row, as that row was when its turn came."""
    row, _, kept = Pack(fields=("ids",), length=room).plan(np.array(lengths), max(lengths))[3:]
    for number in range(len(lengths)):
        for earlier in range(row[number]):
            before = sum(int(kept[i]) for i in range(number) if row[i] == earlier)
            assert before + kept[number] > room


def config(framework: str, texts: Path, **changes: Any) -> dict[str, Any]:
    return {
        "framework": framework,
        "source": {"lines": {"path": str(texts)}},
        "batch_steps": [{"text.pack": {"fields": ["ids"], "length": 40}}],
        "batch": {"size": 8, "shuffle": True},
    } | changes


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = ["a red circle", "below", "a circle below a red circle", "red", "", "Größe " * 30]
    path = tmp_path_factory.mktemp("texts") / "lines.txt"
    path.write_text("\n".join(words * 7), "utf-8")
    return path


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    file = tmp_path_factory.mktemp("words") / "words.txt"
    file.write_text("<unk>\na\nred\ncircle\nbelow\n", "utf-8")
    return ["text.basic_english", {"text.vocab": {"file": str(file)}}]


def fields(steps: list[Any]) -> dict[str, Any]:
    return {"ids": {"from": "text", "steps": steps}}


@pytest.mark.parametrize("fixed", [False, True])
def test_runs_pack_the_same_on_both_frameworks(texts: Path, steps: list[Any], fixed: bool) -> None:
    batch = {"size": 8, "shuffle": True, "fixed": fixed}
    runs = [list(pipelines.load(config(f, texts, fields=fields(steps), batch=batch), device="cpu")) for f in FRAMEWORKS]
    packed = 0
    for a, b in zip(*runs, strict=True):
        names = [name for name in a if name.startswith("ids")]
        assert sorted(names) == ["ids", "ids_length", "ids_positions", "ids_row", "ids_segments", "ids_start"]
        for name in names:
            np.testing.assert_array_equal(np.asarray(a[name]), np.asarray(b[name]))
        rows = np.asarray(a["ids"]).shape[0]
        assert np.asarray(a["ids"]).shape == (rows, 40)
        assert rows == 8 if fixed else rows <= 8
        assert len(np.asarray(a["ids_row"])) == len(np.asarray(a["index"]))
        packed += int(np.asarray(a["ids_segments"]).max() > 1)
    assert packed >= 4


def test_shards_hold_the_records_unpacked(texts: Path, steps: list[Any], framework: str, tmp_path: Path) -> None:
    written = []
    for name, changes in (("packed", {}), ("plain", {"batch_steps": []})):
        document = config(framework, texts, fields=fields([*steps, {"text.truncate": {"length": 40}}]), **changes)
        summary = pipelines.run(pipelines.load(document, device="cpu"), output=tmp_path / name)
        assert (summary.read, summary.delivered) == (42, 42)
        back = {"framework": framework, "source": {"shards": {"path": str(tmp_path / name)}}}
        back["fields"] = {"ids": {"from": "ids"}}
        pipe = pipelines.load(back, device="cpu")
        rows = [row for delivered in pipe.epoch() for row in pipe.engine.unbatch(delivered)]
        written.append({row["key"]: row["ids"].tolist() for row in rows})
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"after": [{"text.pad": {"length": 50}}]}, "leave text.pad out"),
        ({"extra": {"ids_row": {"from": "text"}}}, "expected no field called ids_row"),
        ({"twice": True}, "nothing can come after text.pack"),
    ],
)
def test_faults(texts: Path, steps: list[Any], changes: dict[str, Any], says: str) -> None:
    document = config("torch", texts, fields=fields([*steps, *changes.get("after", [])]) | changes.get("extra", {}))
    document["batch_steps"] *= 1 + bool(changes.get("twice"))
    with pytest.raises(ConfigError, match=says):
        pipelines.load(document, device="cpu")
