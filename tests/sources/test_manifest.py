"""Tables: CSV, TSV, JSONL and Parquet, against the ecosystem's own readers, and every way they can be wrong."""

from __future__ import annotations

import csv
import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from pipelines.errors import RecordError, SourceError
from pipelines.sources._base import Source
from pipelines.sources.manifest import Manifest
from pipelines.spec import Axis, Spec


def opened(path: Path, **parameters: Any) -> Source:
    return Manifest.model_validate({"path": path, **parameters}).open()


def rows(source: Source, *names: str) -> list[Any]:
    """Each record's values, or the reason why it failed."""
    out: list[Any] = []
    for index in range(len(source)):
        try:
            out.append(tuple(source.read(index, names or list(source.values)).values()))
        except RecordError as e:
            out.append(str(e))
    return out


def written(path: Path, text: str | bytes) -> Path:
    content = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_ag_news_as_pyarrow_reads_it(data: Path) -> None:
    path = data / "text_ag_news/test.csv"
    columns = ["label", "title", "text"]
    source = opened(path, columns=columns, types={"label": "int"})
    assert dict(source.values) == {"label": Spec("int64"), "title": Spec("text"), "text": Spec("text")}
    oracle = pyarrow.csv.read_csv(path, pyarrow.csv.ReadOptions(column_names=columns))
    assert rows(source) == list(zip(*(oracle[c].to_pylist() for c in columns), strict=True))
    assert [source.key(i) for i in (0, 7599)] == ["0", "7599"]


@pytest.mark.parametrize(("part", "count"), [("train", 6920), ("dev", 872), ("test", 1821)])
def test_sst2_has_no_quotes_only_tabs(data: Path, part: str, count: int) -> None:
    path = data / f"text_sst2/{part}.tsv"
    source = opened(path, columns=["text", "label"], types={"label": "int"})
    lines = path.read_text(encoding="utf-8").splitlines()
    assert rows(source) == [(text, int(label)) for text, label in (line.split("\t") for line in lines)]
    assert len(source) == count


def test_pictures_captions_and_sounds_of_tuxpaint(data: Path) -> None:
    path = data / "multimodal_tuxpaint/manifest.jsonl"
    oracle = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    source = opened(path, key="id", files=["image", "sound_effect", "speech.en"])
    assert [source.key(i) for i in range(len(source))] == [row["id"] for row in oracle]
    absent = 0
    for index, row in enumerate(oracle):
        names = ["image", "sound_effect", "speech.en", "captions.en", "captions.ja"]
        image, sound, speech, *captions = source.read(index, names).values()
        assert image == (path.parent / row["image"]).read_bytes()
        assert captions == [row["captions"].get("en"), row["captions"].get("ja")]
        for held, named in ((sound, row.get("sound_effect")), (speech, (row.get("speech") or {}).get("en"))):
            assert held == (None if named is None else (path.parent / named).read_bytes())
            absent += held is None
    assert absent > 0  # else the optional values were not tried


def test_lhotse_manifests(data: Path) -> None:
    path = data / "manifest_lhotse_fixtures/mini_librispeech/lhotse/recordings.jsonl.gz"
    oracle = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    source = opened(path, key="id")
    got = rows(source, "id", "sampling_rate", "duration", "sources")
    for (name, rate, seconds, sources), row in zip(got, oracle, strict=True):
        assert (name, rate, seconds) == (row["id"], row["sampling_rate"], row["duration"])
        assert json.loads(sources) == row["sources"]  # a list of objects is kept as JSON text
    path = data / "manifest_lhotse_fixtures/ami/ES2011a_sups.jsonl.gz"
    assert rows(opened(path), "text") == [
        (json.loads(line).get("text"),) for line in gzip.decompress(path.read_bytes()).splitlines()
    ]


def test_quotes_newlines_and_commas_in_cells(tmp_path: Path) -> None:
    cells = [["a,b", 'say "x"', "two\nlines"], ["", " ", "\r\n"], ["é", "猫", "😀"], ["long " * 100_000, "", ""]]
    with (tmp_path / "x.csv").open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([["p", "q", "r"], *cells])
    assert rows(opened(tmp_path / "x.csv")) == [tuple(row) for row in cells]
    assert list(opened(tmp_path / "x.csv").values) == ["p", "q", "r"]
    packed = written(tmp_path / "y.csv.gz", (tmp_path / "x.csv").read_bytes())
    assert rows(opened(packed)) == [tuple(row) for row in cells]


