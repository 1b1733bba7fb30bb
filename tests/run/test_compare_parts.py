"""The parts of `pipelines compare` without processes: values on their way, the judge, the advice."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run.fakes import fake_config

from pipelines import companions
from pipelines.errors import ParityError
from pipelines.grid import Grid
from pipelines.image.flip import Flip
from pipelines.plan import compile_plan
from pipelines.report._compare_advice import Advice, Side, advise
from pipelines.report._compare_judge import FieldDrift, Judge
from pipelines.report._compare_wire import put, read, spread, spread_batches, take, write
from pipelines.report._compare_worker import HOST, IN_PYTHON, _leans
from pipelines.report.compare import Comparison
from pipelines.spec import BYTES, FRAMEWORKS, TEXT, Axis, Spec
from pipelines.step import Close, absolute_gaps, difference
from pipelines.text.basic_english import BasicEnglish
from pipelines.text.bpe import Bpe
from pipelines.text.whitespace import Whitespace

NUMBERS = Spec("float32", (Axis("time"),), "volt")
TOKENS = Spec("text", (Axis("token"),))


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        (BYTES, b"\x00\xff"),
        (BYTES, b""),
        (TEXT, "日本 ä\x00"),
        (TEXT, ""),
        (TOKENS, ["ä", "", "日本"]),
        (TOKENS, []),
        (TOKENS, [""]),
        (NUMBERS, None),
        (TEXT, None),
    ],
)
def test_text_and_bytes_travel_without_pickles(tmp_path: Path, spec: Spec, value: Any) -> None:
    arrays: dict[str, Any] = {}
    put(arrays, "field/0", value, spec)
    write(tmp_path / "held", arrays)
    with read(tmp_path / "held") as back:
        assert take(back, "field/0", spec) == value


@pytest.mark.parametrize("value", [np.int64(3), np.zeros((0, 4), np.float32), np.arange(24).reshape(2, 3, 4)[:, ::2]])
def test_numbers_travel_as_they_are(tmp_path: Path, value: Any) -> None:
    arrays: dict[str, Any] = {}
    put(arrays, "x", value, NUMBERS)
    write(tmp_path / "held", arrays)
    with read(tmp_path / "held") as back:
        found = take(back, "x", NUMBERS)
    assert (found.dtype, found.shape) == (value.dtype, value.shape)
    assert np.array_equal(found, value)


def test_what_would_need_a_pickle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="plain arrays"):
        write(tmp_path / "held", {"x": np.array([{}])})


@pytest.mark.parametrize(
    ("records", "batch", "wanted", "places"),
    [
        (100, 10, 1000, [(n, n + 10) for n in range(0, 100, 10)]),
        (100, 10, 30, [(0, 10), (40, 50), (90, 100)]),
        (100, 10, 12, [(0, 10), (90, 92)]),
        (25, 10, 25, [(0, 10), (10, 20), (20, 25)]),
        (5, 10, 3, [(0, 3)]),
        (5, 10, 99, [(0, 5)]),  # drop_last would leave nothing
    ],
)
def test_batches_are_spread_over_the_epoch(records: int, batch: int, wanted: int, places: list[Any]) -> None:
    grid = Grid(records, batch, drop_last=True)
    assert spread_batches(grid, 0, wanted) == places
    inside = [p for place in places for p in range(*place)]
    chosen = spread(places, 4)
    assert len(chosen) == min(4, len(inside))
    assert {inside[0], inside[-1]} <= set(chosen) <= set(inside) or len(inside) == 1


def test_gaps_of_numbers_that_are_none() -> None:
    nan, inf = np.nan, np.inf
    a = np.array([1, nan, nan, inf, -inf, 3], np.float32)
    b = np.array([1.5, nan, 1, inf, inf, 3], np.float32)
    assert absolute_gaps(a, b).tolist() == [0.5, 0, inf, 0, inf, 0]
    assert difference(a, b) == inf
    assert difference(a[:2], b[:2]) == 0.5


@pytest.mark.parametrize("zeros", [0, 20_000])
def test_the_percentile_is_right_to_a_percent_from_above(zeros: int) -> None:
    rng = np.random.default_rng(0)
    drift = FieldDrift("x", NUMBERS, exact=False)
    parts = [rng.lognormal(-9, 2, 997).astype(np.float32) for _ in range(30)] + [np.zeros(zeros, np.float32)]
    for part in parts:
        drift.note("key", part, np.zeros_like(part))
    every = np.concatenate(parts)
    true = np.percentile(every, 99.9, method="inverted_cdf")
    assert drift.percentile is not None
    assert true <= drift.percentile <= 1.01 * true
    assert drift.largest == every.max() == drift.peak
    assert (drift.records, drift.differ, drift.wrong) == (31, 30, 0)


def test_few_values_have_their_largest_as_percentile() -> None:
    drift = FieldDrift("x", NUMBERS, exact=False)
    drift.note("a", np.array([0, 0, 3], np.float32), np.array([0, 0, 1], np.float32))
    assert drift.percentile == drift.largest == 2
    empty = FieldDrift("x", NUMBERS, exact=True)
    empty.note("a", np.zeros(0, np.float32), np.zeros(0, np.float32))
    assert (empty.percentile, empty.largest, empty.wrong) == (0, 0, 0)


FIELDS = {
    "picture": {"from": "picture", "steps": ["image.flip", "image.normalize"]},
    "tokens": {"from": "tokens"},
    "wave": {"from": "wave", "optional": True},
    "class": {"from": "label", "steps": [{"label.index": {"classes": ["cat", "dog"]}}]},
}
PICTURE = np.zeros((8, 6, 3), np.float32)
GOOD = {"picture": PICTURE, "tokens": ["a"], "wave": np.zeros(2, np.float32), "class": np.int64(1)}


def judge(**changes: Any) -> Judge:
    return Judge(compile_plan(fake_config("torch", fields=FIELDS, **changes))[0])


def judge_finals(held: Judge, first: dict[str, Any], second: dict[str, Any]) -> None:
    """One batch of one record, as the workers would write it."""
    values: dict[str, dict[str, Any]] = {}
    for side, record in zip(FRAMEWORKS, (first, second), strict=True):
        values[side] = {}
        for name, value in record.items():
            put(values[side], f"{name}/0", value, held.plan.specs[name])
    held.batch({5: "r5"}, {side: {"positions": [5], "failures": []} for side in FRAMEWORKS}, values)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, ""),
        ({"picture": PICTURE + 1}, "picture: 1 of 1 records; r5: differs by 1 though every step is identical"),
        (
            {"picture": PICTURE[:4]},
            "picture: 1 of 1 records; r5: float32[8, 6, 3] on torch, float32[4, 6, 3] on tensorf",
        ),
        ({"class": np.int32(1)}, "class: 1 of 1 records; r5: int64[] on torch, int32[] on tensorflow"),
        ({"tokens": ["b"]}, "tokens: 1 of 1 records; r5: 1 tokens on torch, 1 tokens on tensorflow"),
        ({"wave": None}, "wave: 1 of 1 records; r5: the value is absent on tensorflow only"),
    ],
)
def test_final_values(change: dict[str, Any], fault: str) -> None:
    held = judge()
    judge_finals(held, GOOD, GOOD | change)
    assert [told[: len(fault)] for told in held.faults] == [fault] * bool(fault)
    assert held.delivered == 1
    assert {name: drift.differ for name, drift in held.fields.items() if drift.differ} == dict.fromkeys(change, 1)


def test_drift_of_steps_that_are_not_exact_is_reported_and_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Flip, "agreement", Close(absolute=0.1))
    held = judge()
    judge_finals(held, GOOD, GOOD | {"picture": PICTURE + 1})
    assert held.faults == []
    assert held.fields["picture"].largest == 1


def test_records_that_fail_on_one_side_only() -> None:
    held = judge()
    failing = {"position": 6, "field": "tokens", "step": "read", "reason": "gone"}
    answers = {
        "torch": {"positions": [5], "failures": [failing, failing | {"position": 7}]},
        "tensorflow": {"positions": [5, 7], "failures": [failing]},
    }
    values: dict[str, Any] = {side: {} for side in FRAMEWORKS}
    for side in FRAMEWORKS:
        for name, value in GOOD.items():
            put(values[side], f"{name}/0", value, held.plan.specs[name])
    held.batch({5: "r5", 6: "r6", 7: "r7"}, answers, values)
    assert held.faults == ["r7 fails on torch only: tokens: read: gone"]
    assert (held.delivered, held.failed) == (1, {"torch": 2, "tensorflow": 1})


def walked(**changes: Any) -> dict[str, Any]:
    """The picture of one record before and after its two nodes, and the class."""
    levels = np.zeros((8, 6, 3), np.uint8)
    made: dict[str, Any] = {
        "picture/0/0": levels,
        "picture/1/0": levels,
        "picture/2/0": PICTURE,
        "class/1/0": np.int64(1),
    }
    put(made, "class/0/0", "dog", TEXT)
    made.update({name.replace("_", "/"): value for name, value in changes.items()})
    return {name: value for name, value in made.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "failures", "faults"),
    [
        ({}, ([], []), []),
        (
            {"picture_1_0": np.ones((8, 6, 3), np.uint8)},
            ([], []),
            ["picture: image.flip (step 1) is outside its agreement (identical) in 1 of 1 records; r5: 100.00% of"],
        ),
        (
            {"picture_2_0": PICTURE.astype(np.float64)},
            ([], []),
            ["picture: image.normalize (step 2) is outside its agreement (identical) in 1 of 1 records; r5: float32["],
        ),
        (
            {"class_1_0": None},
            ([], [{"field": "class", "number": 0, "reason": "no such class"}]),
            ["class: label.index (step 1) is outside its agreement (identical) in 1 of 1 records; r5: fails on tensor"],
        ),
        (
            {"class_1_0": None},
            ([{"field": "class", "number": 0, "reason": "a"}], [{"field": "class", "number": 0, "reason": "b"}]),
            [],
        ),
    ],
)
def test_steps_on_the_same_inputs(changes: dict[str, Any], failures: tuple[Any, Any], faults: list[str]) -> None:
    held = judge()
    sides = dict(zip(FRAMEWORKS, (walked(), walked(**changes)), strict=True))
    held.record("r5", sides, dict(zip(FRAMEWORKS, failures, strict=True)))
    assert [told[: len(fault)] for told, fault in zip(held.faults, faults, strict=True)] == faults
    assert {verdict.records for verdict in held.verdicts} == {1}


def test_the_worst_record_is_named() -> None:
    held = judge()
    for key, gap in (("r1", 1), ("r2", 3), ("r3", 2)):
        changed = walked(picture_1_0=np.full((8, 6, 3), gap, np.uint8))
        held.record(key, {"torch": walked(), "tensorflow": changed}, {"torch": [], "tensorflow": []})
    verdict = held.steps["picture", 0]
    assert (verdict.key, verdict.largest, verdict.wrong, verdict.records) == ("r2", 3, 3, 3)
    held.record("r4", {"torch": {}, "tensorflow": {}}, {"torch": [], "tensorflow": []})
    assert verdict.records == 3, "an absent value is not tried"


def test_steps_on_finished_batches() -> None:
    held = judge(batch_steps=[{"image.mixup": {"fields": ["picture"], "alpha": 0.4}}])
    batch = {"0/in/0": PICTURE[None], "0/out/picture": PICTURE[None]}
    none: dict[str, Any] = {side: [] for side in FRAMEWORKS}
    held.finished_batch(0, {"torch": batch, "tensorflow": batch}, none)
    assert held.faults == []
    wrong = batch | {"0/out/picture": PICTURE[None] + 1}
    held.finished_batch(8, {"torch": batch, "tensorflow": wrong}, none)
    missing = {"0/in/0": PICTURE[None]}
    held.finished_batch(16, {"torch": batch, "tensorflow": missing}, none)
    (fault,) = held.faults
    assert fault.startswith(
        "picture: image.mixup (step 1) is outside its agreement (identical) in 2 of 3 batches; the b"
    )


SIDE = Side("torch", {"torch": "2"}, "cpu", 1.0, 1.0, 1.0, (100.0, 110.0, 90.0), 500.0)
LEANS = (
    {"field": "ids", "step": "text.pad", "number": 1, "frameworks": ["tensorflow"], "uses": "tensorflow", "why": "x"}
    | {"kind": "library"},
    {"field": "ids", "step": "text.bpe", "number": 0, "frameworks": ["tensorflow"], "uses": "Python", "why": "x"}
    | {"kind": "host"},
)


def sides(**changes: Any) -> dict[str, Side]:
    return {"torch": SIDE, "tensorflow": replace(SIDE, framework="tensorflow", versions={"tensorflow": "2"}, **changes)}


@pytest.mark.parametrize(
    ("changes", "framework", "words"),
    [
        ({"rates": (80.0, 95.0, 85.0)}, None, ["no difference in speed", "90 to 110"]),
        ({"rates": (80.0, 60.0, 70.0)}, "torch", ["torch delivers 1.4 times", "90 to 110 against 60 to 80"]),
        ({"rates": (200.0, 300.0, 250.0)}, "tensorflow", ["tensorflow delivers 2.5 times"]),
        (
            {"rates": (200.0, 300.0, 250.0), "import_seconds": 9.0, "peak_memory_mib": 900.0},
            "tensorflow",
            ["torch has its first batch 8.0 s sooner", "torch takes 400 MiB less memory"],
        ),
        ({"rates": (111.0, 110.5, 118.0)}, "tensorflow", ["tensorflow delivers 1.1 times"]),
        ({"rates": (89.0, 89.5, 60.0, 89.9, 89.8)}, "torch", ["torch delivers 1.1 times"]),
        ({"rates": (101.0,), "import_seconds": 9.0}, "torch", ["no difference in speed", "8.0 s sooner"]),
        ({"rates": (101.0,), "import_seconds": 9.0, "peak_memory_mib": 100.0}, None, ["sooner", "400 MiB less"]),
    ],
)
def test_the_recommendation_and_its_reason(changes: dict[str, Any], framework: str | None, words: list[str]) -> None:
    found = advise(sides(**changes), (), faults=0)
    assert found.framework == framework
    assert all(word in found.reason for word in words), found.reason
    if len(changes) == 1:
        assert "sooner" not in found.reason
        assert "memory" not in found.reason


def test_parity_comes_before_speed_and_fallbacks_are_told() -> None:
    found = advise(sides(rates=(1.0,)), LEANS, faults=2)
    assert found.framework is None
    assert found.reason.startswith("none while parity fails (2 faults): settle that first. As to speed, torch delivers")
    assert "on tensorflow, text.pad cannot use the framework's own library here" in found.reason
    near = {"torch": replace(SIDE, rates=(104.0, 103.0)), "tensorflow": sides(rates=(100.0, 99.0))["tensorflow"]}
    assert advise(near, (), 0).reason.startswith("torch delivers 4.0% more records a second than tensorflow (103 to")


@pytest.mark.needs("torchtext")
def test_what_a_step_leans_on_is_told_by_binding_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _leans(BasicEnglish(), "torch", (TEXT,)) == []
    monkeypatch.setattr(companions, "why_not", lambda library: "OSError: too old")
    (one,) = _leans(BasicEnglish(), "torch", (TEXT,))
    assert one == {"kind": "library", "uses": "tokenizers instead of torchtext", "why": "OSError: too old"}
    assert companions.usable("torchtext") is False, "outside, nothing is collected"
    index = compile_plan(fake_config("torch", fields=FIELDS))[0].fields[3].nodes[0]
    assert [one["uses"] for one in _leans(index.step, "torch", index.takes)] == [HOST]
    bpe = Bpe(**Bpe.examples[0].params)
    assert _leans(bpe, "torch", (TEXT,))[1:] == []
    assert [one["uses"] for one in _leans(bpe, "tensorflow", (TEXT,))] == [IN_PYTHON]
    assert _leans(Whitespace(), "tensorflow", (TEXT,)) == []


WAITS = "import sys, time; from pipelines.report import _compare_worker as w; w.Worker = lambda _: time.sleep(600); "


def test_a_worker_ends_at_once_with_its_driver_and_takes_the_folder_along(tmp_path: Path) -> None:
    folder = tmp_path / "values"
    folder.mkdir()
    (folder / "torch.npz").write_bytes(b"1")
    command = [sys.executable, "-c", WAITS + "w.main(sys.argv[1])", str(folder)]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert worker.stdin is not None
    worker.stdin.write('{"do": "load"}\n')  # it is at work when the driver goes
    worker.stdin.close()
    assert worker.wait(60) == 0
    assert not folder.exists()


def test_the_result_as_json_and_as_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    held = judge()
    judge_finals(held, GOOD, GOOD | {"picture": PICTURE[:4], "tokens": ["b"]})
    wrong = {"torch": walked(), "tensorflow": walked(class_1_0=None)}
    held.record("r5", wrong, {"torch": [], "tensorflow": [{"field": "class", "number": 0, "reason": "lost [it]"}]})
    found = Comparison("x.yaml", 1, 1, 0, 1, sides(), held, LEANS, Advice(None, "a reason"))
    plain = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert [one["largest"] for one in plain["steps"] if not one["parity"]] == ["inf"]
    with pytest.raises(ParityError) as raised:
        found.require_parity()
    assert raised.value.exit_code == 4
    assert str(raised.value).count("\n  ") == 3
    found.show()
    shown = capsys.readouterr().out
    assert "Parity: fails" in shown
    assert "lost [it]" in shown
    assert "Recommendation: none" in shown


def test_peak_memory_is_that_of_the_process_alone() -> None:
    held = bytearray(300 << 20)  # a process that is started by a large one must not count that
    code = (
        "from pipelines.report._compare_worker import peak_memory_mib as peak\n"
        "before = peak(); held = b'1' * (100 << 20); print(before, peak())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(float, done.stdout.split())
    assert len(held) > 0
    assert before < 300
    assert after > before + 90
