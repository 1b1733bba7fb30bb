"""`pipelines profile` and what the progress line tells: slow steps and consumers are named, with their share."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from run.fakes import epoch_of, fake
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.image.flip import Flip
from pipelines.pipeline import Pipeline
from pipelines.report import progress as progress_module
from pipelines.report._profile_advice import Figures, Keepable, Spent, judge
from pipelines.report.profile import profile
from pipelines.report.progress import progress
from pipelines.run import run
from pipelines.runtime._clock import IDLE, Clock, Place, Times, Waits, size_of, waits_on
from pipelines.samples import make_samples

NAP = 0.01
FIELDS = {
    "picture": {"from": "picture", "steps": [{"image.flip": {"direction": "vertical"}}]},
    "class": {"from": "label", "steps": [{"label.index": {"classes": ["cat", "dog"]}}]},
}


@pytest.fixture
def slow_flip(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Makes image.flip slow on both frameworks; the list holds the seconds that each call took."""
    taken: list[float] = []

    def nap(value: Any) -> Any:
        begun = time.perf_counter()
        time.sleep(NAP)
        taken.append(time.perf_counter() - begun)
        return value

    def in_torch(self: Flip, *specs: Any) -> Callable[..., Any]:
        return lambda value, *draw: nap(value)

    def in_tensorflow(self: Flip, x: Any) -> Callable[..., Any]:
        import tensorflow as tf

        def kernel(value: Any, *draw: Any) -> Any:
            return tf.ensure_shape(tf.numpy_function(nap, [value], value.dtype), value.shape)

        return kernel

    monkeypatch.setattr(Flip, "bind_torch", in_torch)
    monkeypatch.setattr(Flip, "bind_tensorflow", in_tensorflow)
    return taken


def endless(framework: str) -> Pipeline:
    return fake(framework, records=100_000, lost=(), fields=FIELDS)


def test_a_slow_step_is_named_with_its_share(slow_flip: list[float]) -> None:
    """The machine's stalls add to a measurement now and then, an error of the accounts to each: the best of three."""
    for _ in range(3):
        slow_flip.clear()
        found = profile(endless("torch"), 2.0)
        figures, verdict = found.figures, found.verdict
        step = next(one for one in figures.spent if one.name == "image.flip")
        # each nap of the measured time is in it; naps cut by its ends may be missing or too many, one for each thread
        naps = pytest.approx(figures.batches * sum(slow_flip) / len(slow_flip), abs=2 * figures.threads * NAP, rel=0.05)
        if step.seconds == naps:
            break
    assert step.seconds == naps
    assert verdict.bottleneck == "picture: image.flip"
    assert verdict.share == pytest.approx(step.own / sum(one.own for one in figures.spent))
    # of some 45 naps two may be cut; the rest is for a busy machine's stalls
    assert step.own == pytest.approx(step.seconds, rel=0.3)
    assert step.computed is not None
    assert step.computed < 0.2
    assert any(one.change == "--threads 4" for one in verdict.advice)


def test_all_time_of_the_workers_is_accounted_for(slow_flip: list[float]) -> None:
    figures = profile(endless("torch"), 0.5).figures
    assert figures.turn_s is not None
    assert figures.idle_s is not None
    whole = figures.working_s + figures.turn_s + figures.idle_s
    # one epoch, so the threads live all the time; the two clocks are read some calls apart
    assert whole == pytest.approx(figures.threads * figures.wall_s, rel=0.01)
    assert figures.waited_s + figures.away_s == pytest.approx(figures.wall_s, rel=0.01)


def test_a_slow_consumer_is_named() -> None:
    found = profile(endless("torch"), 0.5, lambda batch: time.sleep(NAP))
    assert found.verdict.bottleneck == "the consumer"
    figures = found.figures
    assert figures.ready is not None
    assert figures.room is not None
    assert figures.ready > figures.room - 1.5  # all that there is room for but the one just begun
    assert figures.away_s / figures.batches == pytest.approx(NAP, rel=0.5)  # sleep takes longer on a busy machine
    assert found.verdict.advice[0].gain > 1.5


def test_tensorflow_steps_are_measured_alone(slow_flip: list[float], tmp_path: Path) -> None:
    found = profile(endless("tensorflow"), 0.3)
    assert found.verdict.bottleneck == "picture: image.flip"
    assert {one.title for one in found.figures.spent} == {"read", "picture: image.flip", "class: label.index"}
    assert found.figures.idle is None
    found.write(tmp_path / "page.html")
    assert "each was measured alone" in (tmp_path / "page.html").read_text()