def test_rows_that_are_wrong_fail_alone(tmp_path: Path) -> None:
    path = written(tmp_path / "x.csv", b'n,t\n1,a\n2\n3,b,c\n\n4,\xff\nfive,d\n6,"e"f\n7,g\n,h\n')
    source = opened(path, types={"n": "int"})
    assert rows(source) == [
        (1, "a"),
        "expected 2 cells, got 1",
        "expected 2 cells, got 3",
        "t: is not valid UTF-8 at character 0",
        "column 'n': expected int, got 'five'",
        "row 6 is not valid CSV: ',' expected after '\"'",
        (7, "g"),
        (None, "h"),
    ]
    assert [source.key(i) for i in range(len(source))] == [str(i) for i in range(8)]
    path = written(tmp_path / "x.jsonl", b'{"a": 1}\n{"a": 2\n\n[3]\n{"a": "4"}\n{"a": 5.5}\n{"a": 1e400}\n\xff\n')
    found = rows(opened(path))
    assert found[0] == (1.0,)
    assert "line 2 is not JSON" in found[1]
    assert found[2:6] == [
        "line 4: expected an object with named values, got list",
        "a: expected int64 as in the records before, got text",
        (5.5,),
        (float("inf"),),
    ]
    assert "line 8 is not JSON" in found[6]


def test_types_of_jsonl(tmp_path: Path) -> None:
    values: list[dict[str, Any]] = [
        {"i": 1, "f": 1, "b": True, "box": [1, 2, 3], "any": [1], "words": ["a"], "deep": {"x": [[1.5, 2], [3, 4]]}},
        {"i": 2**62, "f": 2.5, "b": False, "box": [4, 5, 6.5], "any": [], "words": [], "deep": None, "rag": [[1], []]},
    ]
    path = written(tmp_path / "x.jsonl", "\n".join(map(json.dumps, values)))
    source = opened(path)
    assert dict(source.values) == {
        "i": Spec("int64"),
        "f": Spec("float64"),
        "b": Spec("bool"),
        "box": Spec("float64", (Axis("item", 3),)),
        "any": Spec("int64", (Axis("item"),)),
        "words": Spec("text", (Axis("token"),)),
        "deep.x": Spec("float64", (Axis("axis0", 2), Axis("axis1", 2))),
        "rag": Spec("text"),
    }
    first, second = (source.read(i, list(source.values)) for i in (0, 1))
    assert [first["i"], second["i"], first["f"], second["f"]] == [1, 2**62, 1.0, 2.5]
    assert isinstance(first["f"], float)
    np.testing.assert_array_equal(second["box"], [4, 5, 6.5])
    assert first["box"].dtype == second["box"].dtype == np.float64
    assert (first["words"], second["words"], second["any"].shape) == (["a"], [], (0,))
    np.testing.assert_array_equal(first["deep.x"], [[1.5, 2.0], [3.0, 4.0]])
    assert (second["deep.x"], first["rag"], second["rag"]) == (None, None, "[[1], []]")


def test_stated_types(tmp_path: Path) -> None:
    cells = ['"7"', "7", "7.0", "7.5", '"1_000"', '"x"', "null", "true", "[1, 2]", '" 7 "', "1e999"]
    path = written(tmp_path / "x.jsonl", "\n".join(f'{{"o": {{"v": {cell}}}}}' for cell in cells))
    wrong = {kind: f"column 'o.v': expected {kind}, got" for kind in ("int", "float")}
    assert [r if len(r) == 1 else r[: len(wrong["int"])] for r in rows(opened(path, types={"o.v": "int"}))] == [
        *[(7,)] * 3, *[wrong["int"]] * 3, (None,), (1,), wrong["int"], (7,), wrong["int"]
    ]  # fmt: skip
    assert [r if len(r) == 1 else r[: len(wrong["float"])] for r in rows(opened(path, types={"o.v": "float"}))] == [
        *[(7.0,)] * 3, (7.5,), *[wrong["float"]] * 2, (None,), (1.0,), wrong["float"], (7.0,), (float("inf"),)
    ]  # fmt: skip
    text = ["7", "7", "7.0", "7.5", "1_000", "x", None, "true", "[1, 2]", " 7 ", "Infinity"]
    assert rows(opened(path, types={"o.v": "text"})) == [(cell,) for cell in text]


