"""Files in a folder: order, keys, patterns, links, and what is said when nothing fits."""

from __future__ import annotations

import os
import time
import unicodedata
from pathlib import Path, PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.errors import RecordError, SourceError
from pipelines.sources._glob import matcher
from pipelines.sources.folder import Folder


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode("utf-8", "surrogateescape"))


def test_spoken_digits_by_their_names(data: Path) -> None:
    config = Folder(path=data / "audio_fsdd/recordings", files="*.wav", name="{digit}_{speaker}_{take}")
    source = config.open()
    names = sorted(os.listdir(config.path))
    assert [source.key(i) for i in range(len(source))] == names
    for index in (0, 450, 899):
        read = source.read(index, list(source.values))
        assert read["file"] == (config.path / names[index]).read_bytes()
        digit, speaker, take = names[index].removesuffix(".wav").split("_")
        assert [read["name.digit"], read["name.speaker"], read["name.take"]] == [digit, speaker, take]
        assert read["path"] == names[index]
        assert read["folder"] == "recordings"


def test_classes_are_the_folders(data: Path) -> None:
    source = Folder(path=data / "image_cifar10_jpeg", files="train/**/*.jpg").open()
    assert len(source) == 2000
    labels = [source.read(i, ["folder"])["folder"] for i in range(len(source))]
    assert sorted(set(labels)) == sorted(os.listdir(data / "image_cifar10_jpeg/train"))
    assert all(source.key(i).split("/")[1] == label for i, label in enumerate(labels))


def test_names_of_many_scripts_keep_apart(tmp_path: Path) -> None:
    composed, taken_apart = unicodedata.normalize("NFC", "é.txt"), unicodedata.normalize("NFD", "é.txt")
    names = ["猫.txt", "קול.txt", composed, taken_apart, "Z.txt", "a.txt", "б.txt", "😀.txt", "𐐀.txt"]
    make(tmp_path, *names)
    source = Folder(path=tmp_path, files="*.txt").open()
    assert [source.key(i) for i in range(len(source))] == sorted(names)
    assert [source.read(i, ["file"])["file"].decode() for i in range(len(source))] == sorted(names)


def test_a_name_that_is_no_utf8_gets_a_key_that_can_be_written(tmp_path: Path) -> None:
    make(tmp_path, os.fsdecode(b"caf\xe9.txt"))
    source = Folder(path=tmp_path, files="*.txt").open()
    assert source.key(0) == "caf\\xe9.txt"
    assert source.read(0, ["file"])["file"] == b"caf\xe9.txt"
    make(tmp_path, "caf\\xe9.txt")
    with pytest.raises(SourceError, match="told apart"):
        Folder(path=tmp_path, files="*.txt").open()


def test_several_patterns_and_hidden_files(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "b.jpeg", "c/d.jpg", ".e.jpg", ".f/g.jpg", "h.png")
    keys = {
        pattern: [s.key(i) for i in range(len(s))]
        for pattern in (("*.jpg", "*.jpeg"), ("**/*.jpg",), (".*.jpg",), ("[!a].*",), ("?/*.jpg",))
        for s in [Folder(path=tmp_path, files=pattern).open()]
    }
    assert keys == {
        ("*.jpg", "*.jpeg"): ["a.jpg", "b.jpeg"],
        ("**/*.jpg",): ["a.jpg", "c/d.jpg"],
        (".*.jpg",): [".e.jpg"],
        ("[!a].*",): ["b.jpeg", "h.png"],
        ("?/*.jpg",): ["c/d.jpg"],
    }


@given(
    pattern=st.lists(st.sampled_from(["*", "a*", "?b", "[ab]", "[!a]", "**"]), min_size=1, max_size=3),
    path=st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=4),
)
def test_patterns_mean_what_pathlib_means(pattern: list[str], path: list[str]) -> None:
    """PurePath.match knows no `**` before Python 3.13: it is spelled out here as every number of folders."""
    pattern = [*pattern, "*"] if pattern[-1] == "**" else pattern
    choices = [pattern]
    while any("**" in choice for choice in choices):
        choices = [
            [*choice[:at], *["*"] * count, *choice[at + 1 :]]
            for choice in choices
            for at in [choice.index("**") if "**" in choice else len(choice)]
            for count in (range(4) if at < len(choice) else [0])
        ]
    expected = any(len(c) == len(path) and PurePath("/".join(path)).match("/".join(c)) for c in choices)
    assert bool(matcher(["/".join(pattern)]).fullmatch("/".join(path))) == expected


