"""Both engines on the same records: the same batches, the same failures, every record accounted for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
from run.fakes import LOST, UNREADABLE, epoch_of, fake, fake_config, plain

from pipelines.errors import ConfigError, PipelineError, RecordError, StateError, TooManyFailures, UserError
from pipelines.grid import Grid
from pipelines.guard import after
from pipelines.image.flip import Flip
from pipelines.pipeline import Pipeline
from pipelines.runtime._chain import reason_of


def test_the_engines_deliver_the_same_and_lose_the_same() -> None:
    torch, tensorflow = fake("torch"), fake("tensorflow")
    for _ in range(3):  # three epochs, each with draws of its own
        a, b = epoch_of(torch), epoch_of(tensorflow)
        assert a == b
        assert torch.quarantine == tensorflow.quarantine
        assert sorted(f.index for f in torch.quarantine) == sorted(LOST)


def test_failures_say_where_and_why(framework: str) -> None:
    pipe = fake(framework, batch={"size": 4})
    epoch_of(pipe)
    told = {f.index: (f.field, f.step, f.reason) for f in pipe.quarantine}
    assert told[7] == ("", "read", "OSError: gone")
    assert told[9][:2] == ("class", "label.index")
    assert "'cow' is not one of the 2 classes" in told[9][2]
    assert told[11] == ("needed", "read", "needed is absent, and the field is not optional")
    assert told[16] == ("", "read", "damaged")


def test_every_record_is_accounted_for(framework: str) -> None:
    pipe = fake(framework, batch={"size": 4, "drop_last": True})
    for _ in pipe:
        pass
    counts = pipe.counts
    assert counts.read == counts.delivered + counts.quarantined + counts.left_over == 50
    assert (counts.quarantined, counts.left_over) == (7, 2)


def test_a_batch_of_which_nothing_is_left_is_not_delivered(framework: str) -> None:
    batches = list(fake(framework, batch={"size": 4}))
    assert [int(b["index"][0]) for b in batches] == [0, 4, 8, 12, 20, 24, 28, 32, 36, 40, 44, 48]


def test_shapes_masks_and_lengths(framework: str) -> None:
    batch = next(iter(fake(framework, batch={"size": 4})))
    layout = (4, 3, 8, 6) if framework == "torch" else (4, 8, 6, 3)
    assert tuple(batch["picture"].shape) == layout
    assert np.asarray(batch["wave_length"]).tolist() == [0, 1, 2, 3]
    assert tuple(batch["wave"].shape) == (4, 3)
    assert np.asarray(batch["wave"])[1, 1:].tolist() == [0, 0]
    assert np.asarray(batch["sometimes_mask"]).tolist() == [True, False, False, True]
    assert np.asarray(batch["sometimes"]).tolist() == [1, 0, 0, 1]
    assert np.asarray(batch["tokens_length"]).tolist() == [1, 2, 3, 1]


def test_fixed_batches_are_filled_with_rows_that_are_not_valid(framework: str) -> None:
    pipe = fake(framework, batch={"size": 4, "fixed": True})
    batches = list(pipe)
    assert len(batches) == len(pipe) == 13
    assert all(len(b["index"]) == 4 for b in batches)
    valid = np.concatenate([np.asarray(b["_valid"]) for b in batches])
    assert valid.sum() == pipe.counts.delivered == 43
    emptied = batches[4]
    assert not np.asarray(emptied["_valid"]).any()
    assert np.asarray(emptied["index"]).tolist() == [-1] * 4
    assert not np.asarray(emptied["picture"]).any()


def test_the_draws_of_a_record_do_not_depend_on_threads_batches_or_ranks(framework: str) -> None:
    def pictures(**options: Any) -> dict[str, Any]:
        found = {}
        size = options.pop("size", 4)
        ranks = options.pop("world", 1)
        for rank in range(ranks):
            config = fake_config(framework, batch={"size": size, "shuffle": True})
            pipe = Pipeline(config, device="cpu", rank=rank, world=ranks, **options)
            for delivered in pipe.epoch():
                found |= {r["key"]: plain(r)["picture"] for r in pipe.engine.unbatch(delivered)}
        return found

    expected = pictures(threads=1)
    assert len(expected) == 43
    assert pictures(threads=3, size=7) == expected
    assert pictures(threads=2, world=3) == expected


def test_ranks_have_the_same_number_of_batches(framework: str) -> None:
    per_rank = []
    for rank in range(3):
        pipe = Pipeline(fake_config(framework), device="cpu", rank=rank, world=3)
        per_rank.append([np.asarray(b["index"])[np.asarray(b["_valid"])].tolist() for b in pipe])
    assert {len(batches) for batches in per_rank} == {5}  # 50 records in global batches of 12
    seen = sorted(index for batches in per_rank for batch in batches for index in batch)
    assert seen == sorted(set(range(50)) - set(LOST))


@pytest.mark.parametrize("other", ["torch", "tensorflow"])
def test_resume_continues_with_exactly_the_next_record_on_either_framework(framework: str, other: str) -> None:
    """Stopped within two epochs of 13 batches, gone on with by other numbers of threads; TensorFlow starts slowly."""
    whole = fake("torch")
    expected = [plain(r) for _ in range(2) for d in whole.epoch() for r in whole.engine.unbatch(d)]
    first = fake(framework)
    seconds = [Pipeline(fake_config(other), device="cpu", threads=threads) for threads in (1, 3)]
    for stop_after in range(1, 26, 1 if framework == other == "torch" else 6):
        first.start_at(0)
        got: list[dict[str, Any]] = []
        batches = (delivered for _ in range(2) for delivered in first.epoch())
        for delivered in islice(batches, stop_after):
            got += [plain(r) for r in first.engine.unbatch(delivered)]
        state = json.dumps(first.state())
        batches.close()
        second = seconds[stop_after // 6 % 2]
        second.resume(state)
        while len(got) < len(expected):
            got += [plain(r) for delivered in second.epoch() for r in second.engine.unbatch(delivered)]
        assert got == expected, stop_after


def test_state_travels_in_each_batch(framework: str) -> None:
    pipe = fake(framework)
    batches = list(pipe)
    again = fake(framework)
    again.resume(batches[3]["_state"])
    following = next(iter(again))
    assert np.asarray(following["index"]).tolist() == np.asarray(batches[4]["index"]).tolist()


def ahead(pipe: Pipeline) -> Iterator[dict[str, Any]]:
    """An epoch's batches; on TensorFlow as a data set, which runs ahead."""
    return pipe.batches() if pipe.framework == "torch" else iter(pipe.tf_dataset())


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_state_after_some_of_the_batches_handed_over_is_the_one_in_that_batch(
    framework: str, shuffle: bool
) -> None:
    """Also behind a batch that is lost whole, as that of records 16 to 19 is."""
    pipe = fake(framework, batch={"size": 4, "shuffle": shuffle})
    pipe.start_at(2, 8)
    assert pipe.state(0) == pipe.state()
    batches = ahead(pipe)
    used = [next(batches) for _ in range(5)]
    states = [json.loads(np.asarray(batch["_state"]).item()) for batch in used]
    assert [pipe.state(i) for i in range(1, 6)] == states
    assert (pipe.state(0)["epoch"], pipe.state(0)["position"]) == (2, 8)
    with pytest.raises(ValueError, match=r"batches=1000: expected 0 to \d+, the batches handed over"):
        pipe.state(1000)
    for _ in batches:
        used.append(_)
    assert pipe.state(len(used)) == pipe.state()
    assert pipe.grid.is_over(pipe.state()["epoch"], pipe.state()["position"])


