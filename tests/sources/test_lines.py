"""Lines of text files."""

from __future__ import annotations

import gzip
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines.errors import RecordError, SourceError
from pipelines.sources import lines
from pipelines.sources.lines import Lines, LinesSource


def texts(path: Path) -> list[str]:
    source = Lines(path=path).open()
    return [source.read(i, ["text"])["text"] for i in range(len(source))]


def test_parallel_captions_from_gzip(data: Path) -> None:
    for language in ("en", "de"):
        path = data / f"text_multi30k/train.{language}.gz"
        expected = gzip.decompress(path.read_bytes()).decode().split("\n")
        assert expected.pop() == ""
        assert texts(path) == expected
        assert len(expected) == 29000


def test_text_as_it_stands(data: Path) -> None:
    path = data / "text_naughty_strings/blns.txt"
    assert texts(path) == path.read_bytes().decode().removesuffix("\n").split("\n")


def test_ends_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes("\ufeffa\r\n\r\nb\rc\n\u2028d\x0be\x85\n\nlast".encode())
    assert texts(path) == ["a", "", "b\rc", "\u2028d\x0be\x85", "", "last"]
    assert [Lines(path=path).open().key(i) for i in (0, 5)] == ["1", "6"]


@pytest.mark.parametrize("chunk", [1, 2, 7])
def test_lines_over_the_edge_of_a_chunk(tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(b"\nab\n\ncdefghijklmnop\nq\n")
    monkeypatch.setattr("pipelines.sources.lines.CHUNK", chunk)
    assert texts(path) == ["", "ab", "", "cdefghijklmnop", "q"]


def test_a_line_that_is_not_utf8_fails_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(b"good\nb\xff\xfed\nfine\n")
    source = Lines(path=path).open()
    with pytest.raises(RecordError, match=r"line 2 of x\.txt is not UTF-8: byte 0xff at place 1"):
        source.read(1, ["text"])
    assert [source.read(i, ["text"])["text"] for i in (0, 2)] == ["good", "fine"]


def test_faults_of_the_file(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is none at"):
        Lines(path=tmp_path / "none.txt").open()
    (tmp_path / "empty.txt").touch()
    with pytest.raises(SourceError, match="holds no lines"):
        Lines(path=tmp_path / "empty.txt").open()
    whole = (data / "text_multi30k/val.en.gz").read_bytes()
    for content in (whole[:9000], b"no gzip at all", whole[:5000] + b"\0" * 200 + whole[5200:]):
        (tmp_path / "x.gz").write_bytes(content)
        with pytest.raises(SourceError, match="damaged or not gzip"):
            Lines(path=tmp_path / "x.gz").open()


@pytest.mark.parametrize("held", [True, False], ids=["kept in memory", "too large for that"])
def test_a_file_cut_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: bool) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(b"one\ntwo\nthree\n")
    monkeypatch.setattr(lines, "HELD", 14 if held else 13)
    source = Lines(path=path).open()
    path.write_bytes(b"one\ntw")
    assert source.read(0, ["text"]) == {"text": "one"}
    if held:
        assert source.read(1, ["text"]) == {"text": "two"}
        return
    with pytest.raises(RecordError, match="became shorter"):
        source.read(1, ["text"])


def test_reading_from_many_threads(data: Path) -> None:
    path = data / "text_wikitext2/valid.txt"
    source = LinesSource(path, path.name, path)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda i: source.read(i, ["text"])["text"], range(len(source))))
    assert read == path.read_bytes().decode().removesuffix("\n").split("\n")


def test_the_fingerprint_is_that_of_the_named_file(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"a\nb\n"))
    first = Lines(path=path).open().fingerprint()
    assert Lines(path=path).open().fingerprint() == first
    path.write_bytes(gzip.compress(b"a\nc\nd\n"))
    assert Lines(path=path).open().fingerprint() != first
    assert texts(path) == ["a", "c", "d"]
