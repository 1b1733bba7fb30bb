"""Batches of like length in whole runs: both frameworks, failures, ranks, resume, output, and lengths that are kept."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from run.fakes import FIELDS, LOST, FakeSource, epoch_of, fake, fake_config, plain

import pipelines
from pipelines.errors import ConfigError, SourceError, StateError
from pipelines.output import Output
from pipelines.pipeline import Pipeline
from pipelines.runtime._lengths import kept_lengths
from pipelines.spec import FRAMEWORKS

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
BUDGET = {"tokens": 12, "shuffle": True, "bucket": {"by": "wave", "window": 20}}
ROWS = {"size": 4, "shuffle": True, "bucket": {"by": "wave", "window": 20}}
FEW = {name: FIELDS[name] for name in ("wave", "class", "needed")}
"""What loses all of LOST; a graph of all fields takes long to trace."""
both_ways = pytest.mark.parametrize("batch", [BUDGET, ROWS], ids=["tokens", "size"])
budget_in_both = pytest.mark.parametrize(
    ("framework", "batch"),
    [
        ("torch", BUDGET),
        ("torch", ROWS),
        ("tensorflow", BUDGET),
    ],  # how rows are made does not hang on the way of cutting
    ids=["torch, tokens", "torch, size", "tensorflow, tokens"],
)


@pytest.fixture(autouse=True)
def _own_lengths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake source has one fingerprint whatever it loses, so no test may find the lengths of another."""
    monkeypatch.setenv("PIPELINES_CACHE", str(tmp_path / "cache"))


def of(framework: str, batch: dict[str, Any], **options: Any) -> Pipeline:
    changes = {name: options.pop(name) for name in ("lost", "records", "fields") if name in options}
    return Pipeline(fake_config(framework, batch=batch, **({"fields": FEW} | changes)), device="cpu", **options)


def rows(pipe: Pipeline) -> list[dict[str, Any]]:
    return [plain(record) for delivered in pipe.epoch() for record in pipe.engine.unbatch(delivered)]


@both_ways
def test_the_engines_deliver_the_same_and_lose_the_same(batch: dict[str, Any]) -> None:
    torch, tensorflow = (of(framework, batch) for framework in FRAMEWORKS)
    epochs = []
    for _ in range(2):
        a, b = epoch_of(torch), epoch_of(tensorflow)
        assert a == b
        assert torch.quarantine == tensorflow.quarantine
        assert sorted(f.index for f in torch.quarantine) == sorted(LOST)
        assert torch.counts.read == torch.counts.delivered + torch.counts.quarantined == 50
        epochs.append(a)
    assert epochs[0] != epochs[1]
    lengths = [[len(record["wave"]) for record in records] for _, _, records in epochs[0] if records]
    assert all(found == sorted(found) for found in lengths)


def test_what_fails_when_it_is_measured_fails_again_for_the_same_reason() -> None:
    told = {}
    for batch in (BUDGET, {"size": 4}):
        pipe = of("torch", batch)
        rows(pipe)
        told[str(batch)] = {f.index: (f.field, f.step, f.reason) for f in pipe.quarantine}
    first, second = told.values()
    assert first == second
    assert first[7] == ("", "read", "OSError: gone")


def test_a_budget_is_kept_and_what_is_longer_is_quarantined(framework: str) -> None:
    pipe = of(framework, BUDGET | {"tokens": 3}, lost=())
    for batch in pipe:
        count, longest = batch["wave"].shape
        assert count * longest <= 3
        assert np.asarray(batch["wave_length"]).max() == longest
    assert {f.index for f in pipe.quarantine} == set(range(4, 50, 5))
    failure = pipe.quarantine[0]
    assert (failure.field, failure.step) == ("wave", "batch.tokens")
    assert failure.reason.startswith("wave: a length of 4 is more than a batch may have, batch.tokens=3; raise that")
    assert pipe.counts.delivered == 40
    several = [of(framework, BUDGET | {"tokens": 3, "size": 2}, lost=(), rank=rank, world=2) for rank in (0, 1)]
    for found in several:
        assert all(batch["wave"].shape[0] * batch["wave"].shape[1] <= 3 for batch in found)
        assert all(0 < len(batch["index"]) <= 2 for batch in found)


