"""The data set at a glance: counts that are known, what is twice, broken or unknown, and hostile text."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image
from rich.console import Console

from pipelines.config import read_config
from pipelines.errors import UserError
from pipelines.plan import open_source
from pipelines.report._evenly import evenly
from pipelines.report._facts import PictureFacts, SoundFacts, facts_of
from pipelines.report._stats_view import _bars, stats_page, stats_tables
from pipelines.report.stats import Statistics, quarantine_reasons, statistics


def config(folder: Path, source: dict[str, Any], fields: dict[str, Any], **more: Any) -> Path:
    path = folder / "data.yaml"
    path.write_text(json.dumps({"framework": "torch", "source": source, "fields": fields, "batch": {"size": 2}} | more))
    return path


def looked_at(path: Path, **options: int) -> Statistics:
    read = read_config(path)
    return statistics(read, open_source(read), **options)


def sound(rate: int, seconds: float, channels: int = 1, form: str = "WAV") -> bytes:
    rng = np.random.default_rng(round(seconds * 1000))
    file = io.BytesIO()
    soundfile.write(file, 0.1 * rng.standard_normal((round(rate * seconds), channels)), rate, format=form)
    return file.getvalue()


def picture(width: int, height: int, mode: str = "RGB", form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (width, height), 7).save(file, format=form)
    return file.getvalue()


def printed(found: Statistics) -> str:
    file = io.StringIO()
    Console(file=file, width=160).print(stats_tables(found))
    return file.getvalue()


@pytest.fixture
def sounds(tmp_path: Path) -> Statistics:
    """Two classes of sounds, one file twice, one cut short and one that is no sound; a run has quarantined one."""
    held = {
        "dog/a.wav": sound(8000, 0.5),
        "dog/b.wav": sound(8000, 1.5),
        "dog/copy.wav": sound(8000, 0.5),
        "cat/c.wav": sound(16000, 2.0, 2, "FLAC"),
        "cat/short.wav": sound(8000, 1.0)[:500],
        "cat/note.wav": b"just a note, no sound",
    }
    for name, content in held.items():
        (tmp_path / "sounds" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sounds" / name).write_bytes(content)
    (tmp_path / "out").mkdir()
    line = json.dumps({"key": "cat/note.wav", "step": "audio.decode", "reason": "no sound"})
    (tmp_path / "out/quarantine.jsonl").write_text(line + "\n")
    source = {"folder": {"path": "sounds", "files": "**/*.wav"}}
    output = {"format": "npz", "path": "out"}
    fields = {"wave": {"from": "file", "steps": ["audio.decode"]}, "label": {"from": "folder"}}
    return looked_at(config(tmp_path, source, fields, output=output))


def test_sounds_are_counted_as_they_were_made(sounds: Statistics) -> None:
    told = sounds.as_dict()
    file = told["columns"]["file"]
    assert told["records"] == told["looked_at"] == 6
    assert file["rates_hz"] == {"8000": 3, "16000": 1}
    assert file["channels"] == {"1": 3, "2": 1}
    assert file["formats"] == {"WAV PCM_16": 3, "FLAC PCM_16": 1}
    assert file["seconds"] == {"min": 0.5, "median": 1.0, "mean": 1.125, "max": 2.0}
    assert file["other_files"] == 1
    assert file["repeated"] == 1
    assert told["columns"]["folder"]["classes"] == {"cat": 3, "dog": 3}
    assert "path" not in told["columns"], "it is the key"
    assert sorted(told["failures"].values()) == [1, 1]
    assert sounds.failures["file: neither a picture nor a sound"] == ["cat/note.wav"]
    assert told["quarantined"] == {"audio.decode: no sound": 1}


def test_the_table_names_what_is_twice_and_what_is_broken(sounds: Statistics) -> None:
    table = printed(sounds)
    assert re.search(r"dog/a\.wav, dog/copy\.wav +2", table)
    assert re.search(r"file: .*cat/short\.wav +1", table)
    assert re.search(r"audio\.decode: no sound +1", table)


def test_pictures_and_what_is_none() -> None:
    assert facts_of(picture(30, 20)) == PictureFacts("PNG", 30, 20, "RGB")
    assert facts_of(picture(5, 9, "L", "JPEG")) == PictureFacts("JPEG", 5, 9, "L")
    assert facts_of(sound(22050, 0.1, 2)) == SoundFacts("WAV PCM_16", 22050, 2, 0.1)
    assert facts_of(b"{}") is None


def test_tokens_and_the_share_of_unknown_ones(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("<unk>\na\nb\n")
    (tmp_path / "texts.txt").write_text("a b\na x y\nb\n<script>alert(1)</script>\n")
    steps = ["text.whitespace", {"text.vocab": {"file": "words.txt"}}]
    path = config(tmp_path, {"lines": {"path": "texts.txt"}}, {"ids": {"from": "text", "steps": steps}})
    found = looked_at(path)
    (tokens,) = found.tokens
    assert tokens.lengths == [2, 3, 1, 1]
    assert tokens.unknown == pytest.approx(3 / 7)
    (tmp_path / "words.txt").unlink()
    untold = looked_at(path)
    assert not untold.tokens
    assert "words.txt" in untold.untold


def test_a_sample_says_so_and_text_is_never_markup(tmp_path: Path) -> None:
    (tmp_path / "table.jsonl").write_text(
        "".join(json.dumps({"label": f"<script>{n % 2}</script> $x$ [red]", "n": n / 2}) + "\n" for n in range(1000))
    )
    path = config(tmp_path, {"manifest": {"path": "table.jsonl"}}, {"n": {"from": "n"}})
    found = looked_at(path, most=100)
    assert "100 of 1,000 records, spread evenly" in printed(found)
    assert "[red]" in printed(found)
    stats_page(found, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;0&lt;/script&gt; $x$ [red]" in page
    assert page.count("data:image/png;base64,") == 2


def test_fractions_and_what_is_not_finite_are_no_labels(tmp_path: Path) -> None:
    rows = [{"score": score, "one": 1, "size": [1.5, 2.0]} for score in (0.0, 0.5, 0.25, 0.75, float("inf"), 0.0)]
    (tmp_path / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = looked_at(config(tmp_path, {"manifest": {"path": "table.jsonl"}}, {"one": {"from": "one"}}))
    score = found.as_dict()["columns"]["score"]
    assert score["numbers"] == {"min": 0.0, "median": 0.25, "mean": 0.3, "max": 0.75}
    assert score["not_finite"] == 1
    assert "classes" not in score
    assert "always" not in score
    assert found.as_dict()["columns"]["one"]["always"] == "1"
    json.loads(json.dumps(found.as_dict(), allow_nan=False))
    stats_page(found, tmp_path / "page.html")


def test_texts_are_counted_whatever_else_a_record_has(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("<unk>\na\n")
    (tmp_path / "a.png").write_bytes(b"broken")
    rows = [{"text": "a b c"[: 1 + 2 * (n % 3)], "file": "a.png"} for n in range(6)]
    (tmp_path / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = {
        "picture": {"from": "file", "steps": ["image.decode"]},
        "ids": {"from": "text", "steps": ["text.whitespace", {"text.vocab": {"file": "words.txt"}}]},
    }
    found = looked_at(config(tmp_path, {"manifest": {"path": "table.jsonl", "files": ["file"]}}, fields))
    assert [(one.asked, one.lengths) for one in found.tokens] == [(6, [1, 2, 3] * 2)]


def test_long_classes_of_one_beginning_stay_apart(tmp_path: Path) -> None:
    classes = Counter({"x" * 40 + "a": 3, "x" * 40 + "b": 5})
    (axes,) = _bars(classes).axes
    assert sorted(patch.get_width() for patch in axes.patches) == [3, 5]
    assert len({patch.get_y() for patch in axes.patches}) == 2


def test_a_damaged_list_of_a_run_is_told(tmp_path: Path) -> None:
    assert quarantine_reasons(tmp_path) == {}
    (tmp_path / "quarantine.jsonl").write_text("{no json\n")
    with pytest.raises(UserError, match="expected a list that a run has written"):
        quarantine_reasons(tmp_path)


def test_evenly_takes_the_ends() -> None:
    assert evenly(5, 10) == [0, 1, 2, 3, 4]
    assert evenly(1000, 3) == [0, 500, 999]
    assert evenly(1000, 1) == [0]
    assert evenly(0, 3) == []
    assert len(set(evenly(1_000_000, 10_000))) == 10_000