def test_a_step_that_is_kept_is_seen_where_it_runs(tmp_path: Path) -> None:
    flip = {"image.flip": {"probability": 1.0}}
    fields = FIELDS | {"picture": {"from": "picture", "steps": [flip]}}
    pipe = fake("torch", fields=fields, lost=(), cache={"path": str(tmp_path), "fields": ["picture"]})
    seen = []
    for _ in range(2):
        before = pipe.engine.clock.times()
        for _ in pipe:
            pass
        seen.append({place.name for place in pipe.engine.clock.times().since(before).workers})
    assert "image.flip" in seen[0] - seen[1]
    assert "cache" in seen[0] & seen[1]


def test_the_progress_line_tells_what_a_run_waits_on(
    slow_flip: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress_module, "PLAIN_EVERY_SECONDS", 0.05)
    pipe = fake("torch", records=120, lost=(), fields=FIELDS)
    with progress("a run", 120, Waits(pipe.engine.clock)) as watch:
        run(pipe, watch=watch)
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(line.endswith("waits on: image.flip") for line in lines)
    with progress("a run", 120) as watch:
        time.sleep(0.06)
        watch(1)
    assert "waits" not in capsys.readouterr().err


def test_a_bar_tells_it_while_nothing_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=160)
    monkeypatch.setattr(progress_module, "Console", lambda stderr: terminal)
    with progress("a run", 120, lambda: "image.decode"):
        pass
    assert "waits on: image.decode" in screen.getvalue()


def test_what_a_run_waits_on() -> None:
    decode = Place("image.decode", "step", "image")
    assert waits_on(Times({}, 0.0, 0.0)) == ""
    assert waits_on(Times({}, 3.0, 0.1)) == "worker processes"
    assert waits_on(Times({}, 0.1, 3.0), "writing the shards") == "writing the shards"
    assert waits_on(Times({decode: 1.0, IDLE: 3.0}, 0.1, 0.9)) == "the consumer"
    assert waits_on(Times({decode: 1.0, IDLE: 0.5}, 0.9, 0.1)) == "image.decode"


def test_recording_changes_no_batch_and_no_account() -> None:
    plain, recorded = fake("torch"), fake("torch")
    with recorded.engine.clock.record() as recording:
        found = epoch_of(recorded)
    assert found == epoch_of(plain)
    assert recorded.counts == plain.counts
    assert len(recording.spans) > 10
    assert recording.bytes_read > 0


