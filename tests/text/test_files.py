"""Files that are not what they should be: one sentence that names the file and the fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.errors import SpecError
from pipelines.spec import TEXT
from pipelines.step import Step
from pipelines.text import AddTokens, Bpe, ClipBpe, Sentencepiece, Vectors, Vocab, Wordpiece
from pipelines.text._files import vocabulary
from pipelines.text._seams import TOKENS, ids

GOOD, CLIP = Bpe.examples[0].params, ClipBpe.examples[0].params
STEPS: dict[str, tuple[Callable[[Path], Step], str]] = {
    "wordpiece": (lambda path: Wordpiece(vocabulary=path), "vocabulary"),
    "vocab": (lambda path: Vocab(file=path), "vocabulary"),
    "add_tokens": (lambda path: AddTokens(begin="a", vocabulary=path), "vocabulary"),
    "bpe encoder": (lambda path: Bpe(encoder=path, merges=GOOD["merges"]), "GPT-2 encoder"),
    "bpe merges": (lambda path: Bpe(encoder=GOOD["encoder"], merges=path), "list of byte-level merges"),
    "clip encoder": (lambda path: ClipBpe(encoder=path, merges=CLIP["merges"]), "CLIP encoder"),
    "clip merges": (lambda path: ClipBpe(encoder=CLIP["encoder"], merges=path), "list of CLIP merges"),
    "vectors": (lambda path: Vectors(file=path), "file of word vectors"),
    "sentencepiece": (lambda path: Sentencepiece(model=path), "SentencePiece model"),
}
SPECS = {"vocab": TOKENS, "add_tokens": ids(10), "vectors": TOKENS}
BAD = {
    "empty": b"",
    "blank": b" \n \n",
    "binary": bytes(range(128)),
    "latin": "é\n".encode("latin-1"),
    "json": b"[1]\n",
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("content", BAD)
def test_a_wrong_file(name: str, content: str, tmp_path: Path) -> None:
    make, meant = STEPS[name]
    path = tmp_path / "given"
    path.write_bytes(BAD[content])
    accepted = {"json"} if meant == "vocabulary" else set()  # one line of text; what is missing from it is told below
    with pytest.raises(SpecError) as error:
        make(path).out_spec(SPECS.get(name, TEXT))
    assert str(path) in str(error.value)
    if content not in accepted:
        assert f"is not a {meant}" in str(error.value)


@pytest.mark.parametrize("name", STEPS)
def test_no_file_or_a_folder(name: str, tmp_path: Path) -> None:
    make, _ = STEPS[name]
    with pytest.raises(SpecError, match=r"there is no file .*missing"):
        make(tmp_path / "missing").out_spec(SPECS.get(name, TEXT))
    with pytest.raises(SpecError, match="expected a file, got the folder"):
        make(tmp_path).out_spec(SPECS.get(name, TEXT))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\nb\na\n", "lines 1 and 3 are both 'a'"),
        (b"a\n\nb\n", "line 2 is empty"),
        (b"a\n\n", "line 2 is empty"),
        (b"ab\xff", r"not UTF-8 text \(byte 2\)"),
        (b"a\0\n", "binary"),
    ],
)
def test_faults_of_a_vocabulary(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(SpecError, match=message):
        vocabulary(path)


@pytest.mark.parametrize(
    "content", [b"a\nb c\n\xc3\xa9", b"a\r\nb c\r\n\xc3\xa9\r\n", b"\xef\xbb\xbfa\nb c\n\xc3\xa9\n"]
)
def test_line_ends_and_byte_order_marks(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    assert vocabulary(path) == ("a", "b c", "é")


def test_only_line_feeds_end_a_line(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes("a\u2028b\n\x85\n\x0c\n\u00a0\n".encode())
    assert vocabulary(path) == ("a\u2028b", "\x85", "\x0c", "\u00a0")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 0}', "lacks 255 of the 256 bytes"),
        ('{"a": 0, "b": 0}', "two tokens have the same id"),
        ('{"a": -1}', "is not a GPT-2 encoder"),
        ('{"a": true}', "is not a GPT-2 encoder"),
        ('{"a": 0', "line 1: Expecting"),
    ],
)
def test_faults_of_an_encoder(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "encoder.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SpecError, match=message):
        Bpe(encoder=path, merges=GOOD["merges"]).out_spec(TEXT)
