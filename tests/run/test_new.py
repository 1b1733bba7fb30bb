"""Configs written for data of one's own: they say what is there, fit, and run, whatever things are called."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image
from ruamel.yaml import YAML

import pipelines
from pipelines.config import read_config
from pipelines.errors import UserError
from pipelines.plan import compile_plan, open_source
from pipelines.report.new import new, quoted
from pipelines.spec import FRAMEWORKS

CAPTIONS = ("a red circle on a white ground", "two blue squares side by side", "a star", "nothing at all to see here")
AWKWARD = ("cat", 'a: "#{b}', "no", "${HOME}", "ünï 世", "it's, [x]")


def picture(path: Path, size: tuple[int, int] = (40, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (9, 99, 199)).save(path)


def keys(config: Path) -> list[str]:
    source = open_source(read_config(config))
    return [source.key(index) for index in range(len(source))]


def sound(path: Path, rate: int, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(round(rate * seconds)), rate)


def test_class_folders_of_pictures_run_on_both_frameworks(tmp_path: Path) -> None:
    for number, name in enumerate(AWKWARD):
        for take in range(2):
            picture(tmp_path / "my data" / name / f"{number}_{take}.png")
    (tmp_path / "my data/notes.md").write_text("x")
    config = tmp_path / "my config.yaml"
    assert not new(tmp_path / "my data", config)
    text = config.read_text()
    assert "# 12 pictures of my data: .png." in text
    assert "1 .md" in text
    assert "image.resize: {size: [30, 40]}  # what all 12 looked at have" in text
    batches = [next(iter(pipelines.load(config, framework=framework, device="cpu"))) for framework in FRAMEWORKS]
    labels = [np.asarray(batch["label"]).tolist() for batch in batches]
    assert labels[0] == labels[1]
    assert sorted(labels[0]) == sorted([*range(6)] * 2)
    assert tuple(batches[0]["picture"].shape) == (12, 3, 30, 40)
    pixels = [np.asarray(batch["picture"]) for batch in batches]
    np.testing.assert_allclose(pixels[0].transpose(0, 2, 3, 1), pixels[1], atol=1e-5, err_msg="the steps' agreement")


def test_parts_of_names_and_the_spread_of_sounds(tmp_path: Path) -> None:
    for speaker in ("ann", "bob"):
        for take in range(6):
            sound(tmp_path / "speech" / f"{take}_{speaker}.wav", 8000 if take % 2 else 22050, 0.5 + take / 10)
    config = tmp_path / "speech.yaml"
    new(tmp_path / "speech", config)
    text = config.read_text()
    assert "6 at 8000 Hz" in text
    assert "6 at 22050 Hz" in text
    assert "audio.fit: {seconds: 1}  # 0.5 to 1 s" in text
    plan, source = compile_plan(read_config(config))
    assert len(source) == 12
    assert str(plan.specs["mel"]).startswith("float32[band 64, frame 101]")
    assert "label.index: {classes: [ann, bob]}" in text


def test_lines_of_text_need_their_vocabulary_first(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("\n".join(CAPTIONS * 3) + "\n")
    config = tmp_path / "corpus.yaml"
    assert new(tmp_path / "corpus.txt", config)
    from pipelines.fit import learners

    for learner in learners(read_config(config)):
        learner.fit()
    batch = next(iter(pipelines.load(config, device="cpu")))
    assert batch["ids"].shape == (12, 16)
    assert (tmp_path / "corpus_ids.txt").read_text().startswith("<pad>\n<unk>\n")


def test_a_table_with_files_labels_texts_and_numbers(tmp_path: Path) -> None:
    rows = io.StringIO()
    table = csv.writer(rows)
    table.writerow(["id", "photo", "class name", "text", "2 weird"])
    for number in range(12):
        picture(tmp_path / f"pictures/{number}.jpg", (200 + number, 300))
        table.writerow([f"n{number}", f"pictures/{number}.jpg", "ab"[number % 2], CAPTIONS[number % 4], "yes no"])
    (tmp_path / "all.csv").write_text(rows.getvalue())
    config = tmp_path / "table.yaml"
    assert new(tmp_path / "all.csv", config)
    text = config.read_text()
    assert "files: [photo]" in text
    assert "Columns left out: id, 2 weird." in text
    assert "image.crop: {size: 128}" in text
    document = YAML(typ="safe").load(text)
    assert list(document["fields"]) == ["photo", "class_name", "text"]
    assert document["fields"]["class_name"]["from"] == "class name"
    assert [next(iter(step)) for step in document["fields"]["class_name"]["steps"]] == ["label.index"]
    assert document["fields"]["text"]["steps"][0] == "text.basic_english"


def test_any_column_can_become_a_field(tmp_path: Path) -> None:
    """Names of other scripts, of one spelling, or that a batch has already; arrays, and pictures held as bytes."""
    file = io.BytesIO()
    Image.new("RGB", (40, 30)).save(file, format="PNG")
    columns = {
        "名前": list("abcabcabcabc"),
        "年齢": list("xyxyxyxyxyxy"),
        "index": list(range(12)),
        "x_length": list(range(12)),
        "a b": [n / 2 for n in range(12)],
        "a_b": [n / 3 for n in range(12)],
        "vector": [[1.0, 2.0]] * 12,
        "shot": [file.getvalue()] * 12,
    }
    pq.write_table(pa.table(columns), tmp_path / "all.parquet")
    config = tmp_path / "all.yaml"
    new(tmp_path / "all.parquet", config)
    document = YAML(typ="safe").load(config.read_text())
    assert list(document["fields"]) == ["value", "value_2", "index_value", "x_length_value", "a_b", "a_b_2", "shot"]
    assert "Columns left out: vector." in config.read_text()
    assert pipelines.load(config, device="cpu").plan.specs["shot"].shape == (30, 40, 3)


def test_a_stray_table_and_parts_of_a_set_are_not_taken_for_more(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for number in range(4):
            picture(tmp_path / "data" / split / f"{number}.png")
    (tmp_path / "data/notes.csv").write_text("a,b\n1,2\n")
    new(tmp_path / "data", tmp_path / "data.yaml")
    text = (tmp_path / "data.yaml").read_text()
    assert "8 pictures" in text
    assert "1 .csv" in text
    assert "They lie in parts of a set: test 4, train 4. Below is train" in text
    assert [f"train/{n}.png" for n in range(4)] == keys(tmp_path / "data.yaml")
    assert "label" not in YAML(typ="safe").load(text)["fields"]
    (tmp_path / "data/notes.csv").write_text("shot,kind\n" + "".join(f"train/{n % 4}.png,k{n % 2}\n" for n in range(8)))
    new(tmp_path / "data", tmp_path / "data.yaml", overwrite=True)
    assert list(YAML(typ="safe").load((tmp_path / "data.yaml").read_text())["fields"]) == ["shot", "kind"]


def test_parts_of_a_set_have_classes_within(tmp_path: Path) -> None:
    for name in ("train/cat/a", "train/cat/b", "train/dog/c", "train/dog/d", "val/cat/e", "val/dog/f"):
        picture(tmp_path / f"data/{name}.png")
    new(tmp_path / "data", tmp_path / "data.yaml")
    assert len(keys(tmp_path / "data.yaml")) == 4
    assert "label.index: {classes: [cat, dog]}" in (tmp_path / "data.yaml").read_text()


def test_a_table_without_a_header_loses_no_row(tmp_path: Path) -> None:
    rows = [(n % 3 + 1, f"Item {n} of the news", f"What {n} has to say is said here.") for n in range(12)]
    with open(tmp_path / "news.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    config = tmp_path / "news.yaml"
    assert new(tmp_path / "news.csv", config)
    assert "Its first row is no header" in config.read_text()
    read = read_config(config)
    assert not read.faults
    assert len(open_source(read)) == 12
    assert [field.name for field in read.fields] == ["column1", "column2", "column3"]


def test_text_is_known_by_what_it_holds(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "train.en.gz", "wt") as file:
        file.write("a line of text\nand one more\n" * 3)
    assert new(tmp_path / "train.en.gz", tmp_path / "train.yaml")
    assert len(keys(tmp_path / "train.yaml")) == 6
    (tmp_path / "model.bin").write_bytes(b"\0\1\2\xff")
    with pytest.raises(UserError, match="expected a folder, a table"):
        new(tmp_path / "model.bin", tmp_path / "x.yaml")


def test_endings_and_names_of_any_case_and_kind(tmp_path: Path) -> None:
    (tmp_path / "A.TXT").write_text("one text\nand another\n")
    config = tmp_path / "line\nbreak.yaml"
    assert new(tmp_path / "A.TXT", config)
    assert not read_config(config).faults


def test_what_no_config_can_be_written_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it is empty"):
        new(tmp_path, tmp_path / "x.yaml")
    picture(tmp_path / "both/a.png")
    sound(tmp_path / "both/a.wav", 8000, 0.1)
    with pytest.raises(UserError, match=r"pictures and sounds \(1 \.png, 1 \.wav\); point to"):
        new(tmp_path / "both", tmp_path / "x.yaml")
    with pytest.raises(UserError, match="neither a folder nor a file"):
        new(tmp_path / "nowhere", tmp_path / "x.yaml")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/a.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"of 1 files none could be read; the first is a\.png"):
        new(tmp_path / "broken", tmp_path / "x.yaml")
    assert not list(tmp_path.glob("*x.yaml*"))
    (tmp_path / "mine.yaml").write_text("kept")
    with pytest.raises(UserError, match="is there"):
        new(tmp_path / "both", tmp_path / "mine.yaml")
    assert (tmp_path / "mine.yaml").read_text() == "kept"


def test_any_text_is_read_back() -> None:
    for text in (*AWKWARD, "true", "1e3", "", " x", "tab\tnul\0 \x7f\u2028", '\\"', "-", "a#b"):
        read = YAML(typ="safe").load(f"x: [{quoted(text)}, y]")["x"]
        assert read == [text.replace("${", "$${"), "y"]
