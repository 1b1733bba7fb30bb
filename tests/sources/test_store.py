"""The indexed store, what is kept in the cache, and parts of sources."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import RecordError, SourceError
from pipelines.sources._kept import cache_folder, kept
from pipelines.sources._store import Store, StoreWriter
from pipelines.sources._subset import key_hash, limit, split
from pipelines.sources.folder import Folder

VALUES = st.fixed_dictionaries(
    {},
    optional={
        "text": st.text(),
        "bytes": st.binary(),
        "int": st.integers(-(2**63), 2**63 - 1),
        "float": st.floats(allow_nan=False),
        "bool": st.booleans(),
        "words": st.lists(st.text(st.characters(codec="utf-8"))),
        "none": st.none(),
    },
)


@given(st.lists(VALUES, min_size=1, max_size=20))
def test_what_goes_in_comes_out(tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]]) -> None:
    folder = tmp_path_factory.mktemp("store")
    writer = StoreWriter(folder)
    for number, record in enumerate(records):
        writer.add(str(number), record)
    writer.close()
    store = Store(folder, "")
    assert len(store) == len(records)
    for number, record in enumerate(records):
        assert store.key(number) == str(number)
        read = store.read(number, [n for n in store.values if n != "words"])
        assert read == {name: record.get(name) for name in read}
        if "words" in store.values:
            words = store.read(number, ["words"])["words"]
            assert (words if words is None else list(words)) == record.get("words")


def test_arrays_keep_their_values_and_types(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = [
        (rng.normal(size=(3, n, 2)) * 100).astype(dtype) for n, dtype in ((4, "uint8"), (0, "int16"), (7, "uint8"))
    ]
    writer = StoreWriter(tmp_path)
    for number, array in enumerate(arrays):
        writer.add(str(number), {"a": array, "big": array.astype(">f4"), "half": array.astype("float16")})
    writer.close()
    store = Store(tmp_path, "")
    assert store.values["a"].shape == (3, None, 2)
    for number, array in enumerate(arrays):
        read = store.read(number, ["a", "big", "half"])
        assert read["a"].dtype == np.int16  # what holds uint8 and int16
        np.testing.assert_array_equal(read["a"], array)
        np.testing.assert_array_equal(read["big"], array.astype("f4"))
        assert read["big"].dtype == np.float32
        assert read["half"].dtype == np.float16


def test_failed_records_keep_their_place_and_reason(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path)
    writer.fail("first", "was damaged \udcff")
    writer.add("good", {"x": 1, "y": {"z": "t"}})
    writer.add("other kind", {"x": "one"})
    writer.add("too large", {"x": 2**63})
    writer.add("object", {"x": object()})
    writer.add("twice", {"y.z": "a", "y": {"z": "b"}})
    writer.close()
    store = Store(tmp_path, "")
    reasons = {}
    for index in range(len(store)):
        try:
            store.read(index, ["x"])
        except RecordError as e:
            reasons[store.key(index)] = str(e)
    assert reasons == {
        "first": "was damaged \\udcff",
        "other kind": "x: expected int64 as in the records before, got text",
        "too large": "x: 9223372036854775808 does not fit into 64 bits",
        "object": "x: expected bytes, text, a number, an array or a list, got object",
        "twice": "there are two values called 'y.z'",
    }
    assert store.read(1, ["x", "y.z"]) == {"x": 1, "y.z": "t"}
    assert store.failed == 5


def test_many_threads_read_one_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.sources._store.ROWS_PER_BATCH", 7)
    writer = StoreWriter(tmp_path)
    for number in range(1000):
        writer.add(str(number), {"b": number.to_bytes(4, "big") * 100})
    writer.close()
    store = Store(tmp_path, "")
    order = np.random.default_rng(0).permutation(1000)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda i: store.read(int(i), ["b"])["b"], order))
    assert read == [int(i).to_bytes(4, "big") * 100 for i in order]
    with pytest.raises(IndexError):
        store.key(1000)


def test_a_damaged_store_is_told(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path)
    writer.add("a", {"x": "y" * 1000})
    with pytest.raises(SourceError, match="damaged"):
        Store(tmp_path, "")  # not closed: no store.json
    writer.close()
    part = tmp_path / "part-0.arrow"
    part.write_bytes(part.read_bytes()[:-100])
    with pytest.raises(SourceError, match="delete that folder"):
        Store(tmp_path, "")


def entries(label: str) -> list[str]:
    return sorted(p.name for p in (cache_folder() / "sources").glob(f"{label}-*"))


def test_what_is_kept_is_built_once_and_replaced_when_the_files_change() -> None:
    built: list[str] = []
    state = ["1"]

    def build(work: Path) -> None:
        built.append(state[0])
        (work / "x").write_text(state[0])

    def opened(**what: Any) -> tuple[str, str]:
        folder, fingerprint = kept("once", what, "", lambda: state[0], build)
        return (folder / "x").read_text(), fingerprint

    first = opened(a=1)
    assert opened(a=1) == first
    assert opened(a=2)[1] != first[1]
    state[0] = "2"
    assert opened(a=1)[0] == "2"
    assert built == ["1", "1", "2"]
    # two of a=1 and a=2, and their locks; the older a=1 is gone
    assert len([name for name in entries("once") if not name.endswith(".lock")]) == 2


def test_a_failed_build_leaves_nothing() -> None:
    def build(work: Path) -> None:
        (work / "half").write_text("x")
        raise SourceError("no")

    with pytest.raises(SourceError, match="no"):
        kept("failing", {}, "", lambda: "s", build)
    assert [name for name in entries("failing") if not name.endswith(".lock")] == []
    states = iter(["before", "before", "after"])
    with pytest.raises(SourceError, match="changed while they were read"):
        kept("changing", {}, "", lambda: next(states), lambda work: None)
    assert [name for name in entries("changing") if not name.endswith(".lock")] == []


def test_a_killed_build_leaves_no_store_and_the_next_one_cleans_up() -> None:
    script = (
        "import time; from pipelines.sources._kept import kept\n"
        "kept('killed', {}, '', lambda: 's', lambda work: ((work / 'half').touch(), time.sleep(60)))"
    )
    process = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 30
    while not list((cache_folder() / "sources").glob("killed-*.building-*/half")):
        assert time.monotonic() < deadline, "the build never began"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = entries("killed")
    assert len(left) == 2  # the lock, which the system has freed, and the unfinished work
    assert all(".building-" in name or name.endswith(".lock") for name in left)
    folder, _ = kept("killed", {}, "", lambda: "s", lambda work: (work / "whole").touch())
    assert os.listdir(folder) == ["whole"]
    assert not any(".building-" in name for name in entries("killed"))


def test_two_that_want_the_same_build_it_once() -> None:
    built = []

    def build(work: Path) -> None:
        built.append(work)
        time.sleep(0.2)

    threads = [threading.Thread(target=kept, args=("both", {}, "", lambda: "s", build)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PIPELINES_CACHE", str(tmp_path / "file"))
    with pytest.raises(SourceError, match="PIPELINES_CACHE names another folder"):
        kept("x", {}, "", lambda: "s", lambda work: None)


def test_split_by_key(data: Path) -> None:
    source = Folder(path=data / "audio_fsdd/recordings", files="*.wav").open()
    parts = {"train": 0.8, "valid": 0.1, "test": 0.1}
    held = {use: split(source, parts, use) for use in parts}
    keys = {use: [part.key(i) for i in range(len(part))] for use, part in held.items()}
    everything = [source.key(i) for i in range(len(source))]
    assert sorted(key for part in keys.values() for key in part) == everything
    assert all(part == sorted(part) for part in keys.values())
    # shares of 900 records: three standard deviations of a binomial are 36 (0.8) and 27 (0.1) records
    assert abs(len(keys["train"]) - 720) <= 36
    assert abs(len(keys["valid"]) - 90) <= 27
    index = keys["valid"].index(keys["valid"][5])
    assert held["valid"].read(index, ["path", "file"])["path"] == keys["valid"][5]
    # fewer records, or another part at the end, move nothing
    fewer = split(limit(source, 300), parts, "valid")
    assert {fewer.key(i) for i in range(len(fewer))} == set(keys["valid"]) & set(everything[:300])
    again = split(source, {"train": 0.8, "rest": 0.2}, "train")
    assert [again.key(i) for i in range(len(again))] == keys["train"]
    assert len({part.fingerprint() for part in held.values()}) == 3


def test_the_hash_never_moves() -> None:
    """BLAKE2b is a standard (RFC 7693); these places are promised for ever."""
    expected = int.from_bytes(hashlib.blake2b(b"0_george_0.wav", digest_size=8).digest(), "little")
    assert key_hash("0_george_0.wav") == expected == 3049871678357133078


@pytest.mark.parametrize(
    ("parts", "use", "message"),
    [
        ({"a": 0.6, "b": 0.5}, "a", "sum to at most 1, got 1.1"),
        ({"a": 0.0, "b": 1.0}, "b", "above 0, got a=0.0"),
        ({"a": float("nan")}, "a", "above 0"),
        ({"train": 0.9}, "trian", "did you mean 'train'"),
        ({"a": 1e-12, "b": 0.9}, "a", "none of the 900 records"),
    ],
)
def test_splits_that_cannot_be(data: Path, parts: dict[str, float], use: str, message: str) -> None:
    source = Folder(path=data / "audio_fsdd/recordings", files="*.wav").open()
    with pytest.raises(SourceError, match=message):
        split(source, parts, use)
    assert len(split(source, {"a": 0.1, "b": 0.2, "c": 0.7}, "c")) > 500  # 0.1 + 0.2 + 0.7 is above 1 in floats


def test_limit(data: Path) -> None:
    source = Folder(path=data / "audio_fsdd/recordings", files="*.wav").open()
    few = limit(source, 3)
    assert [few.key(i) for i in range(len(few))] == [source.key(i) for i in range(3)]
    assert limit(source, 10_000) is source
    with pytest.raises(SourceError, match="at least 1"):
        limit(source, 0)
