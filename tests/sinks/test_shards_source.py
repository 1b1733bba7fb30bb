"""What a run wrote, as the source `shards`."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from sinks.cases import FIELDS, FORMATS, assert_same, records

from pipelines.catalog import find_sink, find_source
from pipelines.errors import RecordError, SourceError
from pipelines.output import Output
from pipelines.sources._base import Source
from pipelines.spec import TEXT, Spec

ROWS = records()


def write(folder: Path, format_name: str, epochs: int = 1) -> None:
    out = Output(folder, find_sink(format_name)(), FIELDS, 4, {"seed": 0})
    for epoch in range(epochs):
        for position, row in enumerate(ROWS):
            out.add(epoch, position, row)
    out.finish({"read": epochs * len(ROWS), "left_over": 0})


def opened(folder: Path, **parameters: Any) -> Source:
    return find_source("shards").model_validate({"path": str(folder), **parameters}).open()


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("shard-*"))


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("verify", [False, True])
def test_every_record_comes_back(tmp_path: Path, format_name: str, verify: bool) -> None:
    write(tmp_path / "out", format_name)
    source = opened(tmp_path / "out", verify=verify)
    assert len(source) == len(ROWS)
    assert list(source.values) == ["key", "index", *FIELDS]
    assert source.values == {"key": TEXT, "index": Spec("int64"), **FIELDS}
    for number in (5, 0, 3, 4, 1, 2):
        assert source.key(number) == ROWS[number]["key"]
        assert_same(source.read(number, list(source.values)), ROWS[number])
    with pytest.raises(IndexError):
        source.read(6, ["key"])


@pytest.mark.parametrize("format_name", FORMATS)
def test_several_epochs(tmp_path: Path, format_name: str) -> None:
    write(tmp_path / "out", format_name, epochs=3)
    source = opened(tmp_path / "out")
    found = [source.key(number) for number in range(len(source))]
    assert found == [f"{row['key']}#{epoch}" for epoch in range(3) for row in ROWS]
    assert [source.read(number, ["key"])["key"] for number in range(6, 12)] == [row["key"] for row in ROWS]


@pytest.mark.parametrize("format_name", FORMATS)
def test_many_threads(tmp_path: Path, format_name: str) -> None:
    write(tmp_path / "out", format_name, epochs=4)
    source = opened(tmp_path / "out")
    order = random.Random(0).choices(range(24), k=300)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: source.read(number, list(source.values)), order))
    for number, got in zip(order, found, strict=True):
        assert_same(got, ROWS[number % 6])


def test_the_fingerprint_follows_the_records(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, "npz")
    write(tmp_path / "three", "npz", epochs=2)
    one, two, three = (opened(tmp_path / name).fingerprint() for name in ("one", "two", "three"))
    assert one == two != three


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_shard_of_another_length_fails_its_records_alone(tmp_path: Path, format_name: str) -> None:
    write(tmp_path / "out", format_name)
    first = shards(tmp_path / "out")[0]
    first.write_bytes(first.read_bytes()[:-100])
    source = opened(tmp_path / "out")
    for number in range(4):
        with pytest.raises(RecordError, match=f"{first.name} is damaged: it has .* bytes"):
            source.read(number, ["mel"])
        assert source.key(number) == f"{first.name}#{number}"
    assert_same(source.read(4, list(source.values)), ROWS[4])


@pytest.mark.parametrize("format_name", FORMATS)
def test_verify_finds_any_flipped_bit(tmp_path: Path, format_name: str) -> None:
    write(tmp_path / "out", format_name)
    first = shards(tmp_path / "out")[0]
    data = bytearray(first.read_bytes())
    for place in (0, len(data) // 2, len(data) - 1):
        data[place] ^= 4
        first.write_bytes(data)
        source = opened(tmp_path / "out", verify=True)
        with pytest.raises(RecordError, match="SHA-256"):
            source.read(0, ["mel"])
        assert_same(source.read(5, list(source.values)), ROWS[5])
        data[place] ^= 4


@pytest.mark.parametrize("format_name", FORMATS)
def test_damage_fails_records_and_nothing_else(tmp_path: Path, format_name: str) -> None:
    write(tmp_path / "out", format_name)
    first = shards(tmp_path / "out")[0]
    good = first.read_bytes()
    chance = random.Random(1)
    found = 0
    for _ in range(30):
        data = bytearray(good)
        start = chance.randrange(len(data))
        for place in range(start, min(start + chance.choice((1, 8, 200)), len(data))):
            data[place] = chance.randrange(256)
        first.write_bytes(data)
        source = opened(tmp_path / "out")
        for number in range(4):
            with suppress(RecordError):
                source.read(number, list(source.values))
                continue
            found += 1
            assert source.key(number)
    assert found  # in the formats that hold checksums most of it is found, in the others what breaks the structure


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "manifest.json is damaged or was changed: version"),
        ({"format": "../../x"}, "unknown output format"),
        ({"format": "parqet"}, "did you mean 'parquet'"),
        ({"format": "_values"}, "unknown output format"),
        ({"fields": [{"name": "x", "dtype": "object"}]}, "expected numbers"),
        ({"fields": [{"dtype": "text"}]}, "names of their own"),
        ({"shards": []}, "different numbers of records"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_manifest_that_was_changed(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write(tmp_path / "out", "npz")
    edit(tmp_path / "out", **changes)
    with pytest.raises(SourceError, match=message):
        opened(tmp_path / "out")


@pytest.mark.parametrize(
    "name", ["../../secret.npz", "/etc/passwd", "shard-00000.npz/../../../secret.npz", "shard-00001.npz"]
)
def test_a_manifest_never_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "a" / "out"
    write(folder, "npz")
    (tmp_path / "secret.npz").write_bytes(shards(folder)[0].read_bytes())
    first, *others = json.loads((folder / "manifest.json").read_text())["shards"]
    edit(folder, shards=[first | {"file": name}, *others])
    with pytest.raises(SourceError, match=r"manifest\.json is damaged or was changed: .*(file|expected shard 0)"):
        opened(folder)


def test_a_shard_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "out", "npz")
    first = shards(tmp_path / "out")[0]
    first.rename(tmp_path / "elsewhere")
    first.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SourceError, match="is missing"):
        opened(tmp_path / "out")


def test_folders_that_are_no_finished_output(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is not a folder"):
        opened(tmp_path / "nowhere")
    with pytest.raises(SourceError, match=r"has no manifest.json"):
        opened(tmp_path)
    out = Output(tmp_path / "out", find_sink("npz")(), {"x": Spec("int64")}, 1, {})
    out.add(0, 0, {"key": "k", "index": 0, "x": np.int64(0)})
    with pytest.raises(SourceError, match="not finished; give it --resume"):
        opened(tmp_path / "out")
    out.abort()
    write(tmp_path / "whole", "npz")
    shards(tmp_path / "whole")[1].unlink()
    with pytest.raises(SourceError, match=r"shard-00001.npz is missing"):
        opened(tmp_path / "whole")
    Output(tmp_path / "none", find_sink("npz")(), FIELDS, 1, {}).finish({"read": 0, "left_over": 0})
    with pytest.raises(SourceError, match="holds no records"):
        opened(tmp_path / "none")
    with pytest.raises(ValidationError):
        opened(tmp_path, verfy=True)
