"""The page of `pipelines show`: what stands on it is what the steps made; nothing of the data runs or is fetched."""

from __future__ import annotations

import html
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from browser import CHROMIUM, open_page
from PIL import Image

from pipelines import cli
from pipelines.errors import OutputError, UserError
from pipelines.report.show import show
from pipelines.samples import make_samples

HOSTILE = """</p><script>window.ran=1</script><img src="http://127.0.0.1:9/x" onerror="window.ran=1">"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    make_samples(folder)
    return folder


def written(folder: Path, **config: Any) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"framework": "torch", "batch": {"size": 4}} | config))
    return path


MIXED = {
    "picture": {
        "from": "picture",
        "steps": [
            {"image.decode": {"mode": "rgb"}},
            {"image.resize": {"size": [64, 64]}},
            {"image.rotate": {"degrees": [-15, 15]}},
            {"image.normalize": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]}},
        ],
    },
    "mel": {
        "from": "sound",
        "steps": [
            {"audio.decode": {"channels": "mono"}},
            {"audio.resample": {"rate_hz": 16000}},
            {"audio.fit": {"seconds": 0.5}},
            {"audio.gain": {"db": [-20, 0]}},
            {"audio.mel": {"n_fft": 400, "hop": 160, "bands": 40}},
            {"audio.decibels": {"floor": 1e-4}},
        ],
    },
    "caption": {
        "from": "caption",
        "steps": ["text.basic_english", {"text.vocab": {"file": "vocabulary.txt"}}, {"text.pad": {"length": 24}}],
    },
    "shape": {"from": "shape", "steps": [{"label.index": {"classes": ["circle", "square", "triangle", "star"]}}]},
}


@pytest.fixture(scope="module")
def mixed(made: Path) -> Path:
    source = {"manifest": {"path": "manifest.jsonl", "key": "id", "files": ["picture", "sound"]}}
    return written(made, source=source, fields=MIXED)


@pytest.fixture(scope="module")
def page(mixed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of all modalities, and its pictures beside it."""
    folder = tmp_path_factory.mktemp("page")
    found = show(mixed, records=3, output=folder / "page.html", png=folder / "png")
    assert (found.records, found.failed) == (3, 0)
    assert found.pictures == len(list((folder / "png").iterdir()))
    return folder / "page.html"


def test_the_page_says_what_of_how_many_it_shows_and_is_small(page: Path, mixed: Path) -> None:
    text = page.read_text()
    records = len((mixed.parent / "manifest.jsonl").read_text().splitlines())
    assert (
        f"3 of {records} records, a sample spread evenly over the set, on torch, with the draws of epoch 0 to 3" in text
    )
    assert f"<h2>Record {records - 1}:" in text  # the last one too
    assert len(text) < 5_000_000


def test_a_picture_is_the_files_own_and_a_normalized_one_is_mapped_back(page: Path, mixed: Path) -> None:
    record = json.loads((mixed.parent / "manifest.jsonl").read_text().splitlines()[0])
    with Image.open(mixed.parent / record["picture"]) as file:
        original = np.asarray(file.convert("RGB"))
    shown = np.asarray(Image.open(page.parent / "png" / "000000_picture_01_image.decode.png"))
    np.testing.assert_array_equal(shown, original)
    # four draws of the rotation, and the first of them through the normalization and back
    draws = [np.asarray(Image.open(page.parent / "png" / f"000000_picture_03_image.rotate_{n}.png")) for n in range(4)]
    assert len({draw.tobytes() for draw in draws}) == 4
    back = np.asarray(Image.open(page.parent / "png" / "000000_picture_04_image.normalize.png"))
    np.testing.assert_array_equal(back, draws[0])