@budget_in_both
def test_ranks_have_the_same_number_of_batches(framework: str, batch: dict[str, Any]) -> None:
    ranks = []
    for rank in range(3):
        pipe = of(framework, batch, rank=rank, world=3)
        found = list(pipe)
        assert len(found) == pipe.grid.batches()
        ranks.append([np.asarray(b["index"])[np.asarray(b["_valid"])].tolist() for b in found])
    assert len({len(batches) for batches in ranks}) == 1
    assert sorted(i for rank in ranks for b in rank for i in b) == sorted(set(range(50)) - set(LOST))


@pytest.mark.parametrize(
    ("framework", "other", "batch"),
    [
        ("torch", "torch", BUDGET),
        ("torch", "torch", ROWS),
        ("torch", "tensorflow", BUDGET),
        ("tensorflow", "torch", BUDGET),
    ],
)
def test_resume_goes_on_in_the_same_order(framework: str, other: str, batch: dict[str, Any]) -> None:
    """Also with another number of ranks: what they deliver, side by side, is the rest."""
    expected = rows(of("torch", batch))
    first, second = of(framework, batch), of(other, batch)
    ranks = [of(other, batch, rank=rank, world=2) for rank in (0, 1)]
    for stop_after in (1, 4, 9) if other == "torch" else (4,):
        first.start_at(0)
        begun = first.epoch()
        got = [plain(r) for delivered in islice(begun, stop_after) for r in first.engine.unbatch(delivered)]
        state = json.dumps(first.state())
        begun.close()
        second.resume(state)
        assert got + rows(second) == expected
        for pipe in ranks:
            pipe.resume(state)
        parts = zip(*(pipe.epoch() for pipe in ranks), strict=True)
        rest = [plain(r) for step in parts for p, d in zip(ranks, step, strict=True) for r in p.engine.unbatch(d)]
        assert got + rest == expected


def test_a_state_is_refused_when_lengths_or_the_way_of_sorting_changed() -> None:
    pipe = of("torch", BUDGET)
    state = pipe.state()
    for batch in (BUDGET | {"tokens": 13}, BUDGET | {"size": 32}, BUDGET | {"bucket": {"by": "wave", "window": 21}}):
        with pytest.raises(StateError, match="batch"):
            of("torch", batch).resume(state)
    of("torch", {**BUDGET, "bucket": {"by": "wave", "window": 20, "ranks": 1}}).resume(state)
    other = of("torch", BUDGET)
    other._sections["lengths"] = "0" * 16
    with pytest.raises(StateError, match="lengths changed"):
        other.resume(state)


def test_fixed_batches_keep_the_rows_they_were_planned_with(framework: str) -> None:
    pipe = of(framework, BUDGET | {"fixed": True})
    shapes = [len(batch["key"]) for batch in pipe]
    assert len(shapes) == pipe.grid.batches(0)
    assert sum(shapes) == 50 - len({7, 16, 17, 18, 19})  # those whose length is not known have no place; 9 and 11 have
    assert pipe.counts.delivered == 43
    assert [len(batch["key"]) for batch in of(framework, ROWS | {"fixed": True})] == [4] * 13


@both_ways
def test_drop_last_accounts_for_what_it_leaves_out(batch: dict[str, Any]) -> None:
    pipe = of("torch", batch | {"drop_last": True})
    rows(pipe)
    counts = pipe.counts
    assert counts.left_over == (2 if batch is ROWS else 0)
    assert counts.read == counts.delivered + counts.quarantined + counts.left_over == 50


