"""A config for data of one's own: looks at what is there and writes the steps that suit it, with the reasons."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.config import read_config
from pipelines.errors import ConfigError, RecordError, UserError
from pipelines.plan import compile_plan
from pipelines.report._evenly import evenly
from pipelines.report._facts import PictureFacts, SoundFacts
from pipelines.report._look import Files, is_text, look, training
from pipelines.report._look_table import MOST_WORDS, ROWS, Columns, few, field_name, media, words_of
from pipelines.sinks._files import replace_file
from pipelines.sources.lines import Lines

IMAGENET = "mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]"
LEARNT = "The vocabulary is learnt from the texts before the first run."
_PLAIN = re.compile(r"[A-Za-z][\w./-]*")
_WORDS_OF_YAML = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


@dataclass(frozen=True)
class Draft:
    """What a config is made of: comments on what is there, the line under `source`, and those under `fields`."""

    about: list[str]
    source: str
    fields: list[str]
    fits: bool = False
    """Whether a vocabulary must be learnt first."""


def new(path: Path, output: Path, overwrite: bool = False) -> bool:
    """Write a config for `path`; True where `pipelines fit` must learn a vocabulary first.

    Raises:
        UserError: there is nothing to make records of, or `output` is there and not to be replaced.
    """
    if output.exists() and not overwrite:
        raise UserError(f"{output} is there; give another name as --output, or --overwrite to replace it")
    draft = _draft(path, output)
    partial = output.with_name(f".{output.name}.check.yaml")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        replace_file(partial, _text(draft, output))
        read = read_config(partial)
        if read.faults:
            raise ConfigError(read.faults)
        if not draft.fits:  # else the plan lacks what is still to be learnt
            compile_plan(read)
        os.replace(partial, output)
    except ConfigError as error:
        reasons = "; ".join(fault.message for fault in error.faults)
        raise UserError(f"no config can be written for {path}: {reasons}") from error
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return draft.fits


def _draft(path: Path, output: Path) -> Draft:
    found = look(path)
    if isinstance(found, Path):
        return _of_lines(found, output) if is_text(found) else _of_table(found, Columns(found), output)
    if found.table is not None:
        with suppress(UserError):  # one that is no table is but one more file beside the others
            columns = Columns(found.table)
            if columns.files:
                return _of_table(found.table, columns, output)
    return _of_files(found, output)


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


def _text(draft: Draft, output: Path) -> str:
    name = _one_line(output.name)
    schema = _one_line(str(files("pipelines.config").joinpath("schema.json")))
    fit_first = f"pipelines fit {name}; " if draft.fits else ""
    lines = [
        *(f"# {line}" for line in draft.about),
        f"#   {fit_first}pipelines check {name}; pipelines run {name}",
        f"# yaml-language-server: $schema={schema}",
        "framework: torch  # or tensorflow, with the same numbers",
        "seed: 0  # order and chance are a function of this number, the epoch and the record",
        "source:",
        f"  {draft.source}",
        "fields:",
        *(f"  {line}" for line in draft.fields),
        "batch: {size: 32, shuffle: true}",
        "# a run stops when more than this share of the records fail; each is listed with the reason",
        "on_error: {at_most: 0.05}",
        "# uncommented, a run writes what the steps make, for jobs that read it many times",
        f"# output: {{format: parquet, path: {quoted(f'out/{output.stem}')}}}",
    ]
    return "\n".join(lines) + "\n"


def _of_files(found: Files, output: Path) -> Draft:
    facts = found.facts()
    if not facts:
        raise UserError(f"{found.root}: of {len(found.names)} files none could be read; the first is {found.names[0]}")
    kind = "pictures" if found.modality == "image" else "sounds"
    about = [f"{len(found.names):,} {kind} of {_one_line(found.root.name)}: {', '.join(found.endings)}."]
    if found.others:
        others = ", ".join(f"{number} {_one_line(ending)}" for ending, number in found.others.most_common(5))
        about.append(f"Left out, since they are no {kind}: {others}.")
    if splits := found.splits:
        told = ", ".join(f"{name} {number:,}" for name, number in splits.items())
        chosen = training(splits)
        below = f" Below is {chosen}; `files` names the others." if chosen else ""
        about.append(f"They lie in parts of a set: {told}.{below}")
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
    source = f"folder: {{path: {_relative(found.root, output)}, files: [{patterns}]{name}}}"
    return Draft(about, source, [*_media_field("file", facts), *label])


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
        yield f"    - image.resize: {{size: [{height}, {width}]}}  # what all {len(facts)} looked at have"
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


def _of_lines(path: Path, output: Path) -> Draft:
    lengths: list[int] = []
    opened = Lines.model_validate({"path": path.resolve()}).open()
    for place in evenly(len(opened), ROWS):
        with suppress(RecordError, OSError):  # a line that cannot be read fails its own record, in a run
            lengths.append(len(opened.read(place, ["text"])["text"].split()))
    about = [f"{len(opened):,} lines of {_one_line(path.name)}. No labels show in them.", LEARNT]
    source = f"lines: {{path: {_relative(path, output)}}}"
    return Draft(about, source, _text_field("ids", "text", lengths or [1], output), fits=True)


def _text_field(name: str, value: str, words: Sequence[int], output: Path) -> list[str]:
    short = int(np.ceil(np.quantile(words, 0.95)))
    length = int(np.ceil(short * 1.25 / 8) * 8) or 8  # punctuation becomes tokens too
    file = quoted(f"{output.stem}_{name}.txt")
    return [
        f"{quoted(name)}:",
        f"  from: {quoted(value)}",
        "  steps:",
        "    - text.basic_english",
        f"    - text.vocab: {{file: {file}, size: 20000, special: [<pad>, <unk>]}}  # id 0 is padding",
        f"    - text.truncate: {{length: {length}}}  # 95 % have {short} words or fewer, without punctuation",
        f"    - text.pad: {{length: {length}, value: 0}}",
    ]


def _of_table(path: Path, columns: Columns, output: Path) -> Draft:
    fields: list[str] = []
    left: list[str] = []
    taken: set[str] = set()
    fits = False
    for column, cells in columns.cells.items():
        name = field_name(column, taken)
        facts = media(cells, path.parent, column in columns.files)
        words = words_of(cells)
        made: list[str] = []
        if facts:
            made = _media_field(column, facts, name)
        elif column in columns.files or len(set(map(str, cells))) < 2:
            pass  # files of no known kind; or all the same, so that nothing can be learnt from it
        elif words and few(cells) and max(words) <= MOST_WORDS:
            made = _label(column, sorted(set(cells)), name)
        elif words and np.mean(words) >= 2:
            made, fits = _text_field(name, column, words, output), True
        elif all(isinstance(cell, (int, float, np.number)) for cell in cells):
            made = [f"{quoted(name)}:", f"  from: {quoted(column)}"]
        if made:
            fields += made
            taken.add(name)
        else:
            left.append(_one_line(column))
    if not fields:
        held = ", ".join(left)
        raise UserError(f"{path}: no column holds texts, numbers, labels, pictures, sounds or names of files: {held}")
    about = [f"{columns.records:,} rows of {_one_line(path.name)}."]
    about += [f"Columns left out: {', '.join(left)}."] if left else []
    about += [LEARNT] if fits else []
    named = f", columns: [{', '.join(columns.names)}], header: false" if columns.names else ""
    named += f", key: {quoted(columns.key)}" if columns.key else ""
    named += f", files: [{', '.join(map(quoted, columns.files))}]" if columns.files else ""
    if columns.names:
        about.append("Its first row is no header; call the columns what they are.")
    return Draft(about, f"manifest: {{path: {_relative(path, output)}{named}}}", fields, fits)


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
