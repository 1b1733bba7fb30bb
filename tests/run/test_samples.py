"""The sample set: the same bytes each time, what it says it is, learnable, and never over a user's files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from pipelines.errors import OutputError
from pipelines.samples import COLOURS, GROUNDS, RATES_HZ, SHAPES, SOUND_CLASSES, make_samples


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    make_samples(folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def test_the_same_seed_gives_the_same_bytes_in_another_process(made: Path, tmp_path: Path) -> None:
    program = (
        f"from pathlib import Path; from pipelines.samples import make_samples; make_samples(Path({str(tmp_path)!r}))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert contents(tmp_path) == contents(made)


def test_another_seed_gives_other_records(made: Path, tmp_path: Path) -> None:
    counts = make_samples(tmp_path, seed=1)
    other = contents(tmp_path)
    mine = contents(made)
    same = [name for name in other if mine.get(name) == other[name]]
    assert set(same) <= {"vocabulary.txt"}
    assert counts == {"records": 240, "sounds": 240, "pictures": 240}


def test_the_manifest_joins_every_file_once(made: Path) -> None:
    found = records(made)
    assert len({record["id"] for record in found}) == len(found) == 240
    named = [record[kind] for record in found for kind in ("picture", "sound")]
    on_disk = [name for name in contents(made) if name.startswith(("pictures/", "sounds/"))]
    assert sorted(named) == on_disk
    assert (made / "captions.txt").read_text().splitlines() == [record["caption"] for record in found]
    for record in found:
        assert Path(record["picture"]).parent.name == record["shape"]
        assert Path(record["sound"]).parent.name == record["sound_class"]
        assert record["shape"] in record["caption"]
        assert record["colour"] in record["caption"]
        assert record["sound_class"] in record["caption"]


def test_classes_are_balanced_and_independent(made: Path) -> None:
    pairs = [(record["shape"], record["sound_class"]) for record in records(made)]
    counts = {pair: pairs.count(pair) for pair in set(pairs)}
    assert counts == {(shape, sound): 15 for shape in SHAPES for sound in SOUND_CLASSES}


def test_the_vocabulary_holds_every_word(made: Path) -> None:
    words = (made / "vocabulary.txt").read_text().splitlines()
    assert words[:2] == ["<pad>", "<unk>"]
    assert len(set(words)) == len(words)
    used = {word for record in records(made) for word in record["caption"].replace(",", " ,").split()}
    assert used == set(words[2:])


def test_pictures_show_what_the_labels_say(made: Path) -> None:
    for record in records(made):
        with Image.open(made / record["picture"]) as picture:
            assert picture.mode == "RGB"
            levels = np.asarray(picture, np.float64)
        assert all(64 <= size <= 128 for size in levels.shape[:2])
        # the colour nearest to each pixel, of the ground's and the shapes': the label's is there, no other is
        palette = {**COLOURS, **GROUNDS}
        distance = np.stack([np.abs(levels - level).sum(-1) for level in palette.values()])
        near = distance.min(0) < 60  # grain moves a level by up to 8 of 255 each, JPEG by a little more
        share = {name: np.mean((distance.argmin(0) == i) & near) for i, name in enumerate(palette)}
        seen = max(COLOURS, key=lambda name: share[name])
        assert seen == record["colour"]
        assert share[seen] > 0.01


def test_sounds_can_be_told_apart_by_their_spectrum(made: Path) -> None:
    right = 0
    found = records(made)
    for record in found:
        wave, rate_hz = soundfile.read(made / record["sound"])
        assert rate_hz in RATES_HZ
        assert 0.6 <= len(wave) / rate_hz <= 1.2
        assert 0.04 < np.abs(wave).max() <= 0.6
        # by hand, what any classifier finds: a tone is one line, a chord three that stay, noise is flat
        frame = rate_hz // 20
        pieces = [wave[i : i + frame] for i in range(frame, len(wave) - 2 * frame, frame)]
        power = np.abs(np.fft.rfft(np.stack(pieces) * np.hanning(frame), 4 * frame)) ** 2
        peaks_hz = np.maximum(power.argmax(1), 1) * rate_hz / (4 * frame)
        octaves = np.log2(peaks_hz.max() / peaks_hz.min())
        flat = np.median(power.max(1) / power.sum(1)) < 0.1
        whole = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
        inner = whole[1:-1]
        lines = np.sum((inner > whole[:-2]) & (inner >= whole[2:]) & (inner > 0.5 * whole.max()))
        if octaves < 0.8 and lines in (1, 3):  # a sweep runs over two octaves
            guess = "tone" if lines == 1 else "chord"
        elif flat:
            guess = "noise"
        else:
            guess = "sweep"
        right += guess == record["sound_class"]
    assert right == len(found)


def test_a_second_call_writes_the_same_and_repairs_nothing_it_does_not_own(tmp_path: Path) -> None:
    make_samples(tmp_path)
    before = contents(tmp_path)
    (tmp_path / "sounds" / "tone" / "0000.wav").unlink()
    make_samples(tmp_path)
    assert contents(tmp_path) == before
    make_samples(tmp_path, seed=3)  # its own, unchanged files may be replaced
    assert contents(tmp_path) != before
    changed = tmp_path / "manifest.jsonl"
    changed.write_text("edited by the user\n")
    before = contents(tmp_path)
    with pytest.raises(OutputError, match=r"manifest\.jsonl is there already"):
        make_samples(tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["manifest.jsonl", "pictures/circle/0000.png", "samples.json"])
def test_a_foreign_file_is_never_replaced(tmp_path: Path, name: str) -> None:
    foreign = tmp_path / name
    foreign.parent.mkdir(parents=True, exist_ok=True)
    foreign.write_text("[1, 2]")
    with pytest.raises(OutputError, match="not a sample file"):
        make_samples(tmp_path)
    assert contents(tmp_path) == {name: b"[1, 2]"}


def test_other_files_beside_the_samples_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    make_samples(tmp_path)
    make_samples(tmp_path, seed=1)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_place_that_cannot_be_written_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write the samples"):
        make_samples(tmp_path / "file")
