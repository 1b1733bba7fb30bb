"""The cache: the same batches with and without it, nothing stale, nothing believed that is broken, room kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pipelines
from pipelines.cache import Cache
from pipelines.errors import ConfigError
from pipelines.spec import Axis, Spec

SPEC = Spec("int16", (Axis("a"), Axis("b", 3)))


def config(sample_set: Path, framework: str, kept: Path | None, **changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "framework": framework,
        "seed": 5,
        "source": {"folder": {"path": str(sample_set / "pictures"), "files": "**/00*.png"}},
        "fields": {
            "picture": {
                "from": "file",
                "steps": [
                    "image.decode",
                    {"image.resize": {"size": 40}},
                    {"image.crop": {"size": 32, "where": "random"}},
                ],
            }
        },
        "batch": {"size": 8, "shuffle": True},
    }
    if kept is not None:
        document["cache"] = {"path": str(kept)}
    return document | changes


def epochs(document: dict[str, Any], number: int = 2) -> list[list[Any]]:
    pipe = pipelines.load(document, device="cpu")
    return [[(np.asarray(b["picture"]), np.asarray(b["index"])) for b in pipe] for _ in range(number)]


def same(a: list[list[Any]], b: list[list[Any]]) -> bool:
    pairs = [(x, y) for one, two in zip(a, b, strict=True) for x, y in zip(one, two, strict=True)]
    return all(np.array_equal(p, q) for x, y in pairs for p, q in zip(x, y, strict=True))


def test_batches_are_the_same_with_it(sample_set: Path, framework: str, tmp_path: Path) -> None:
    plain = epochs(config(sample_set, framework, None))
    assert same(epochs(config(sample_set, framework, tmp_path)), plain)
    assert same(epochs(config(sample_set, framework, tmp_path)), plain)  # another run, from what the first one kept
    assert len(list(tmp_path.glob("picture-*/*.data"))) == 1


def test_a_value_without_axes_is_kept_too(sample_set: Path, framework: str, tmp_path: Path) -> None:
    """A class by its number: there is no axis that could have a size."""
    classes = {"label.index": {"classes": ["circle", "square", "triangle", "star"]}}
    fields = {"label": {"from": "folder", "steps": [classes]}}
    kept = {"path": str(tmp_path), "fields": ["label"]}
    pipe = pipelines.load(config(sample_set, framework, None, fields=fields, cache=kept), device="cpu")
    first, second = ({int(i): int(n) for b in pipe for i, n in zip(b["index"], b["label"], strict=True)} for _ in "12")
    assert first == second
    assert set(first.values()) == {0, 1, 2, 3}
    assert pipe.counts.quarantined == 0


def test_kept_values_are_not_made_again(
    sample_set: Path, framework: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs(config(sample_set, framework, tmp_path), 1)
    pipe = pipelines.load(config(sample_set, framework, tmp_path), device="cpu")
    monkeypatch.setattr(pipe.source, "read", None)  # no file is opened any more
    assert sum(len(np.asarray(batch["index"])) for batch in pipe) == len(pipe.source)


def test_exact_steps_serve_both_frameworks(sample_set: Path, tmp_path: Path) -> None:
    decode = {"fields": {"picture": {"from": "file", "steps": ["image.decode", {"image.crop": {"size": 20}}]}}}
    for framework in ("torch", "tensorflow"):
        epochs(config(sample_set, framework, tmp_path, **decode), 1)
    assert len(list(tmp_path.iterdir())) == 2  # crop may resize, and says so: one folder each
    flip = {"fields": {"picture": {"from": "file", "steps": ["image.decode", {"image.flip": {"probability": 1.0}}]}}}
    for framework in ("torch", "tensorflow"):
        epochs(config(sample_set, framework, tmp_path / "exact", **flip), 1)
    assert len(list((tmp_path / "exact").iterdir())) == 1
    assert len(list((tmp_path / "exact").glob("*/*.data"))) == 1


@pytest.mark.parametrize("change", ["file", "parameter"])
def test_what_changed_is_never_served(sample_set: Path, tmp_path: Path, change: str) -> None:
    own = tmp_path / "own"
    shutil.copytree(sample_set / "pictures", own / "pictures")
    document = config(own, "torch", tmp_path / "kept")
    epochs(document, 1)
    if change == "file":
        files = sorted((own / "pictures").rglob("*.png"))
        shutil.copyfile(files[-1], files[0])
        os.utime(files[0], (1, 1))
    else:
        document["fields"]["picture"]["steps"][1] = {"image.resize": {"size": 41}}
    assert same(epochs(document, 1), epochs({k: v for k, v in document.items() if k != "cache"}, 1))


def test_a_record_that_fails_fails_with_the_step_that_failed(sample_set: Path, framework: str, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(sample_set / "pictures", own / "pictures")
    bad = sorted((own / "pictures").rglob("*.png"))[3]
    bad.write_bytes(bad.read_bytes()[:200])
    told = []
    for kept in (None, tmp_path / "kept", tmp_path / "kept"):
        pipe = pipelines.load(config(own, framework, kept, on_error={"at_most": 0.5}), device="cpu")
        for _ in pipe:
            pass
        told.append([(f.key, f.field, f.step, f.reason) for f in pipe.quarantine])
    assert told[0] == told[1] == told[2]
    assert [(field, step) for _, field, step, _ in told[0]] == [("picture", "image.decode")]


def test_apply_goes_through_all_steps(sample_set: Path, framework: str, tmp_path: Path) -> None:
    raw = {"file": next((sample_set / "pictures").rglob("*.png")).read_bytes()}
    plain, kept = (pipelines.load(config(sample_set, framework, path), device="cpu") for path in (None, tmp_path))
    assert np.array_equal(np.asarray(plain.apply(raw)["picture"]), np.asarray(kept.apply(raw)["picture"]))


def test_faults(sample_set: Path, tmp_path: Path) -> None:
    for cache, says in (
        ({"most_gb": 0}, "most_gb=0 must be > 0"),
        ({"fields": ["pictur"]}, "no field 'pictur'; did you"),
    ):
        with pytest.raises(ConfigError, match=says):
            pipelines.load(config(sample_set, "torch", None, cache=cache))


# the files themselves


def values(count: int) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return [rng.integers(-9, 9, (n % 5, 3)).astype(np.int16) for n in range(count)]


def filled(folder: Path, count: int = 20, most: int = 10**9) -> Cache:
    cache = Cache(folder, SPEC, count, most)
    for index, value in enumerate(values(count)):
        cache.put(index, value)
    return cache


def test_values_come_back(tmp_path: Path) -> None:
    cache = filled(tmp_path / "c")
    other = Cache(tmp_path / "c", SPEC, 20, 10**9)
    assert all(other.get(index) is None for index in range(20))  # not told of yet
    cache.tell()
    other.refresh()
    for index, value in enumerate(values(20)):
        for held in (cache, other):
            found = held.get(index)
            assert found is not None
            assert found.dtype == np.int16
            np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize("damage", ["cut", "bits", "index", "no index", "other shape", "absurd sizes"])
def test_what_is_broken_is_not_believed(tmp_path: Path, damage: str) -> None:
    filled(tmp_path / "c").tell()
    (data,), (index,) = tmp_path.glob("c/*.data"), tmp_path.glob("c/*.index")
    if damage == "cut":
        os.truncate(data, data.stat().st_size // 2)
    elif damage == "bits":
        data.write_bytes(bytes(byte ^ 1 for byte in data.read_bytes()))
    elif damage == "index":
        index.write_bytes(index.read_bytes()[:100])
    elif damage == "no index":
        index.unlink()
    elif damage == "absurd sizes":
        rows = np.load(index)
        rows[::2, 3:], rows[1::2, 1] = 1 << 60, -1
        np.save(index.open("wb"), rows)
    else:
        np.save(index.open("wb"), np.zeros((4, 2), np.int64))
    cache = Cache(tmp_path / "c", SPEC, 20, 10**9)
    for number, value in enumerate(values(20)):
        found = cache.get(number)
        assert found is None or np.array_equal(found, value)
        cache.put(number, value)
        np.testing.assert_array_equal(cache.get(number), value)


def test_a_killed_process_leaves_nothing_that_is_believed(tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
import numpy as np
from run.test_cache import SPEC, values
from pipelines.cache import Cache
cache = Cache(Path({str(tmp_path / "c")!r}), SPEC, 20, 10**9)
for index, value in enumerate(values(20)):
    cache.put(index, value)
    if index == 9:
        cache.tell()
os.kill(os.getpid(), signal.SIGKILL)
"""
    tests = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=tests, env=os.environ | {"PYTHONPATH": str(tests)})
    assert done.returncode == -9
    cache = Cache(tmp_path / "c", SPEC, 20, 10**9)
    for index, value in enumerate(values(20)):
        found = cache.get(index)
        assert (found is None) == (index > 9)
        assert found is None or np.array_equal(found, value)


def test_it_keeps_to_its_room(tmp_path: Path) -> None:
    """The folder that was used longest ago makes room; what does not fit is not kept."""
    filled(tmp_path / "old").tell()
    os.utime(tmp_path / "old" / "used", (1, 1))
    filled(tmp_path / "newer").tell()
    total = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    cache = filled(tmp_path / "own", most=total + 50)
    assert not (tmp_path / "old").exists()
    assert (tmp_path / "newer").exists()
    assert all(cache.get(index) is not None for index in range(20))
    small = filled(tmp_path / "small" / "c", most=40)
    assert [index for index in range(20) if small.get(index) is not None] != list(range(20))


def test_a_full_disk_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path / "c", SPEC, 20, 10**9)

    def full(*arguments: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    for index, value in enumerate(values(20)):
        cache.put(index, value)
        assert cache.get(index) is None or not value.size  # nothing fits on a full disk