def test_an_iterator_that_is_kept_changes_nothing_of_a_later_one(framework: str) -> None:
    pipe = fake(framework)
    kept = ahead(pipe)
    next(kept)
    batches = list(ahead(pipe))
    states = [json.loads(np.asarray(batch["_state"]).item()) for batch in batches]
    assert [pipe.state(i + 1) for i in range(len(states))][:-1] == states[:-1]
    assert pipe.counts.read == pipe.counts.delivered + pipe.counts.quarantined == 50
    with pytest.raises(Exception, match="a later iteration of this pipeline has begun"):
        list(kept)
    assert pipe.counts.read == 50
    assert sum(len(batch["key"]) for batch in ahead(pipe)) == pipe.counts.delivered


def test_the_next_start_is_where_the_next_iteration_begins(framework: str) -> None:
    pipe = fake(framework, batch={"size": 4, "drop_last": True, "shuffle": True})
    pipe.resume(pipe.state() | {"epoch": 3, "position": 48})  # two records are left, which are no batch
    assert pipe.next_start == (4, 0)
    next(iter(pipe))
    assert (pipe.state()["epoch"], pipe.state()["position"]) == (4, 4)


def test_a_state_of_another_config_is_refused_with_what_changed(framework: str) -> None:
    state = fake(framework).state()
    with pytest.raises(StateError, match="batch"):
        fake(framework, batch={"size": 5, "shuffle": True}).resume(state)
    with pytest.raises(StateError, match="records"):
        fake(framework, records=49).resume(state)
    with pytest.raises(StateError, match="version"):
        fake(framework).resume({**state, "version": 99})
    for broken in ("not json", "{}", '{"version": 1, "config": {}, "epoch": "x", "position": 0}', "[1]"):
        with pytest.raises(StateError, match="expected what state"):
            fake(framework).resume(broken)