@pytest.mark.parametrize("files", ["", "a//b", "../x", "**", "a**/b", "/etc/*", ()])
def test_patterns_that_cannot_be_meant(tmp_path: Path, files: str) -> None:
    with pytest.raises(ValidationError, match="expected"):
        Folder(path=tmp_path, files=files)


@pytest.mark.parametrize("name", ["", "plain", "{a}{b}", "{a}_{a}", "{}", "{a!r}", "{a:3}", "{a", "{a b}"])
def test_name_patterns_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValidationError, match="expected"):
        Folder(path=tmp_path, files="*", name=name)


def test_files_that_do_not_match_the_name_pattern_are_told_at_once(tmp_path: Path) -> None:
    make(tmp_path, "1_a.txt", *(f"odd{i}.txt" for i in range(7)))
    with pytest.raises(SourceError, match=r"7 of 8 files.*\{n\}_\{s\}: odd0.txt, odd1.txt, .*odd4.txt, \.\."):
        Folder(path=tmp_path, files="*.txt", name="{n}_{s}").open()


def test_nothing_matches(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"holds 900 files \(900 \.wav\); .*write \*\*/\*\.wav"):
        Folder(path=data / "audio_fsdd", files="*.wav").open()
    with pytest.raises(SourceError, match="holds 900 files"):
        Folder(path=data / "audio_fsdd", files="**/*.flac").open()
    with pytest.raises(SourceError, match="holds 0 files"):
        Folder(path=tmp_path, files="*").open()
    with pytest.raises(SourceError, match="does not exist"):
        Folder(path=tmp_path / "none", files="*").open()


def test_links_never_lead_out(tmp_path: Path) -> None:
    make(tmp_path, "in/real.txt", "out/secret.txt")
    (tmp_path / "in/inside.txt").symlink_to("real.txt")
    (tmp_path / "in/outside.txt").symlink_to(tmp_path / "out/secret.txt")
    (tmp_path / "in/gone.txt").symlink_to("nothing.txt")
    (tmp_path / "in/folder").symlink_to(tmp_path / "out")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    source = Folder(path=tmp_path / "in", files="**/*.txt").open()
    results = {}
    for index in range(len(source)):
        try:
            results[source.key(index)] = source.read(index, ["file"])["file"].decode()
        except RecordError as e:
            results[source.key(index)] = str(e)
    assert results == {
        "gone.txt": "cannot read gone.txt: No such file or directory",
        "inside.txt": "in/real.txt",
        "outside.txt": "outside.txt is a link that leads out of the folder",
        "real.txt": "in/real.txt",
    }


def test_what_is_no_file_fails_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.txt")  # opening it would wait for ever
    make(tmp_path, "b.txt")
    source = Folder(path=tmp_path, files="*.txt").open()
    with pytest.raises(RecordError, match=r"a\.txt is not a regular file"):
        source.read(0, ["file"])
    assert source.read(1, ["file", "path"]) == {"file": b"b.txt", "path": "b.txt"}


def test_the_fingerprint_sees_every_change(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "b.txt")

    def now() -> str:
        return Folder(path=tmp_path, files="*.txt").open().fingerprint()

    first = now()
    assert now() == first
    os.utime(tmp_path / "a.txt", ns=(1, 1))
    touched = now()
    (tmp_path / "b.txt").rename(tmp_path / "c.txt")
    renamed = now()
    make(tmp_path, "d.txt")
    assert len({first, touched, renamed, now()}) == 4


def test_many_files_are_listed_fast(tmp_path: Path) -> None:
    for folder in range(20):
        (tmp_path / str(folder)).mkdir()
        for file in range(500):
            os.close(os.open(f"{tmp_path}/{folder}/{file}.bin", os.O_CREAT))
    began = time.perf_counter()
    source = Folder(path=tmp_path, files="**/*.bin").open()
    took = time.perf_counter() - began
    assert len(source) == 10_000
    # about 0.03 s on an idle core; a stat of each file, or pathlib, takes ten times as long
    assert took < 2