def test_parquet_brings_its_types(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": ["a", "b", "c"],
            "n": pa.array([1, None, 3], pa.int32()),
            "x": pa.array([0.5, 1.5, None], pa.float32()),
            "file": pa.array([b"\0\xff", b"", None], pa.binary()),
            "vector": pa.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], pa.list_(pa.float32(), 2)),
            "image": [{"bytes": b"PNG", "path": "p"}, None, {"bytes": None, "path": "q"}],
            "kind": pa.array(["u", "v", "u"]).dictionary_encode(),
            "day": pa.array([0, 1, None], pa.date32()),
        }
    )
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=2)
    source = opened(tmp_path / "x.parquet", key="id")
    assert source.values["file"] == Spec("bytes")
    assert source.values["vector"].shape == (2,)
    assert [source.key(i) for i in range(3)] == ["a", "b", "c"]
    assert rows(source, "n", "x", "file", "image.bytes", "image.path", "kind", "day") == [
        (1, 0.5, b"\0\xff", b"PNG", "p", "u", "1970-01-01"),
        (None, 1.5, b"", None, None, "v", "1970-01-02"),
        (3, None, None, None, "q", "u", None),
    ]


def test_damaged_parquet(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = pa.table({"x": [f"{i:01000}" for i in range(100)]})
    pq.write_table(table, path, row_group_size=50, compression="gzip", use_dictionary=False)
    whole = path.read_bytes()
    for content in (whole[:2000], b"PAR1" * 20, b""):
        path.write_bytes(content)
        with pytest.raises(SourceError, match="not a readable Parquet file"):
            opened(path)
    # the pages of the second half of the rows: they fail, the others do not
    group = pq.ParquetFile(pa.BufferReader(whole)).metadata.row_group(1).column(0)
    at = group.data_page_offset
    end = at + group.total_compressed_size
    path.write_bytes(whole[: end - 100] + b"\xaa" * 100 + whole[end:])
    found = rows(opened(path))
    assert found[:50] == [(f"{i:01000}",) for i in range(50)]
    assert all("row group 1 of x.parquet is damaged" in reason for reason in found[50:])
    assert len(found) == 100


def test_files_stay_inside_of_the_root(tmp_path: Path) -> None:
    (tmp_path / "in/sub").mkdir(parents=True)
    written(tmp_path / "in/a.bin", "A")
    written(tmp_path / "in/sub/b.bin", "B")
    written(tmp_path / "secret", "S")
    outside = [str(tmp_path / "secret"), "../secret", "sub/../../secret", "/etc/passwd"]
    named = ["a.bin", "sub/b.bin", "sub/../a.bin", str(tmp_path / "in/a.bin"), "", "gone.bin", "sub", "x\0y", *outside]
    path = written(tmp_path / "in/x.jsonl", "\n".join(json.dumps({"f": n}) for n in [*named, None, 7]))
    assert rows(opened(path, files=["f"], types={"f": "text"}))[-1] == "cannot read 7: No such file or directory"
    found = rows(opened(path, files=["f"]))
    assert found[:5] == [(b"A",), (b"B",), (b"A",), (b"A",), (None,)]
    assert found[5:8] == [
        "cannot read gone.bin: No such file or directory",
        "sub is not a regular file",
        "'x\\x00y' is not the name of a file",
    ]
    assert found[8:12] == [f"column 'f': {name} leads out of the manifest's root" for name in outside]
    assert found[12:] == [(None,), "f: expected text as in the records before, got int64"]
    assert rows(opened(path, files=["f"], root=tmp_path))[9] == "column 'f': ../secret leads out of the manifest's root"
    assert rows(opened(path, files=["f"], root="/"))[8] == (b"S",)


def test_keys(tmp_path: Path) -> None:
    path = written(tmp_path / "x.jsonl", '{"k": 5, "n": {"id": "a"}}\n{"n": {"id": "b"}}\n{"k": 6, "n": {"id": "a"}}\n')
    source = opened(path, key="k")
    assert [source.key(i) for i in range(3)] == ["5", "row 1", "6"]
    assert rows(source, "k") == [(5,), "the key column 'k' is empty", (6,)]
    with pytest.raises(SourceError, match=r"column 'n.id' .* 1 come again: a"):
        opened(path, key="n.id")


def test_columns_that_are_not_there(data: Path, tmp_path: Path) -> None:
    path = data / "multimodal_tuxpaint/manifest.jsonl"
    for parameters in ({"key": "ids"}, {"types": {"ids": "text"}}, {"files": ["ids"]}):
        with pytest.raises(
            SourceError, match=r"no column 'ids' \(in `\w+`\); did you mean 'id'\?.* columns are id, image"
        ):
            opened(path, **parameters)
    path = written(tmp_path / "x.csv", "one,two\n1,2\n")
    with pytest.raises(SourceError, match="did you mean 'one'"):
        opened(path, types={"onne": "int"})


@pytest.mark.parametrize(
    ("name", "content", "parameters", "message"),
    [
        ("x.csv", "", {}, "is empty"),
        ("x.csv", "a,b\n", {}, "holds no rows"),
        ("x.csv", "a,a\n1,2\n", {}, "got 'a' twice"),
        ("x.csv", "a,\n1,2\n", {}, "a column without a name"),
        ("x.csv", 'a,b\n1,2\n3,"4\n5,6\n', {}, "a quote opened in row 2 is never closed"),
        ("x.csv", "a\nx\ny\n", {"types": {"a": "int"}}, "none of the 2 rows .* expected int, got 'x'"),
        ("x.jsonl", "nonsense\n", {}, "none of the 1 rows .* line 1 is not JSON"),
        ("x.jsonl", '{"a": 1}', {"columns": ["a"]}, "names its values itself"),
        ("x.txt", "a", {}, r"expected a name ending in \.csv"),
        ("x.parquet.gz", "a", {}, r"expected a name ending in \.csv"),
    ],
)
def test_tables_that_cannot_be_read(
    tmp_path: Path, name: str, content: str, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        opened(written(tmp_path / name, content), **parameters)


def test_damaged_gzip_and_no_file(tmp_path: Path) -> None:
    path = written(tmp_path / "x.csv.gz", "a,b\n" + "\n".join(f"{os.urandom(8).hex()},2" for _ in range(2000)))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(SourceError, match="damaged or not gzip"):
        opened(path)
    with pytest.raises(SourceError, match="there is no file at"):
        opened(tmp_path / "none.csv")


@pytest.mark.parametrize(
    "parameters", [{"header": False}, {"files": ["a"], "types": {"a": "int"}}, {"types": {"a": "date"}}, {"kee": "a"}]
)
def test_parameters_that_contradict(tmp_path: Path, parameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Manifest.model_validate({"path": tmp_path / "x.csv", **parameters})


def test_a_header_that_is_replaced(tmp_path: Path) -> None:
    path = written(tmp_path / "x.tsv", 'a\tb\n"1\t2\r\n\n3\t\n')
    assert rows(opened(path, columns=["c", "d"], header=True), "c", "d") == [('"1', "2"), ("3", "")]


def test_the_fingerprint_sees_the_table_and_its_files(tmp_path: Path) -> None:
    written(tmp_path / "a.bin", "A")
    path = written(tmp_path / "x.csv", "f\na.bin\n")
    seen = {opened(path).fingerprint(), opened(path, files=["f"]).fingerprint()}
    assert opened(path, files=["f"]).fingerprint() in seen
    written(tmp_path / "a.bin", "AB")
    seen.add(opened(path, files=["f"]).fingerprint())
    written(path, "f\na.bin\na.bin\n")
    seen.add(opened(path, files=["f"]).fingerprint())
    assert len(seen) == 4


def test_memory_stays_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches are written as they fill, and arrays that grow wider begin a new part of the store."""
    monkeypatch.setattr("pipelines.sources._store.ROWS_PER_BATCH", 10)
    lines = [{"n": i if i < 50 else i + 0.5, **({"late": "x"} if i > 80 else {})} for i in range(100)]
    source = opened(written(tmp_path / "x.jsonl", "\n".join(map(json.dumps, lines))))
    assert rows(source, "n", "late") == [(float(row["n"]), row.get("late")) for row in lines]