def test_draws_tokens_and_classes_stand_on_the_page(page: Path, mixed: Path) -> None:
    text = page.read_text()
    first = json.loads((mixed.parent / "manifest.jsonl").read_text().splitlines()[0])
    words = (mixed.parent / "vocabulary.txt").read_text().splitlines()
    pieces = re.findall(r'<p class="pieces">(.*?)</p>', text)
    named = [re.findall(r"<span>(.*?)<small>(.*?)</small>", line) for line in pieces]
    ids = next(line for line in named if line and line[0][0] == words[int(line[0][1])])
    assert all(words[int(number)] == token for token, number in ids)
    assert [token for token, _ in ids] == re.findall(r"\w+|[^\w\s]", first["caption"].lower())
    assert f"class {['circle', 'square', 'triangle', 'star'].index(first['shape'])}: {first['shape']}" in text
    assert "degrees=[-15.0, 15.0]" in text
    players = text.count("<audio")
    assert players == 3 * (3 + 4)  # three records: decoded, resampled, fitted, and four draws of the gain
    padding = 24 - len(ids)
    assert f"<span>{html.escape(words[0])} × {padding}<small>0</small></span>" in text


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_chromium_opens_the_page_offline(page: Path) -> None:
    opened = open_page(page)
    assert opened.title == "config.yaml"
    assert opened.images
    assert all(done and wide > 0 and high > 0 for done, wide, high in opened.images)
    assert len(opened.sounds) == 21
    assert all(error is None and seconds for seconds, error in opened.sounds), opened.sounds
    assert opened.requests == [page.as_uri()]
    assert (opened.scripts, opened.ran, opened.complaints) == (0, "undefined", [])
    assert opened.wide <= 0  # nothing sticks out to the side


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    rows = [{"id": f"{HOSTILE}{n}", "words": HOSTILE, "name": "<b>$x$</b>"} for n in range(3)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = {
        "words": {"from": "words", "steps": ["text.whitespace"]},
        "name": {"from": "name", "steps": [{"label.index": {"classes": ["<b>$x$</b>", "<i>"]}}]},
    }
    return written(tmp_path, source={"manifest": {"path": "rows.jsonl", "key": "id"}}, fields=fields)


def test_text_of_the_data_never_becomes_markup(hostile: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    show(hostile, output=page, png=tmp_path / "png")
    text = page.read_text()
    assert "<script" not in text
    assert "<b>" not in text
    assert 'onerror="' not in text
    assert text.count("&lt;script&gt;window.ran=1") > 6
    assert not [png.name for png in (tmp_path / "png").iterdir() if re.search(r"[^A-Za-z0-9_.]", png.name)]
    if CHROMIUM is not None:
        opened = open_page(page)
        assert (opened.scripts, opened.ran, opened.requests) == (0, "undefined", [page.as_uri()])
        assert f"Record 0: {HOSTILE}0" in opened.text


def test_a_record_that_fails_shows_where_and_why(tmp_path: Path) -> None:
    (tmp_path / "sounds").mkdir()
    soundfile.write(tmp_path / "sounds" / "a.wav", np.zeros(800), 8000)
    (tmp_path / "sounds" / "b.wav").write_bytes(b"RIFF, but no more")
    steps = [{"audio.decode": {"channels": "mono"}}]
    source = {"folder": {"path": "sounds", "files": "*.wav"}}
    config = written(tmp_path, source=source, fields={"wave": {"from": "file", "steps": steps}})
    found = show(config, output=tmp_path / "page.html")
    assert (found.records, found.of, found.failed) == (2, 2, 1)
    text = (tmp_path / "page.html").read_text()
    assert "all 2 records" in text
    assert "fails: wave: audio.decode:" in text


def test_boxes_and_a_mask_are_shown_in_their_picture(tmp_path: Path) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[4:12, 5:15] = 1
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(mask).save(tmp_path / "m.png")
    row = {"id": "a", "picture": "a.png", "mask": "m.png", "box": [[5, 4, 15, 12]]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    steps = [{"image.decode": {"mode": "rgb"}}, {"image.flip": {"probability": 1.0}}]
    fields = {
        "picture": {"from": "picture", "steps": steps},
        "mask": {"from": "mask", "steps": [{"image.decode": {"mode": "classes"}}], "follows": "picture"},
        "box": {"from": "box", "steps": ["label.boxes"], "follows": "picture"},
    }
    source = {"manifest": {"path": "rows.jsonl", "key": "id", "files": ["picture", "mask"]}}
    show(written(tmp_path, source=source, fields=fields), output=tmp_path / "page.html", png=tmp_path / "png")
    drawn = np.asarray(Image.open(next((tmp_path / "png").glob("000000_box_*.png"))))
    rows, columns = np.nonzero(drawn.any(-1))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 11, 15, 24)  # mirrored, as the picture is
    masks = sorted((tmp_path / "png").glob("000000_mask_*.png"))
    flipped = np.asarray(Image.open(masks[-1])).any(-1)
    np.testing.assert_array_equal(flipped, mask[:, ::-1] > 0)


def test_keys_are_chosen_and_mistakes_are_told(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = {"manifest": {"path": str(made / "manifest.jsonl"), "key": "id"}}
    config = written(tmp_path, source=source, fields={"shape": {"from": "shape"}})
    keys = [json.loads(line)["id"] for line in (made / "manifest.jsonl").read_text().splitlines()]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pipelines", "show", str(config), "--keys", keys[5], "--keys", keys[2]])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    assert f"wrote config_show.html: 2 of {len(keys)} records" in capsys.readouterr().out
    found = re.findall(r"<h2>Record (\d+)", (tmp_path / "config_show.html").read_text())
    assert found == ["5", "2"]
    with pytest.raises(UserError, match=f"no record has the key '{keys[0]}x'; did you mean '{keys[0]}'"):
        show(config, keys=[f"{keys[0]}x"], output=tmp_path / "a.html")
    (tmp_path / "file").write_text("")
    for places in ({"output": tmp_path / "file" / "a.html"}, {"output": tmp_path}, {"png": tmp_path / "file"}):
        with pytest.raises(OutputError, match=r"--output|name a file|names a folder"):
            show(config, **{"output": tmp_path / "a.html", **places})
    assert not (tmp_path / "a.html").exists()


def test_both_frameworks_and_their_difference(mixed: Path, tmp_path: Path) -> None:
    # with a cache, each step is shown all the same
    found = show(mixed, ("cache={}",), both=True, records=1, output=tmp_path / "page.html", png=tmp_path / "png")
    text = (tmp_path / "page.html").read_text()
    assert (found.failed, "on torch and tensorflow" in text) == (0, True)
    assert "the same on both frameworks" in text  # the caption
    a, b = (np.asarray(Image.open(tmp_path / "png" / f"000000_picture_01_image.decode_{n}.png")) for n in (0, 1))
    np.testing.assert_array_equal(a, b)
    gaps = [float(one) for one in re.findall(r"difference: at most ([0-9.e+-]+) dB", text)]
    assert all(0 < gap < 1e-3 for gap in gaps)
    assert text.count("difference: ") + text.count("the same on both") == 5 + 7 + 4 + 2  # each place between two steps