def test_the_clock_costs_next_to_nothing() -> None:
    clock, calls = Clock(), 20_000
    begun = time.thread_time()
    for _ in range(calls // 2):
        clock.at(IDLE)
        clock.at(IDLE)
    each = (time.thread_time() - begun) / calls
    # a batch of the fastest job, texts of 32 to a batch, takes 2 ms and notes 10 places: 10 us is half a percent
    assert 10 * each < 0.01 * 0.002, f"{each * 1e6:.2f} us a call"


def test_sizes() -> None:
    import tensorflow as tf
    import torch

    sizes = [size_of(v) for v in (b"abc", "ä", ["a", "bc"], None, 7, torch.zeros(3, dtype=torch.int16))]
    assert sizes == [3, 2, 3, 0, 8, 6]
    assert [size_of(v) for v in (tf.zeros([2, 3]), tf.constant(["a", "bc"]))] == [24, 3]


def spent(**seconds: float) -> tuple[Spent, ...]:
    return tuple(Spent(name, "x", True, value, value, 1.0) for name, value in seconds.items())


STEADY = Figures(
    framework="torch",
    threads=2,
    at_once=2,
    cores=2,
    wall_s=10.0,
    processor_s=20.0,
    records=1000,
    of_records=1000,
    batches=10,
    bytes_read=0,
    bytes_delivered=0,
    spent=spent(decode=12.0, resize=6.0, flip=2.0),
    turn_s=0.0,
    idle_s=0.0,
    waited_s=9.9,
    away_s=0.1,
    ready=0.0,
    room=4,
)


def changes(figures: Figures) -> dict[str, float]:
    return {one.change: one.gain for one in judge(figures).advice}


def test_nothing_to_change_is_said() -> None:
    verdict = judge(STEADY)
    assert (verdict.bottleneck, verdict.share) == ("x: decode", 0.6)
    assert "2.50x" in verdict.why
    assert "Nothing measured here" in verdict.why
    assert verdict.advice == ()


def test_a_cache_gains_what_it_spares_less_what_reading_back_takes() -> None:
    kept = Keepable("x", 2, read_back_s=0.002, bytes_each=1e6)
    # 18 of 20 s spared, 1000 x 2 ms added
    assert changes(replace(STEADY, keepable=(kept,))) == {"cache: {fields: [x]}": pytest.approx(20 / 4)}
    assert changes(replace(STEADY, keepable=(replace(kept, read_back_s=0.02),))) == {}
    assert changes(replace(STEADY, keepable=(kept,), of_records=100_000)) == {}  # 100 GB, for which there is no room


def test_a_cache_that_is_being_filled_is_told_of() -> None:
    filling = tuple(replace(one, once=one.name != "flip") for one in STEADY.spent)
    assert changes(replace(STEADY, spent=filling)) == {"nothing: wait for the second epoch": pytest.approx(10.0)}


def test_reading_that_waits_is_the_storages_fault() -> None:
    read = Spent("read", "", False, 20.0, 20.0, 0.25)
    figures = replace(STEADY, spent=(read, *STEADY.spent), processor_s=15.0)
    verdict = judge(figures)
    assert verdict.bottleneck == "read"
    assert [one.gain for one in verdict.advice] == [pytest.approx(40 / 25)]
    assert "faster disk" in verdict.advice[0].change


def test_more_threads_only_where_cores_are_free() -> None:
    few = replace(STEADY, threads=2, cores=8)
    assert changes(few) == {"--threads 8": 4.0}
    assert changes(replace(few, processor_s=79.0)) == {}


def test_the_interpreters_lock() -> None:
    held = replace(STEADY, at_once=1, processor_s=10.0, cores=4, threads=4)
    assert changes(held) == {"--workers processes": 4.0}
    assert changes(replace(held, framework="tensorflow")) == {}


def test_a_step_is_judged_by_what_it_takes_undisturbed() -> None:
    """A step that lets go of the interpreter's lock waits until it has it again, which is not its fault."""
    disturbed = tuple(replace(one, seconds=30.0) if one.name == "flip" else one for one in STEADY.spent)
    figures = replace(STEADY, spent=disturbed, processor_s=10.0)
    assert judge(figures).bottleneck == "x: decode"
    assert judge(figures).share == 0.6
    assert changes(figures) == {"--workers processes": 2.0}


def test_a_slow_consumer_in_figures() -> None:
    verdict = judge(replace(STEADY, idle_s=60.0, waited_s=1.0, away_s=9.0))
    assert verdict.bottleneck == "the consumer"
    assert [one.gain for one in verdict.advice] == [pytest.approx(4.0)]
    unseen = replace(STEADY, framework="tensorflow", idle_s=None, turn_s=None, waited_s=0.5, away_s=9.5)
    assert judge(unseen).bottleneck == "the consumer"
    assert judge(replace(unseen, waited_s=5.0, away_s=5.0)).bottleneck == "x: decode"


def test_the_command(tmp_path: Path) -> None:
    make_samples(tmp_path / "data", 0)
    names = {path.name for path in (tmp_path / "data").iterdir()}
    config = tmp_path / "<b>sounds.yaml"
    config.write_text(SOUNDS)
    assert "sounds" in names, names
    page = tmp_path / "pages" / "profile.html"
    call = ["profile", str(config), "--device", "cpu", "--seconds", "0.3"]
    done = CliRunner().invoke(app, [*call, "--output", str(page)])
    assert done.exit_code == 0, done.output
    assert "Waits on: " in done.output
    html = page.read_text()
    assert "data:image/png" in html
    assert "<b>" not in html
    told = json.loads(CliRunner().invoke(app, [*call, "--json", "--consumer-ms", "30"]).stdout)
    assert told["verdict"]["bottleneck"] == "the consumer"
    assert told["records_per_second"] == pytest.approx(told["records"] / told["wall_s"])


SOUNDS = """\
framework: torch
source: {folder: {path: data/sounds, files: "**/*.wav"}}
fields:
  wave:
    from: file
    steps: [audio.decode: {channels: mono}, audio.resample: {rate_hz: 8000}, audio.fit: {seconds: 1.0}]
batch: {size: 4}
"""
