"""Each format is read by its ecosystem's own reader, without a line of this project."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
import webdataset
from sinks.cases import FIELDS, KEYS, records, write

from pipelines.catalog import find_sink
from pipelines.sinks.webdataset import sample_name
from pipelines.spec import Axis, Spec

ROWS = records()


def test_pyarrow(tmp_path: Path) -> None:
    write(tmp_path / "shard.parquet", "parquet", FIELDS, ROWS)
    table = pq.read_table(tmp_path / "shard.parquet")
    assert table["key"].to_pylist() == list(KEYS)
    assert table["index"].to_pylist() == [row["index"] for row in ROWS]
    mel = table["mel"].combine_chunks()
    assert str(mel.type) == "fixed_size_list<element: float not null>[12]"
    assert np.array_equal(mel.flatten().to_numpy().reshape(-1, 4, 3), np.stack([row["mel"] for row in ROWS]))
    for row, wave, picture, shape, spectrum in zip(
        ROWS,
        table["wave"].to_pylist(),
        table["picture"].to_pylist(),
        table["picture.shape"].to_pylist(),
        table["spectrum"].to_pylist(),
        strict=True,
    ):
        assert wave == row["wave"].tolist()
        assert np.array_equal(np.array(picture, np.uint8).reshape(shape), row["picture"])
        assert np.array_equal(np.array(spectrum, np.float32).view(np.complex64).reshape(2, -1), row["spectrum"])
    for name in ("caption", "words", "file", "digit"):
        assert table[name].to_pylist() == [row[name] for row in ROWS]
    assert table["box"].null_count == 1
    assert table["box"].to_pylist()[0] == ROWS[0]["box"].tolist()
    assert table["speech"].to_pylist() == [None, True, None, False, None, False]
    about = json.loads(table.schema.metadata[b"pipelines"])
    assert about["fields"]["wave"]["rate_hz"] == 8000


def test_pyarrow_reads_a_folder_of_shards_as_one_table(tmp_path: Path) -> None:
    # the same columns in every shard, also where one holds no absent value and another nothing else
    for number in range(2):
        write(tmp_path / f"shard-{number}.parquet", "parquet", FIELDS, ROWS[3 * number : 3 * number + 3])
    assert pyarrow.dataset.dataset(tmp_path).to_table()["key"].to_pylist() == list(KEYS)


def test_parquet_row_groups_end_by_bytes(tmp_path: Path) -> None:
    fields = {"x": Spec("float32", (Axis("a", 1 << 18),))}  # 1 MiB a record
    rows = [{"key": f"{i}", "index": i, "x": np.full(1 << 18, i, np.float32)} for i in range(9)]
    reader = write(tmp_path / "x", "parquet", fields, rows)
    groups = pq.read_metadata(tmp_path / "x")
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [4, 4, 1]
    assert [reader.read(i, ["x"])["x"][0] for i in (8, 0, 4, 3, 7)] == [8, 0, 4, 3, 7]


def test_webdataset(tmp_path: Path) -> None:
    write(tmp_path / "shard.tar", "webdataset", FIELDS, ROWS)
    samples = list(webdataset.WebDataset(str(tmp_path / "shard.tar"), shardshuffle=False).decode())
    assert [sample["json"] for sample in samples] == [{"key": row["key"], "index": row["index"]} for row in ROWS]
    assert len({sample["__key__"] for sample in samples}) == len(ROWS)
    for sample, row in zip(samples, ROWS, strict=True):
        for name in ("mel", "wave", "picture", "spectrum", "ids", "loud", "nothing"):
            assert sample[f"{name}.npy"].dtype == row[name].dtype
            assert np.array_equal(sample[f"{name}.npy"], row[name])
        assert sample["digit.cls"] == row["digit"]
        assert sample.get("caption.txt") == row["caption"]
        assert sample["words.json"] == row["words"]
        assert sample["file.bin"] == row["file"]
        assert ("box.npy" in sample) == (row["box"] is not None)


def test_tar_members_hold_no_time_and_no_user(tmp_path: Path) -> None:
    write(tmp_path / "shard.tar", "webdataset", FIELDS, ROWS)
    with tarfile.open(tmp_path / "shard.tar") as archive:
        for member in archive:
            assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")
            assert "/" not in member.name
            assert member.name.isascii()


@pytest.mark.parametrize("key", [*KEYS, "~", "%", "*?:<>|\\", "🙂" * 99])
def test_sample_names_are_safe(key: str) -> None:
    assert set(sample_name(3, key)) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_%")
    assert sample_name(3, key).startswith("000003_")
    assert len(sample_name(3, key)) < 90  # a tar header holds names of 100 bytes


def test_names_longer_than_a_tar_header_holds(tmp_path: Path) -> None:
    name = "f" * 150
    reader = write(tmp_path / "shard.tar", "webdataset", {name: Spec("float32")}, [{"key": "k", "index": 0, name: 1.5}])
    (sample,) = webdataset.WebDataset(str(tmp_path / "shard.tar"), shardshuffle=False).decode()
    assert sample[f"{name}.npy"] == 1.5
    assert reader.read(0, [name])[name] == 1.5


def test_numpy(tmp_path: Path) -> None:
    write(tmp_path / "shard.npz", "npz", FIELDS, ROWS)
    with np.load(tmp_path / "shard.npz", allow_pickle=False) as arrays:
        held = {name: arrays[name] for name in arrays.files}
    assert np.array_equal(held["mel"], np.stack([row["mel"] for row in ROWS]))
    assert held["index"].tolist() == [row["index"] for row in ROWS]
    assert held["box.present"].tolist() == [row["box"] is not None for row in ROWS]
    assert held["caption.present"].tolist() == [row["caption"] is not None for row in ROWS]

    def span(name: str, number: int) -> Any:
        return held[name][held[f"{name}.offsets"][number] : held[f"{name}.offsets"][number + 1]]

    for number, row in enumerate(ROWS):
        assert span("key", number).tobytes().decode() == row["key"]
        assert span("caption", number).tobytes().decode() == (row["caption"] or "")
        assert span("file", number).tobytes() == row["file"]
        for name in ("wave", "picture", "spectrum", "ids", "nothing"):
            assert np.array_equal(span(name, number).reshape(held[f"{name}.shape"][number]), row[name])
        first, last = held["words.offsets"][number : number + 2]
        bounds = held["words.token_offsets"][first : last + 1]
        words = [held["words"][a:b].tobytes().decode() for a, b in pairwise(bounds)]
        assert words == row["words"]


def test_npz_members_hold_no_time_and_are_not_compressed(tmp_path: Path) -> None:
    write(tmp_path / "shard.npz", "npz", FIELDS, ROWS)
    with zipfile.ZipFile(tmp_path / "shard.npz") as archive:
        assert archive.testzip() is None
        assert {(info.date_time, info.compress_type) for info in archive.infolist()} == {((1980, 1, 1, 0, 0, 0), 0)}


def test_what_numpy_writes_with_pickles_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", index=np.zeros(1, np.int64), key=np.array([{}], object))
    with pytest.raises(ValueError, match="damaged"):
        find_sink("npz")().reader(tmp_path / "x.npz", {})
    held = io.BytesIO()
    np.savez_compressed(held, index=np.zeros(1000, np.int64))
    (tmp_path / "y.npz").write_bytes(held.getvalue())
    with pytest.raises(ValueError, match="compressed"):
        find_sink("npz")().reader(tmp_path / "y.npz", {})
