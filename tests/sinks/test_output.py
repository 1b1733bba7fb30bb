"""The rules of a run's folder: modes, the journal, the manifest, failures to write, files that are not ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sinks import crash
from sinks.cases import FORMATS

from pipelines.catalog import find_sink
from pipelines.errors import OutputError, PipelineError, RecordError, StateError
from pipelines.grid import Failure
from pipelines.output import Output
from pipelines.spec import Axis, Spec

FIELDS = {"x": Spec("float32", (Axis("a", 2),))}


def start(folder: Path, mode: Any = "new", format_name: str = "npz", **header: Any) -> Output:
    return Output(folder, find_sink(format_name)(), FIELDS, 3, {"seed": 0, **header}, mode)


def row(position: int) -> dict[str, Any]:
    return {"key": f"k{position}", "index": position, "x": np.array([position, 0], np.float32)}


def failure(position: int) -> Failure:
    return Failure(0, position, position, f"k{position}\udce9", "x", "audio.decode", "no sound")


def deliver(out: Output, first: int, last: int) -> None:
    for position in range(first, last):
        out.add(0, position, row(position))


def whole(folder: Path, records: int = 7) -> None:
    out = start(folder)
    deliver(out, 0, records)
    out.finish({"read": records, "left_over": 0})


def stopped(folder: Path) -> None:
    """A run of 7 records that is stopped after 5: one finished shard, and part of another."""
    out = start(folder)
    deliver(out, 0, 5)
    out.abort()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_whole_run(format_name: str, tmp_path: Path) -> None:
    out = start(tmp_path / "deep" / "out", format_name=format_name)
    assert out.resume_at == (0, 0)
    for position in range(8):
        if position in (2, 5):
            out.fail(failure(position))
        else:
            out.add(0, position, row(position))
    assert out.progress == (6, 2)
    out.finish({"read": 9, "delivered": 6, "quarantined": 2, "left_over": 1})
    suffix = find_sink(format_name).suffix
    folder = tmp_path / "deep" / "out"
    assert names(folder) == ["manifest.json", "quarantine.jsonl", f"shard-00000{suffix}", f"shard-00001{suffix}"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["counts"] == {"read": 9, "delivered": 6, "quarantined": 2, "left_over": 1}
    assert [shard["records"] for shard in manifest["shards"]] == [3, 3]
    assert manifest["header"] == {"seed": 0}
    lines = [json.loads(line) for line in (folder / "quarantine.jsonl").read_bytes().splitlines()]
    assert [line["position"] for line in lines] == [2, 5]
    assert lines[0] == failure(2).as_dict()


def test_accounts_that_do_not_add_up_are_refused(tmp_path: Path) -> None:
    for counts in ({"read": 4, "left_over": 0}, {"read": 3, "delivered": 2, "left_over": 1}):
        out = start(tmp_path / "out", "overwrite")
        deliver(out, 0, 3)
        with pytest.raises(PipelineError, match="do not add up"):
            out.finish(counts)
        out.abort()
        assert not (tmp_path / "out" / "manifest.json").exists()


def test_records_out_of_order_are_refused(tmp_path: Path) -> None:
    out = start(tmp_path / "out")
    out.add(0, 3, row(3))
    for epoch, position in ((0, 3), (0, 2)):
        with pytest.raises(PipelineError, match="expected a record after"):
            out.add(epoch, position, row(3))
    out.add(1, 0, row(0))
    out.abort()
    with pytest.raises(PipelineError, match="closed"):
        out.add(1, 1, row(1))


def test_a_record_that_cannot_be_written_can_be_quarantined(tmp_path: Path) -> None:
    out = start(tmp_path / "out")
    with pytest.raises(RecordError):
        out.add(0, 0, row(0) | {"key": "\ud800"})
    out.fail(failure(0))
    out.finish({"read": 1, "left_over": 0})
    assert names(tmp_path / "out") == ["manifest.json", "quarantine.jsonl"]


@pytest.mark.parametrize("mode", ["new", "resume", "overwrite"])
def test_an_empty_folder_serves(tmp_path: Path, mode: Any) -> None:
    out = start(tmp_path, mode)
    deliver(out, 0, 1)
    out.finish({"read": 1, "left_over": 0})
    assert names(tmp_path) == ["manifest.json", "quarantine.jsonl", "shard-00000.npz"]


@pytest.mark.parametrize("prepare", [whole, stopped, lambda folder: (folder.mkdir(), (folder / "a").touch())])
def test_a_used_folder_is_refused(tmp_path: Path, prepare: Any) -> None:
    prepare(tmp_path / "out")
    before = crash.content(tmp_path / "out")
    with pytest.raises(OutputError, match="exists; give --resume to go on or --overwrite to start again"):
        start(tmp_path / "out")
    assert crash.content(tmp_path / "out") == before


def test_resume_gives_the_bytes_of_an_undisturbed_run(tmp_path: Path) -> None:
    whole(tmp_path / "whole")
    stopped(tmp_path / "out")
    assert names(tmp_path / "out") == [".quarantine.jsonl.partial", "progress.json", "shard-00000.npz"]
    out = start(tmp_path / "out", "resume")
    assert out.resume_at == (0, 3)
    assert out.progress == (3, 0)
    deliver(out, 0, 7)  # what is settled already is passed over
    out.finish({"read": 7, "left_over": 0})
    assert crash.content(tmp_path / "out") == crash.content(tmp_path / "whole")
    again = start(tmp_path / "out", "resume")
    assert again.resume_at is None
    assert again.progress == (7, 0)
    again.finish({"read": 7, "left_over": 0})
    assert crash.content(tmp_path / "out") == crash.content(tmp_path / "whole")


def test_a_run_stopped_before_its_first_shard_leaves_nothing(tmp_path: Path) -> None:
    out = start(tmp_path / "out")
    out.fail(failure(0))
    out.abort()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, r"seed \(0 then, 1 now\)"),
        ({"versions": {"torch": "2.3.1"}}, r"versions.torch \(absent then, \"2.3.1\" now\)"),
        ({"format_name": "tfrecord"}, r"format \(\"npz\" then, \"tfrecord\" now\)"),
    ],
)
@pytest.mark.parametrize("prepare", [whole, stopped])
def test_another_run_does_not_go_on(tmp_path: Path, prepare: Any, change: Any, message: str) -> None:
    prepare(tmp_path / "out")
    before = crash.content(tmp_path / "out")
    with pytest.raises(StateError, match=message):
        start(tmp_path / "out", "resume", **change)
    assert crash.content(tmp_path / "out") == before


def test_another_order_of_fields_does_not_go_on(tmp_path: Path) -> None:
    one, two = Spec("float32"), Spec("int64")
    Output(tmp_path, find_sink("npz")(), {"a": one, "b": two}, 3, {}).finish({"read": 0, "left_over": 0})
    with pytest.raises(StateError, match="order of fields"):
        Output(tmp_path, find_sink("npz")(), {"b": two, "a": one}, 3, {}, "resume")


@pytest.mark.parametrize("prepare", [whole, stopped])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"short")])
def test_a_finished_shard_that_changed_is_told(tmp_path: Path, prepare: Any, damage: Any) -> None:
    prepare(tmp_path / "out")
    damage(tmp_path / "out" / "shard-00000.npz")
    with pytest.raises(StateError, match=r"shard-00000.npz (is missing|has 5 bytes)"):
        start(tmp_path / "out", "resume")


def test_a_quarantine_that_changed_is_told(tmp_path: Path) -> None:
    out = start(tmp_path / "out")
    out.fail(failure(0))
    deliver(out, 1, 5)
    out.abort()
    (tmp_path / "out" / ".quarantine.jsonl.partial").write_text("")
    with pytest.raises(StateError, match="quarantine"):
        start(tmp_path / "out", "resume")


@pytest.mark.parametrize("prepare", [whole, stopped])
def test_overwrite_starts_again_and_leaves_foreign_files_alone(tmp_path: Path, prepare: Any) -> None:
    whole(tmp_path / "whole", 4)
    prepare(tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    (tmp_path / "out" / "shard-00077.npz").write_text("mine")
    before = crash.content(tmp_path / "out")
    with pytest.raises(OutputError, match=r"notes.txt, shard-00077.npz; move them away"):
        start(tmp_path / "out", "overwrite")
    assert crash.content(tmp_path / "out") == before
    for name in ("notes.txt", "shard-00077.npz"):
        (tmp_path / "out" / name).unlink()
    out = start(tmp_path / "out", "overwrite")
    deliver(out, 0, 4)
    out.finish({"read": 4, "left_over": 0})
    assert crash.content(tmp_path / "out") == crash.content(tmp_path / "whole")


@pytest.mark.parametrize("mode", ["resume", "overwrite"])
def test_a_folder_of_other_things_is_no_output(tmp_path: Path, mode: Any) -> None:
    (tmp_path / "holiday.jpg").write_text("mine")
    with pytest.raises(OutputError, match=r"holiday\.jpg"):
        start(tmp_path, mode)
    assert names(tmp_path) == ["holiday.jpg"]


def test_a_foreign_shard_is_never_replaced(tmp_path: Path) -> None:
    stopped(tmp_path / "out")
    (tmp_path / "out" / "shard-00002.npz").write_text("mine")  # -00001 would be one that a crash left behind
    with pytest.raises(OutputError, match=r"shard-00002\.npz"):
        start(tmp_path / "out", "resume")
    out = start(tmp_path / "other")
    (tmp_path / "other" / "shard-00000.npz").write_text("mine")
    with pytest.raises(OutputError, match="appeared"):
        deliver(out, 0, 3)
    assert (tmp_path / "other" / "shard-00000.npz").read_text() == "mine"


@pytest.mark.parametrize("name", ["../../victim", "/etc/hostname", "shard-00000.npz/../../victim", "../victim"])
@pytest.mark.parametrize("prepare", [whole, stopped])
@pytest.mark.parametrize("mode", ["resume", "overwrite"])
def test_a_tampered_list_never_leads_out_of_the_folder(tmp_path: Path, prepare: Any, mode: Any, name: str) -> None:
    folder = tmp_path / "a" / "out"
    prepare(folder)
    victims = [tmp_path / "victim", tmp_path / "a" / "victim"]
    for victim in victims:
        victim.write_text("precious")
    path = folder / ("manifest.json" if prepare is whole else "progress.json")
    shards = json.loads(path.read_text())["shards"]
    edit(path, shards=[shards[0] | {"file": name}, *shards[1:]])
    with pytest.raises(OutputError, match=r"shards.0.file"):
        start(folder, mode)
    assert [victim.read_text() for victim in victims] == ["precious"] * 2


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"version": 2}', "\x00", '{"shards": ' + "[" * 9999, b"\xff\xfe"]
)
@pytest.mark.parametrize("name", ["manifest.json", "progress.json"])
def test_a_damaged_list_is_told(tmp_path: Path, name: str, text: str | bytes) -> None:
    whole(tmp_path / "out")
    (tmp_path / "out" / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    for mode in ("resume", "overwrite"):
        with pytest.raises(OutputError, match=f"{name} is damaged"):
            start(tmp_path / "out", mode)


def test_two_runs_never_write_one_folder(tmp_path: Path) -> None:
    out = start(tmp_path / "out")
    for mode in ("resume", "overwrite"):
        with pytest.raises(OutputError, match="another run is writing"):
            start(tmp_path / "out", mode)
    script = (
        "import sys; from sinks.crash import run; from pathlib import Path; run('npz', Path(sys.argv[1]), 'resume')"
    )
    other = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "out")],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        check=False,
    )
    assert "another run is writing" in other.stderr
    deliver(out, 0, 1)
    out.finish({"read": 1, "left_over": 0})
    assert ".lock" not in names(tmp_path / "out")


# Failures to write. /dev/full gives a real "no space left on device"; a link to it stands where the file would.


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_full_disk_within_a_shard(tmp_path: Path, format_name: str) -> None:
    suffix = find_sink(format_name).suffix
    out = start(tmp_path / "out", format_name=format_name)
    deliver(out, 0, 3)
    (tmp_path / "out" / f".shard-00001{suffix}.partial").symlink_to("/dev/full")
    with pytest.raises(OutputError, match="the disk is full; free some space and give --resume"):
        deliver(out, 3, 6)
    assert names(tmp_path / "out") == [".quarantine.jsonl.partial", "progress.json", f"shard-00000{suffix}"]
    out = start(tmp_path / "out", "resume", format_name)
    assert out.resume_at == (0, 3)
    out.abort()


@pytest.mark.parametrize("name", ["progress.json", "manifest.json"])
def test_a_full_disk_at_the_end(tmp_path: Path, name: str) -> None:
    whole(tmp_path / "whole")
    out = start(tmp_path / "out")
    deliver(out, 0, 7)
    (tmp_path / "out" / f".{name}.partial").symlink_to("/dev/full")
    with pytest.raises(OutputError, match="the disk is full"):
        out.finish({"read": 7, "left_over": 0})
    out = start(tmp_path / "out", "resume")
    if out.resume_at is not None:
        deliver(out, 0, 7)
        out.finish({"read": 7, "left_over": 0})
    assert crash.content(tmp_path / "out") == crash.content(tmp_path / "whole")


@pytest.mark.parametrize("format_name", FORMATS)
def test_files_that_may_not_grow(tmp_path: Path, format_name: str) -> None:
    # 700 bytes hold the first journal, but no shard with its journal
    ran = subprocess.run(
        [sys.executable, crash.__file__, "limited", format_name, str(tmp_path / "out"), "700"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "OutputError: cannot write to" in ran.stderr
    assert "larger than is allowed" in ran.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("place", "message"),
    [("file", "it is a file"), ("file/out", "is a file, not a folder"), ("/proc/out", "cannot write to /proc/out")],
)
def test_a_place_that_cannot_be_a_folder(tmp_path: Path, place: str, message: str) -> None:
    (tmp_path / "file").touch()
    for mode in ("new", "resume", "overwrite"):
        with pytest.raises(OutputError, match=message):
            start(tmp_path / place, mode)


def test_fields_are_checked_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="rename one"):
        Output(tmp_path / "out", find_sink("npz")(), {"a": FIELDS["x"], "A": FIELDS["x"]}, 3, {})
    assert not (tmp_path / "out").exists()
