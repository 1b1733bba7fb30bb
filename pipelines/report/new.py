"""A config for data of one's own: looks at what is there and writes the steps that suit it, with the reasons."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.config import read_config
from pipelines.errors import RecordError, UserError
from pipelines.report._facts import PictureFacts, SoundFacts
from pipelines.report._look import MOST_CLASSES, Files, look
from pipelines.report.stats import evenly
from pipelines.sinks._files import replace_file
from pipelines.sources.lines import Lines
from pipelines.sources.manifest import Manifest

ROWS = 500
MOST_WORDS = 4
"""Of the name of a class."""
IMAGENET = "mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]"
_FIT = "The vocabulary is learnt first: pipelines fit {0}"
_PLAIN = re.compile(r"[A-Za-z][\w./-]*")
_WORDS_OF_YAML = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


def new(path: Path, output: Path, overwrite: bool = False) -> bool:
    """Write a config for `path`; True where `pipelines fit` must learn a vocabulary first.

    Raises:
        UserError: there is nothing to make records of, or `output` is there and not to be replaced.
    """
    if output.exists() and not overwrite:
        raise UserError(f"{output} is there; give another name as --output, or --overwrite to replace it")
    found = look(path)
    text = _text(found, output)
    partial = output.with_name(f".{output.name}.check.yaml")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        replace_file(partial, text)
        faults = read_config(partial).faults
        if faults:
            raise UserError(f"no config can be written for {path}: {faults[0].message}")
        os.replace(partial, output)
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return _FIT.format(output.name) in text


def quoted(value: str) -> str:
    """A text as YAML reads it back, in a flow or a block, with `${` kept as it is."""
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS_OF_YAML:
        return value
    escaped = "".join(_escape(letter) for letter in value.replace("${", "$${"))
    return f'"{escaped}"'


def _escape(letter: str) -> str:
    code = ord(letter)
    if letter in '"\\':
        return f"\\{letter}"
    if code < 0x20 or 0x7F <= code < 0xA0 or code in (0x2028, 0x2029, 0xFEFF):
        return f"\\u{code:04x}"
    if 0xD800 <= code < 0xE000:
        raise UserError("a name that is not UTF-8 cannot stand in a config; rename it first")
    return letter


def _text(found: Files | Path, output: Path) -> str:
    if isinstance(found, Files):
        about, source, fields = _of_files(found, output)
    elif found.name.removesuffix(".gz").endswith(".txt"):
        about, source, fields = _of_lines(found, output)
    else:
        about, source, fields = _of_table(found, output)
    lines = [
        *(f"# {line}" for line in about),
        f"#   pipelines check {output.name}; pipelines run {output.name}",
        "framework: torch  # or tensorflow, with the same numbers",
        "seed: 0  # order and chance are a function of this number, the epoch and the record",
        "source:",
        *(f"  {line}" for line in source),
        "fields:",
        *(f"  {line}" for line in fields),
        "batch: {size: 32, shuffle: true}",
        "# a run stops when more than this share of the records fail; each is listed with the reason",
        "on_error: {at_most: 0.05}",
        "# uncommented, a run writes what the steps make, for jobs that read it many times",
        f"# output: {{format: parquet, path: {quoted(f'out/{output.stem}')}}}",
    ]
    return "\n".join(lines) + "\n"


Parts = tuple[list[str], list[str], list[str]]


def _of_files(found: Files, output: Path) -> Parts:
    facts = found.facts()
    if not facts:
        raise UserError(f"{found.root}: of {len(found.names)} files none could be read; the first is {found.names[0]}")
    kind = "pictures" if found.modality == "image" else "sounds"
    about = [f"{len(found.names):,} {kind} of {_one_line(found.root.name)}: {', '.join(found.endings)}."]
    if found.others:
        others = ", ".join(f"{count} {_one_line(ending)}" for ending, count in found.others.most_common(5))
        about.append(f"Left out, since they are no {kind}: {others}.")
    name, label = "", []
    if classes := found.folders:
        about.append(f"{len(classes)} classes, by the folder that a file is in.")
        label = _label("folder", classes)
    elif parts := found.name_parts():
        pattern, place, classes = parts
        about.append(f"{len(classes)} classes, by part {place + 1} of the file's name; call the parts what they are.")
        name = f", name: {quoted(pattern)}"
        label = _label(f"name.part{place + 1}", classes)
    else:
        about.append("No labels show in folders or names.")
    patterns = ", ".join(map(quoted, found.patterns))
    source = [f"folder: {{path: {_relative(found.root, output)}, files: [{patterns}]{name}}}"]
    return about, source, [*_media_field("file", facts), *label]


def _media_field(value: str, facts: Sequence[Any], name: str | None = None) -> list[str]:
    if isinstance(facts[0], PictureFacts):
        return [f"{name or 'picture'}:", f"  from: {quoted(value)}", "  steps:", *_picture_steps(facts)]
    return [f"{name or 'mel'}:", f"  from: {quoted(value)}", "  steps:", *_sound_steps(facts)]


def _picture_steps(facts: Sequence[PictureFacts]) -> Iterator[str]:
    sizes = {(one.width, one.height) for one in facts}
    short = int(np.median([min(one.width, one.height) for one in facts]))
    mode = "gray" if all(one.mode in ("L", "1") for one in facts) else "rgb"
    modes = ", ".join(f"{count} {mode}" for mode, count in Counter(one.mode for one in facts).most_common())
    yield f"    - image.decode: {{mode: {mode}}}  # of those looked at: {modes}"
    width, height = facts[0].width, facts[0].height
    if len(sizes) == 1 and max(width, height) <= 256:
        yield f"    # all are {width} x {height}, so nothing is scaled or cut"
    else:
        side = max(side for side in (32, 64, 128, 224) if side <= max(short, 32))
        yield f"    - image.resize: {{size: {side * 8 // 7}}}  # the short side; the median is {short} pixels"
        yield f"    - image.crop: {{size: {side}}}"
    yield "    # - image.flip: {direction: horizontal, probability: 0.5}  # for training, where mirrored ones are alike"
    if mode == "rgb":
        yield f"    - image.normalize: {{{IMAGENET}}}  # ImageNet's"
    else:
        yield "    - image.normalize: {mean: [0.5], std: [0.5]}"


def _sound_steps(facts: Sequence[SoundFacts]) -> Iterator[str]:
    rates = Counter(one.rate_hz for one in facts)
    seconds = [one.seconds for one in facts]
    rate = next(iter(rates)) if len(rates) == 1 else 16000
    told = ", ".join(f"{count} at {rate} Hz" for rate, count in rates.most_common(4))
    long = max(0.1, float(np.ceil(np.quantile(seconds, 0.95) * 10) / 10))
    channels = ", ".join(f"{count} of {n}" for n, count in Counter(one.channels for one in facts).most_common(4))
    yield f"    - audio.decode: {{channels: mono}}  # channels of those looked at: {channels}"
    yield f"    - audio.resample: {{rate_hz: {rate}}}  # {told}"
    yield f"    - audio.fit: {{seconds: {long:g}}}  # {min(seconds):.3g} to {max(seconds):.3g} s; 95 % are no longer"
    n_fft, hop = max(16, round(rate * 0.025)), max(8, round(rate * 0.010))
    yield f"    - audio.mel: {{n_fft: {n_fft}, hop: {hop}, bands: {64 if rate >= 16000 else 40}}}  # 25 ms every 10 ms"
    yield "    - audio.decibels: {floor: 1.0e-6}"


def _of_lines(path: Path, output: Path) -> Parts:
    lengths: list[int] = []
    source = f"lines: {{path: {_relative(path, output)}}}"
    opened = Lines.model_validate({"path": path.resolve()}).open()
    for place in evenly(len(opened), ROWS):
        with suppress(RecordError, OSError):  # a line that cannot be read fails its own record, in a run
            lengths.append(len(opened.read(place, ["text"])["text"].split()))
    about = [f"{len(opened):,} lines of {_one_line(path.name)}. No labels show in them.", _FIT.format(output.name)]
    return about, [source], _text_field("ids", "text", lengths or [1], output)


def _text_field(name: str, value: str, words: Sequence[int], output: Path) -> list[str]:
    length = int(np.ceil(np.quantile(words, 0.95) * 1.25 / 8) * 8) or 8  # punctuation becomes tokens too
    file = quoted(f"{output.stem}_{name}.txt")
    return [
        f"{quoted(name)}:",
        f"  from: {quoted(value)}",
        "  steps:",
        "    - text.basic_english",
        f"    - text.vocab: {{file: {file}, size: 20000, special: [<pad>, <unk>]}}  # id 0 is padding",
        f"    - text.truncate: {{length: {length}}}  # {min(words)} to {max(words)} words a text",
        f"    - text.pad: {{length: {length}, value: 0}}",
    ]


def _of_table(path: Path, output: Path) -> Parts:
    opened = Manifest.model_validate({"path": path.resolve()}).open()
    rows: list[dict[str, Any]] = []
    for place in evenly(len(opened), ROWS):
        with suppress(RecordError, OSError):  # a row that cannot be read fails its own record, in a run
            rows.append(opened.read(place, list(opened.values)))
    if not rows:
        raise UserError(f"{path} has no row that can be read")
    columns = {name: [row[name] for row in rows if row[name] not in (None, "")] for name in opened.values}
    files = [name for name, cells in columns.items() if _name_files(cells, path.parent)]
    fields: list[str] = []
    used: list[str] = []
    texts = False
    for name, cells in columns.items():
        made = _table_field(name, cells, path, name in files, output)
        if made:
            fields += made
            used.append(name)
            texts = texts or any("text.vocab" in line for line in made)
    if not fields:
        raise UserError(f"{path}: no column holds texts, numbers, labels or names of files: {', '.join(columns)}")
    about = [f"{len(opened):,} rows of {_one_line(path.name)}."]
    if left := [_one_line(name) for name in columns if name not in used]:
        about.append(f"Columns left out: {', '.join(left)}.")
    if texts:
        about.append(_FIT.format(output.name))
    named = f", files: [{', '.join(map(quoted, files))}]" if files else ""
    return about, [f"manifest: {{path: {_relative(path, output)}{named}}}"], fields


def _table_field(name: str, cells: list[Any], path: Path, is_file: bool, output: Path) -> list[str]:
    if not cells:
        return []
    field = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "value"
    field = field if field[0].isalpha() else f"value_{field}"
    if is_file:
        chosen = [cells[place] for place in evenly(len(cells), 100)]
        for modality in ("image", "audio"):
            if facts := Files(path.parent, tuple(chosen), modality, Counter()).facts():
                return _media_field(name, facts, field)
        return []
    if len(set(map(str, cells))) == 1:  # nothing can be learnt from it
        return []
    if all(isinstance(cell, str) for cell in cells):
        classes = sorted(set(cells))
        words = [len(cell.split()) for cell in cells]
        if len(classes) <= min(MOST_CLASSES, len(cells) // 3) and max(words) <= MOST_WORDS:
            return _label(name, classes, field)
        return _text_field(field, name, words, output) if np.mean(words) >= 2 else []
    if all(isinstance(cell, (int, float, np.number)) for cell in cells):
        return [f"{quoted(field)}:", f"  from: {quoted(name)}"]
    return []


def _name_files(cells: list[Any], root: Path) -> bool:
    some = [cells[place] for place in evenly(len(cells), 20)]
    return bool(some) and all(isinstance(cell, str) and len(cell) < 1000 and (root / cell).is_file() for cell in some)


def _label(value: str, classes: Sequence[str], name: str = "label") -> list[str]:
    shown = ", ".join(f'"{one}"' if one.isdigit() else quoted(one) for one in classes)
    return [
        f"{quoted(name)}:",
        f"  from: {quoted(value)}",
        "  steps:",
        f"    - label.index: {{classes: [{shown}]}}",
    ]


def _relative(path: Path, output: Path) -> str:
    return quoted(os.path.relpath(path.resolve(), output.parent.resolve()).replace(os.sep, "/"))


def _one_line(text: str) -> str:
    """A name inside a comment."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
