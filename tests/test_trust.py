"""A record, a shard or a prepared data set never imports, unpickles, runs or writes what it should not."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audit import RUNS_CODE, watching
from PIL import Image
from pydantic import ValidationError

from pipelines.catalog import find_source
from pipelines.errors import RecordError, SourceError
from pipelines.pipeline import load
from pipelines.run import run
from pipelines.sources._base import Source

HOSTILE = [
    *("../../up", "/abs/olute", "a/../../b", "..\\..\\c", "~root", "$(touch x)", "`touch x`; touch y", "%2e%2e%2fz"),
    *("con", "-rf", "k\n.json", "..", ".", "x" * 300, "ключ/../k", "shard-00000.npz", "manifest.json", "{0.__class__}"),
]


class Payload:
    """Unpickled, it makes a file."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("unpickled",)


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("format_name", ["npz", "parquet", "tfrecord", "webdataset"])
def test_keys_and_paths_of_records_never_lead_out(
    format_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys as file names, and files outside of the manifest's root: these are quarantined, and nothing is touched."""
    work, outside = tmp_path / "work", tmp_path / "outside"
    work.mkdir()
    outside.mkdir()
    monkeypatch.chdir(work)
    Image.new("RGB", (4, 4)).save(work / "good.png")
    Image.new("RGB", (4, 4)).save(outside / "secret.png")
    (work / "pickle.png").write_bytes(pickle.dumps(Payload()))
    named = ["../outside/secret.png", str(outside / "secret.png"), "a/../../outside/secret.png", "pickle.png"]
    rows = [{"id": key, "file": "good.png", "text": key} for key in HOSTILE]
    rows += [{"id": f"bad {number}", "file": file, "text": "t"} for number, file in enumerate(named)]
    (work / "table.jsonl").write_text("\n".join(map(json.dumps, rows)))
    document: dict[str, Any] = {
        "framework": "torch",
        "source": {"manifest": {"path": str(work / "table.jsonl"), "key": "id", "files": ["file"]}},
        "fields": {"picture": {"from": "file", "steps": ["image.decode"]}, "text": {"from": "text"}},
        "output": {"format": format_name, "path": str(work / "out"), "records_per_shard": 5},
        "on_error": {"at_most": 1.0},
    }
    run(load(document, device="cpu", threads=1), output=tmp_path / "before")  # so that what is loaded once is loaded
    before = tree(tmp_path)
    pipe = load(document, device="cpu", threads=1)
    with watching() as seen:
        summary = run(pipe)
    assert (summary.delivered, summary.quarantined) == (len(HOSTILE), len(named))
    assert [failure.key for failure in pipe.quarantine] == [f"bad {number}" for number in range(len(named))]
    written = [os.path.realpath(path) for event, path in seen if event == "write"]
    assert written  # the watch saw the run write
    assert [path for path in written if os.path.commonpath([path, str(work / "out")]) != str(work / "out")] == []
    assert [event for event, _ in seen if event in RUNS_CODE] == []
    new = tree(tmp_path) - before
    assert all(path == "work/out" or path.startswith("work/out/") for path in new)
    assert all(path.count("/") == 2 for path in new - {"work/out"})  # no folder of a record's own
    if format_name == "webdataset":
        members = []
        for shard in (work / "out").glob("*.tar"):
            with tarfile.open(shard) as archive:
                members += archive.getmembers()
        assert members
        assert all(member.isreg() and "/" not in member.name and ".." not in member.name for member in members)
    back = find_source("shards").model_validate({"path": str(work / "out")}).open()
    assert [back.key(index) for index in range(len(back))] == HOSTILE


def shard_of(tmp_path: Path, format_name: str, content: bytes) -> Source:
    """A finished output whose one shard is replaced, and its manifest with it."""
    (tmp_path / "text").write_text("one\n")
    document: dict[str, Any] = {
        "framework": "torch",
        "source": {"lines": {"path": str(tmp_path / "text")}},
        "fields": {"points": {"from": "text", "steps": ["text.code_points"]}},
        "output": {"format": format_name, "path": str(tmp_path / "out")},
    }
    run(load(document, device="cpu", threads=1))
    (shard,) = (tmp_path / "out").glob("shard-*")
    shard.write_bytes(content)
    path = tmp_path / "out" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["shards"][0] |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    path.write_text(json.dumps(manifest))
    return find_source("shards").model_validate({"path": str(tmp_path / "out"), "verify": True}).open()


def npy(header: str, content: bytes) -> bytes:
    """A .npy file with this header."""
    text = header.ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


def hostile_npy(what: str) -> bytes:
    if what == "pickle":
        np.save(held := io.BytesIO(), np.array([Payload()], object), allow_pickle=True)
        return held.getvalue()
    return npy("{'descr': '<i8', 'fortran_order': False, 'shape': (100000000000,), }", bytes(24))


@pytest.mark.parametrize("what", ["pickle", "absurd size"])
@pytest.mark.parametrize("format_name", ["npz", "webdataset"])
def test_arrays_in_shards_are_numbers_and_no_larger_than_their_bytes(
    format_name: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import zipfile

    monkeypatch.chdir(tmp_path)
    held = io.BytesIO()
    if format_name == "npz":
        with zipfile.ZipFile(held, "w") as archive:
            for name in ("key", "key.offsets", "index", "points", "points.offsets", "points.shape"):
                archive.writestr(f"{name}.npy", hostile_npy(what))
    else:
        with tarfile.open(fileobj=held, mode="w") as tar:
            about = json.dumps({"key": "1", "index": 0}).encode()
            for name, content in {"0_1.json": about, "0_1.points.npy": hostile_npy(what)}.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    source = shard_of(tmp_path, format_name, held.getvalue())
    with watching() as seen, pytest.raises(RecordError, match="is damaged"):
        source.read(0, ["points"])
    # numpy parses the header as a literal, which compiles it, and what is imported for the first time is executed
    assert [event for event, _ in seen if event in RUNS_CODE - {"compile", "exec"}] == []
    assert not (tmp_path / "unpickled").exists()


def test_a_tfds_builder_brings_no_code(tmp_path: Path) -> None:
    """Neither a namespace, whose code would be fetched, nor a class that its description names."""
    tfds = find_source("tfds")
    for name in ("huggingface:x", "ns:x/config:1.0.0", "../x", "x/..", "os.system/../.."):
        with pytest.raises(ValidationError, match="builder"):
            tfds.model_validate({"builder": name, "split": "train", "data_dir": str(tmp_path)})
    folder = tmp_path / "small" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "features.json").write_text(
        json.dumps(
            {
                "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
                "featuresDict": {"features": {"type": {"pythonClassName": "evil_module.Feature"}}},
            }
        )
    )
    source = tfds.model_validate({"builder": "small", "split": "train", "data_dir": str(tmp_path)})
    with pytest.raises(
        SourceError, match=r"names evil_module\.Feature; expected features of tensorflow_datasets alone"
    ):
        source.open()


def test_a_line_that_would_fill_the_memory_fails(tmp_path: Path) -> None:
    import gzip

    lines, table = find_source("lines"), find_source("manifest")
    packed = tmp_path / "x.gz"
    packed.write_bytes(gzip.compress(b"short\n" + bytes(10_000) + b"\nshort\n"))
    source = lines.model_validate({"path": str(packed), "max_bytes": 100}).open()
    assert source.read(2, ["text"]) == {"text": "short"}
    with pytest.raises(RecordError, match=r"line 2 of x\.gz has 10001 bytes, more than max_bytes=100"):
        source.read(1, ["text"])
    packed.write_bytes(gzip.compress(b"x\n" * 10_000))
    with pytest.raises(SourceError, match=r"unpacks to more than 100 bytes \(max_unpacked\)"):
        lines.model_validate({"path": str(packed), "max_unpacked": 100}).open()
    for name, text in {"a.csv.gz": b"a\nb\n", "a.tsv": b"a\nb\n", "a.jsonl.gz": b'{"a": 1}\n'}.items():
        content = text + b"c" * 1000
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
        with pytest.raises(SourceError, match=r"a line of more than 100 characters \(max_line\)"):
            table.model_validate({"path": str(tmp_path / name), "max_line": 100}).open()


def test_a_row_group_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    """Files of some kilobytes: a text of a megabyte in each of 9000 rows, and a million equal numbers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = find_source("manifest")
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 9000, pa.int32()), pa.array(["x" * (1 << 20)]))
    pq.write_table(pa.table({"text": long}), tmp_path / "texts.parquet")
    equal = pa.FixedSizeListArray.from_arrays(pa.array([7] * 1_000_000), 100_000)
    with pq.ParquetWriter(tmp_path / "numbers.parquet", pa.schema({"numbers": equal.type})) as writer:
        writer.write_table(pa.table({"numbers": equal}))
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 300_000
    peak = pa.default_memory_pool().max_memory()
    with pytest.raises(SourceError, match=r"row group 0 of .* or more, expected at most 67108864 \(max_row_group\)"):
        table.model_validate({"path": str(tmp_path / "texts.parquet"), "max_row_group": 1 << 26}).open()
    with pytest.raises(SourceError, match="unpacks to 8000000 bytes or more, expected at most 7999999"):
        table.model_validate({"path": str(tmp_path / "numbers.parquet"), "max_row_group": 7_999_999}).open()
    assert pa.default_memory_pool().max_memory() < peak + (64 << 20)