def test_chance_that_leaves_sizes_alone_is_allowed() -> None:
    fields = {"tokens": {"from": "tokens"}, "picture": FIELDS["picture"]}
    batch = {"size": 6, "shuffle": True, "bucket": {}}  # the only field that varies
    pipe = of("torch", batch, lost=(), fields=fields)
    assert pipe.plan.sorted_by == "tokens"
    assert len(rows(pipe)) == 50
    still = of("torch", batch, lost=(), fields=fields, evaluate=True)
    source = FakeSource(50, ())
    assert all(r["picture"] == source.read(r["index"], ["picture"])["picture"].tolist() for r in rows(still))


def test_native_objects_know_their_length(framework: str) -> None:
    pipe = of(framework, BUDGET, lost=())
    native = pipe.torch_dataset() if framework == "torch" else pipe.tf_dataset()
    lengths = [pipe.grid.batches(number) for number in range(2)]
    for number in range(2):
        if framework == "torch":
            assert len(native) == lengths[number]
        else:
            assert int(native.cardinality()) < 0  # keras counts for itself: epochs differ
        assert sum(1 for _ in native) == lengths[number]


# Output


@both_ways
def test_a_stopped_run_ends_with_the_same_bytes(
    batch: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = {"format": "npz", "path": str(tmp_path / "unused"), "records_per_shard": 7}
    config = fake_config("torch", batch=batch | {"drop_last": True}, output=output, fields=FEW)
    pipelines.run(Pipeline(config, device="cpu"), epochs=2, output=tmp_path / "whole")
    add, count = Output.add, 0

    def stopping(self: Output, *arguments: Any) -> None:
        nonlocal count
        count += 1
        if count in (25, 40):
            raise KeyboardInterrupt
        add(self, *arguments)

    monkeypatch.setattr(Output, "add", stopping)
    for mode in ("new", "resume"):
        with pytest.raises(KeyboardInterrupt):
            pipelines.run(Pipeline(config, device="cpu"), epochs=2, output=tmp_path / "stopped", mode=mode)
    pipelines.run(Pipeline(config, device="cpu"), epochs=2, output=tmp_path / "stopped", mode="resume")
    files = [
        {path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())} for name in ("whole", "stopped")
    ]
    assert files[0] == files[1]
    assert len(files[0]) > 10


def test_only_what_failed_is_tried_anew() -> None:
    """A record that failed when it was measured, and does not any more, is kept out of its batch, and gets one now."""
    rows(of("torch", BUDGET))
    healed = of("torch", BUDGET, lost=())
    rows(healed)
    assert sorted(f.index for f in healed.quarantine) == [7, 16, 17, 18, 19]
    assert {f.reason for f in healed.quarantine} == {
        "wave: its length was not to be had when it was measured; --only-quarantined tries it again"
    }
    keys = [failure.key for failure in healed.quarantine]
    again = of("torch", BUDGET, lost=(), only=keys)
    assert sorted(r["index"] for r in rows(again)) == [7, 16, 17, 18, 19]
    assert [f.index for f in again.quarantine] == []


