"""Word vectors against torchtext's table, from real files of GloVe and fastText, whole and damaged."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from text.texts import Run

from pipelines.errors import SpecError
from pipelines.native import to_native, to_numpy
from pipelines.spec import TEXT
from pipelines.text import Vectors, _vectors
from pipelines.text._seams import TOKENS, ids

EXAMPLE = Vectors.examples[0].params["file"]


def real(data: Path, folder: Path) -> list[Path]:
    """GloVe's four files, cut to their first lines, and fastText's, whose first line is made to tell the truth."""
    with zipfile.ZipFile(data / "text_tokenizer_files" / "glove.6B.zip") as held:
        held.extractall(folder)
    lines = (data / "text_tokenizer_files" / "wiki.en.vec").read_text(encoding="utf-8").splitlines()
    cut = folder / "wiki.en.vec"
    cut.write_text("\n".join([f"{len(lines) - 1} 300", *lines[1:]]) + "\n", encoding="utf-8")
    return sorted(folder.iterdir())


@pytest.mark.needs("torchtext")
@pytest.mark.filterwarnings("ignore")
def test_the_table_is_torchtexts(framework: str, data: Path, tmp_path: Path) -> None:
    from torchtext.vocab import Vectors as Reference

    (tmp_path / "files").mkdir()
    paths = [*real(data, tmp_path / "files"), Path(EXAMPLE).with_name("vectors.vec")]
    assert len(paths) == 6
    for path in paths[:-1]:
        reference = Reference(str(path), cache=str(tmp_path / "cache"))
        assert list(_vectors.table(path).rows) == reference.itos
        tokens = [*reference.itos, "no such word", reference.itos[0].upper(), ""]
        step = Vectors(file=path)
        spec = step.out_spec(TOKENS)
        found = to_numpy(step.bind(framework, TOKENS)(to_native(tokens, TOKENS, framework)), spec)
        np.testing.assert_array_equal(found, reference.get_vecs_by_tokens(tokens).numpy())
        assert spec.shape == (None, reference.dim)


def test_ids_get_the_vectors_of_their_tokens(framework: str, tmp_path: Path) -> None:
    vocabulary = tmp_path / "words.txt"
    vocabulary.write_text("<unk>\nGröße\nred\n. .\n", encoding="utf-8")
    step, spec = Vectors(file=EXAMPLE, vocabulary=vocabulary), ids(4)
    kernel = step.bind(framework, spec)
    found = to_numpy(kernel(to_native([2, 1, 0, 3, 2], spec, framework)), step.out_spec(spec))
    words = _vectors.table(Path(EXAMPLE))
    expected = [
        words.vectors[words.rows[w]] if w in words.rows else np.zeros(5) for w in ("red", "Größe", "?", ". .", "red")
    ]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))
    assert step.files() == (Path(EXAMPLE), vocabulary)
    with pytest.raises(SpecError, match=r"1 tokens of .*words\.txt have no vector, '<unk>' first"):
        Vectors(file=EXAMPLE, vocabulary=vocabulary, unknown="fail").out_spec(spec)
    with pytest.raises(SpecError, match=r"expected ids of .*words\.txt, in \[0, 3\], got int64\[token\]"):
        step.out_spec(ids(5))
    with pytest.raises(SpecError, match="name the vocabulary of the ids"):
        Vectors(file=EXAMPLE).out_spec(spec)
    with pytest.raises(SpecError, match="vocabulary is for ids"):
        step.out_spec(TOKENS)
    with pytest.raises(SpecError, match=r"expected axes|expected int64"):
        Vectors(file=EXAMPLE).out_spec(TEXT)


def test_a_token_without_a_vector_fails_the_record_where_asked(framework: str, run: Run) -> None:
    step = Vectors(file=EXAMPLE, unknown="fail")
    assert np.shape(run(framework, step, [["red", ". ."]], TOKENS)) == (1, 2, 5)
    with pytest.raises(Exception, match="a token has no vector"):
        run(framework, step, [["red"], ["zebra"]], TOKENS)


def test_numbers_are_rounded_once_to_float32(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text("a 0.1 1e-3 -3.4028234e38 16777217\nb 1 2 3 4\na 5 6 7 8\n", encoding="utf-8")
    table = _vectors.table(path)
    np.testing.assert_array_equal(table.vectors[0], np.array([0.1, 1e-3, -3.4028234e38, 16777217], np.float32))
    assert table.rows == {"a": 2, "b": 1}  # the last line of a word counts


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"3 2\n", "it is empty"),
        (b"a 1 2\nb 1\n", "line 2: expected a word and 2 numbers, got 'b 1'"),
        (b"a 1 2\n\nb 1 2\n", "line 2: expected a word and 2 numbers, got ''"),
        (b"a\n", "line 1: expected a word and 1 numbers, got 'a'"),
        (b"2 2\na 1 2\nb 1 2 x\n", "line 3: expected 2 numbers after 'b 1', got '2'"),
        (b"a 1 2\nb nan 2\n", "line 2: a number of 'b' is not finite in float32"),
        (b"a 1 2\nb 1 1e39\n", "line 2: a number of 'b' is not finite in float32"),
        (b"a 1 2\n\xff 1 2\n", "line 2: it is not UTF-8 text"),
        (b"4 2\na 1 2\nb 1 2\n", "is not complete: line 1 says 4 words, it has 2"),
        (b"PK\x03\x04\x00\x00\xff", "line 1: it is not UTF-8 text"),
        (b"0 0\n 1 2\n", "line 2: expected a word and 1 numbers, got ' 1 2'"),
    ],
)
def test_damaged_files_are_told_with_their_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "damaged.vec"
    path.write_bytes(content)
    with pytest.raises(SpecError) as error:
        Vectors(file=path).out_spec(TOKENS)
    assert str(path) in str(error.value)
    assert message in str(error.value)