def test_the_state_after_the_last_whole_batch_goes_on_with_the_next_epoch(framework: str) -> None:
    pipe = fake(framework, batch={"size": 4, "drop_last": True, "shuffle": True})
    last = list(pipe)[-1]["_state"]
    expected = [np.asarray(b["index"]).tolist() for b in pipe]
    again = fake(framework, batch={"size": 4, "drop_last": True, "shuffle": True})
    again.resume(last)
    assert [np.asarray(b["index"]).tolist() for b in again] == expected


def test_a_fault_of_ours_in_the_control_stream_is_never_taken_for_the_end(
    framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = Grid.chunk

    def broken(self: Grid, epoch: int, streams: Any, start: int, stop: int) -> Any:
        if start == 40:
            raise RuntimeError("broken")
        return chunk(self, epoch, streams, start, stop)

    monkeypatch.setattr(Grid, "chunk", broken)
    with pytest.raises(RuntimeError, match="broken"):
        list(fake(framework, lost=()))


def test_a_label_out_of_range_fails_its_record_alone_also_in_a_data_set(framework: str) -> None:
    fields = {"one": {"from": "number", "steps": [{"label.one_hot": {"classes": 49}}]}}
    pipe = fake(framework, lost=(), fields=fields)
    assert sum(len(b["key"]) for b in pipe) == 49
    assert [(f.index, f.step) for f in pipe.quarantine] == [(49, "label.one_hot")]
    native = pipe.torch_dataset() if framework == "torch" else pipe.tf_dataset()
    assert sum(len(np.asarray(b["index"])) for b in native) == 49


def test_a_field_that_follows_another_has_its_draws(framework: str) -> None:
    flip = {"from": "picture", "steps": ["image.flip"]}
    mask = {"from": "picture", "follows": "picture"}
    pipe = fake(framework, lost=(), fields={"mask": mask, "picture": flip, "own": flip})
    batches = [(np.asarray(b["picture"]), np.asarray(b["mask"]), np.asarray(b["own"])) for b in pipe]
    assert all(np.array_equal(picture, mask) for picture, mask, _ in batches)
    assert not all(np.array_equal(picture, own) for picture, _, own in batches)
    with pytest.raises(ConfigError, match="expected steps that move pixels in other"):
        fake(framework, fields={"other": {"from": "picture", "steps": []}, "mask": mask | {"follows": "other"}})


def test_more_failures_than_allowed_stop_the_run(framework: str) -> None:
    pipe = fake(framework, on_error={"at_most": 0.02}, batch={"size": 4})
    with pytest.raises(TooManyFailures, match=r"3 of 50 records failed.*at_most = 0.02"):
        list(pipe)
    with pytest.raises(TooManyFailures, match="rëcord 00007: record: read: OSError: gone"):
        list(fake(framework, on_error={"policy": "stop"}, batch={"size": 4}))


def test_apply_takes_one_record_and_raises_instead_of_quarantining(framework: str) -> None:
    pipe = fake(framework)
    picture = np.arange(144, dtype=np.uint8).reshape(8, 6, 3)
    out = pipe.apply({"picture": picture, "label": "dog"})
    assert set(out) == {"picture", "class"}
    held = np.asarray(out["picture"])
    held = np.moveaxis(held, 0, -1) if framework == "torch" else held
    assert (held == picture).all()  # serving: nothing is mirrored
    assert int(out["class"]) == 1
    with pytest.raises(RecordError, match=r"class: label\.index: 'cow'"):
        pipe.apply({"label": "cow"})
    with pytest.raises(RecordError, match="expected values of"):
        pipe.apply({"nothing": 1})


def test_memory_errors_stop_the_run(framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = fake(framework, lost=())
    read = pipe.source.read

    def out_of_memory(index: int, names: Any) -> dict[str, Any]:
        if index == 20:
            raise MemoryError("no memory left")
        return read(index, names)

    monkeypatch.setattr(pipe.source, "read", out_of_memory)
    with pytest.raises((MemoryError, PipelineError)):
        list(pipe)


def test_a_consumer_that_stops_early_leaves_no_threads(framework: str) -> None:
    import gc
    import threading

    before = {t.name for t in threading.enumerate()}
    iterator = iter(fake(framework))
    next(iterator)
    iterator.close()
    gc.collect()
    left = {t.name for t in threading.enumerate() if t.name.startswith("pipelines")} - before
    assert not left


def test_what_tensorflow_wraps_a_steps_sentence_in_is_left_out() -> None:
    import tensorflow as tf

    def compared(n: Any) -> Any:
        with tf.control_dependencies([tf.debugging.assert_less_equal(n, [2, 2], "the picture is larger")]):
            return tf.identity(n)

    def asserted(n: Any) -> Any:
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(n <= 2), [tf.constant("it's larger")])]):
            return tf.identity(n)

    for check, says in ((compared, "the picture is larger"), (asserted, "it's larger")):
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            check(tf.constant([1, 3]))
        assert reason_of(caught.value) == says