# Lengths


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The records read from now on."""
    found: list[int] = []
    read = FakeSource.read

    def counting(self: FakeSource, index: int, names: Any) -> dict[str, Any]:
        found.append(index)
        return read(self, index, names)

    monkeypatch.setattr(FakeSource, "read", counting)
    return found


def test_lengths_are_measured_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = fake_config("torch", batch=BUDGET, lost=(), fields=FEW | {"tokens": FIELDS["tokens"]})
    found = counted(monkeypatch)
    pipe = Pipeline(config, device="cpu")
    assert sorted(found) == list(range(50))
    held = kept_lengths(config, pipe.plan, pipe.source)
    assert held is not None
    assert held.tolist() == [index % 5 for index in range(50)]
    for other in FRAMEWORKS:
        of(other, BUDGET, lost=())
        of(other, ROWS, lost=())
    assert len(found) == 50
    by_tokens = {"batch": BUDGET | {"bucket": {"by": "tokens"}}, "fields": FIELDS, "lost": ()}
    of("torch", **by_tokens)
    of("torch", BUDGET, lost=(), records=49)
    assert len(found) == 149
    (file,) = (tmp_path / "cache/lengths").glob("tokens-*.npy")
    for damage in (file.read_bytes()[:-2], bytes(byte ^ 1 for byte in file.read_bytes()), b""):
        file.write_bytes(damage)
        of("torch", **by_tokens)
    assert len(found) == 299


def test_a_stopped_measurement_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    config = fake_config("torch", records=500, lost=(), batch=ROWS)
    read, found = FakeSource.read, counted(monkeypatch)

    def failing(self: FakeSource, index: int, names: Any) -> dict[str, Any]:
        if index == 400:
            raise MemoryError
        return read(self, index, names)

    with monkeypatch.context() as patch:
        patch.setattr(FakeSource, "read", failing)
        with pytest.raises(MemoryError):
            Pipeline(config, device="cpu", threads=1)
    pipe = Pipeline(config, device="cpu", threads=1)
    assert 100 <= len(found) < 500  # what was whole before is not read again
    assert kept_lengths(config, pipe.plan, pipe.source) is not None


def test_a_folder_that_cannot_hold_lengths_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(SourceError, match=r"cannot keep the lengths of the records in .*PIPELINES_CACHE"):
        of("torch", ROWS)


def test_a_column_is_the_length(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = tmp_path / "clips.csv"
    seconds = [0.5 + (index * 7 % 10) / 4 for index in range(20)]
    lines = [f"{index},{second}" for index, second in enumerate(seconds)]
    lines[4], lines[5], lines[6] = "4,", "5,-1", "6,90"
    table.write_text("\n".join(["name,seconds", *lines]))
    config = {
        "framework": "torch",
        "source": {"manifest": {"path": str(table), "types": {"seconds": "float"}}},
        "fields": {"name": {"from": "name"}, "seconds": {"from": "seconds"}},
        "batch": {"tokens": 8, "bucket": {"column": "seconds", "window": 10}},
        "on_error": {"at_most": 1.0},
    }
    monkeypatch.setattr("pipelines.runtime.torch.TorchEngine.run", None)
    pipe = pipelines.load(config, device="cpu")  # no step is run to know the lengths
    monkeypatch.undo()
    for batch in pipe:
        found = np.asarray(batch["seconds"])
        assert len(found) * found.max() <= 8
    told = {f.key: (f.step, f.reason) for f in pipe.quarantine}
    assert told["4"] == ("read", "seconds is absent, and the field is not optional") or told["4"][0] == "batch.tokens"
    assert told["5"] == ("batch.tokens", "seconds: expected a number of at least 0")
    assert told["6"][1].startswith("seconds: a length of 90 is more than a batch may have")
    assert pipe.counts.delivered == 17


# Faults


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batch": {"tokens": 0}}, "tokens=0 must be > 0"),
        ({"batch": {"bucket": {"window": 0}}}, "window=0 must be >= 1"),
        ({"batch": {"bucket": {"by": "wave", "column": "number"}}}, "expected by or column, got both"),
        ({"batch": {"bucket": {"by": "waves"}}}, r"batch.bucket: by: there is no field 'waves'; did you mean 'wave'"),
        ({"batch": {"bucket": {"by": "number"}}}, "by: expected a field that differs in size .*, got number int64"),
        ({"batch": {"tokens": 9}}, "batch.tokens: bucket: expected one field that differs .*, got wave, tokens; name"),
        ({"batch": {"bucket": {}}, "fields": {"number": FIELDS["number"]}}, "record to record, got none"),
        ({"batch": {"bucket": {"column": "numbr"}}}, "the source has no value 'numbr'; did you mean 'number'"),
        ({"batch": {"bucket": {"column": "label"}}}, "column: expected a value that is one number, got text"),
    ],
)
def test_faults_of_a_config(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        fake("torch", **changes)


def test_a_step_that_draws_how_long_a_record_becomes_is_refused_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    steps = ["audio.decode", {"audio.resample": {"rate_hz": 8000}}, "audio.time_stretch", "audio.gain"]
    config: dict[str, Any] = {
        "framework": "torch",
        "source": {"folder": {"path": str(tmp_path), "files": "*.wav"}},
        "fields": {"wave": {"from": "file", "steps": steps}},
        "batch": {"tokens": 100},
    }
    with pytest.raises(ConfigError) as caught:
        pipelines.load(config)
    (fault,) = caught.value.faults
    assert fault.place == "config: fields.wave.steps[2]"
    assert fault.message.startswith("audio.time_stretch: it draws how long a record becomes")


def test_packed_rows_have_no_budget() -> None:
    fields = {"ids": {"from": "label", "steps": ["text.code_points"]}}
    pack = [{"text.pack": {"fields": ["ids"], "length": 8}}]
    with pytest.raises(ConfigError, match="tokens: expected no step that packs"):
        fake("torch", fields=fields, batch_steps=pack, batch={"tokens": 9})


# Real texts


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where data sets are kept once they are read, which takes a process of its own."""
    return tmp_path_factory.mktemp("sources")