def test_a_batch_that_fails_as_a_whole_is_made_again_of_its_good_rows(
    framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step on the batch fails for one record: the others keep their own draws, and the batch keeps its."""
    bad = int(np.random.default_rng(UNREADABLE).integers(0, 256, (8, 6, 3)).sum())
    bind = getattr(Flip, f"bind_{framework}")

    def bound(self: Flip, x: Any) -> Any:
        kernel = bind(self, x)

        def in_torch(pictures: Any, draw: Any) -> Any:
            if (pictures.sum((-3, -2, -1)) == bad).any():
                raise RecordError("it is this one")
            return kernel(pictures, draw)

        def in_tensorflow(pictures: Any, draw: Any) -> Any:
            import tensorflow as tf

            sums = tf.reduce_sum(tf.cast(pictures, tf.int64), [-3, -2, -1])
            fine = tf.debugging.Assert(tf.reduce_all(sums != bad), ["it is this one"])
            return kernel(after([fine], pictures), draw)

        return in_torch if framework == "torch" else in_tensorflow

    fields = {"picture": {"from": "picture", "steps": ["image.flip", "image.normalize"]}}
    config: dict[str, Any] = {"fields": fields, "batch_steps": [{"image.mixup": {"fields": ["picture"], "alpha": 0.4}}]}
    expected = list(fake(framework, lost=(UNREADABLE,), **config))  # where it cannot even be read
    monkeypatch.setattr(Flip, f"bind_{framework}", bound)
    pipe = fake(framework, lost=(), **config)
    batches = list(pipe)
    assert [(f.index, f.field, f.reason) for f in pipe.quarantine] == [(UNREADABLE, "picture", "it is this one")]
    assert pipe.counts.as_dict() == {"read": 50, "delivered": 49, "quarantined": 1, "left_over": 0}
    assert len(batches) == len(expected)
    for batch, other in zip(batches, expected, strict=True):
        for name in ("index", "picture"):
            np.testing.assert_array_equal(np.asarray(batch[name]), np.asarray(other[name]))


def test_what_is_given_up_is_not_kept(framework: str) -> None:
    """Epochs that are left after a batch: their chunks go with them, and an iterator of one is refused in words."""
    pipe = fake(framework, lost=())
    kept = []
    for _ in range(3):
        kept.append(pipe.epoch())
        next(kept[-1])
    assert len(list(pipe)) > 0
    with pytest.raises(UserError, match="a later iteration of this pipeline has begun"):
        list(kept[0])
    pending = getattr(pipe.engine, "_pending", {})
    assert not any(pending.values()), "the epoch was gone through"