@pytest.mark.usefixtures("data")
def test_padding_saved_on_news(framework: str, stores: Path, tmp_path: Path) -> None:
    """Two thousand items: the budget holds, and less than a tenth of the batches is padding; unsorted over a third."""

    def padding(**overrides: Any) -> tuple[float, int]:
        sets = tuple(f"{name}={value}" for name, value in overrides.items())
        pipe = pipelines.load(
            CONFIGS / "text_ag_news_tokens.yaml", framework=framework, device="cpu", limit=2000, overrides=sets
        )
        held = padded = largest = 0
        for batch in pipe:
            size = int(np.prod(batch["ids"].shape))
            held, padded, largest = held + int(np.asarray(batch["ids_length"]).sum()), padded + size, max(largest, size)
        assert pipe.counts.delivered == 2000
        return 1 - held / padded, largest

    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/sources").symlink_to(stores)
    share, largest = padding()
    assert largest <= 4096
    assert share < 0.1
    assert padding(batch="{size: 64, shuffle: true}")[0] > 0.33
    assert padding(batch="{size: 64, shuffle: true, bucket: {window: 2048}}")[0] < 0.1


def test_measuring_fills_the_cache_of_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sounds of two rates: their length is told behind audio.resample, and what was decoded is not decoded again."""
    for index in range(12):
        rate = (8000, 11025)[index % 2]
        sound = np.sin(np.arange(300 + 211 * (index * 5 % 12)) / 9)
        soundfile.write(tmp_path / f"{index:02}.wav", sound, rate)
    config: dict[str, Any] = {
        "framework": "torch",
        "source": {"folder": {"path": str(tmp_path), "files": "*.wav"}},
        "fields": {
            "wave": {"from": "file", "steps": ["audio.decode", {"audio.resample": {"rate_hz": 8000}}, "audio.gain"]}
        },
        "batch": {"tokens": 6000, "shuffle": True},
    }
    expected = list(pipelines.load(config, device="cpu"))
    kept = pipelines.load(config | {"cache": {"path": str(tmp_path / "kept")}}, device="cpu")
    for a, b in zip(kept, expected, strict=True):
        assert a["key"] == b["key"]
        np.testing.assert_allclose(np.asarray(a["wave"]), np.asarray(b["wave"]), atol=1e-6)  # float32, another batch
        assert a["wave"].numel() <= 6000
    for file in (tmp_path / "cache/lengths").glob("*.npy"):
        file.unlink()
    again = pipelines.load(config | {"cache": {"path": str(tmp_path / "new")}}, device="cpu")
    monkeypatch.setattr(again.source, "read", None)  # measuring has read and kept everything
    assert [batch["key"] for batch in again] == [batch["key"] for batch in expected]
