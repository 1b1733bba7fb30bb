"""What lies in a folder or a table that a config is to be written for, as far as it shows without decoding."""

from __future__ import annotations

import codecs
import gzip
import os
import zlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from pipelines.errors import RecordError, UserError
from pipelines.report._evenly import evenly
from pipelines.report._facts import PictureFacts, SoundFacts, picture_facts, sound_facts
from pipelines.sources._files import read_file
from pipelines.sources._glob import walk
from pipelines.sources._rows import ENDINGS

PICTURES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")
SOUNDS = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")
TEXTS = (".txt",)
MOST_FILES = 300
"""Files that are looked at."""
SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing", "dev", "eval"}
"""Names of folders that are parts of a set and no classes."""
MOST_CLASSES = 100
HEAD = 1 << 16

Fact = TypeVar("Fact")


@dataclass(frozen=True)
class Files:
    """The files of one modality below a folder, by their names, in order; `others` counts the rest by ending."""

    root: Path
    names: tuple[str, ...]
    modality: str
    others: Counter[str]
    table: Path | None = None
    """The one table beside them, which may name them."""

    @property
    def endings(self) -> list[str]:
        """The endings as written, most frequent first."""
        return [ending for ending, _ in Counter(PurePosixPath(name).suffix for name in self.names).most_common()]

    @property
    def patterns(self) -> list[str]:
        """What the source is to match: within the training part, where the files lie in parts of a set."""
        parts, inner = self.splits, self.names
        chosen = training(parts)
        if chosen:
            inner = tuple(name.split("/", 1)[1] for name in self.names if name.startswith(f"{chosen}/"))
        deep = "**/" if any("/" in name for name in inner) else ""
        return [f"{chosen}/{deep}*{ending}" if chosen else f"{deep}*{ending}" for ending in self.endings]

    @property
    def folders(self) -> list[str]:
        """The classes, where each file lies in a folder named after its own and the folders repeat; else nothing."""
        parents = {PurePosixPath(name).parent.name for name in self.names}
        few = 1 < len(parents) <= min(MOST_CLASSES, len(self.names) // 2)
        return sorted(parents) if few and "" not in parents and not parents & set(self.splits) else []

    @property
    def splits(self) -> dict[str, int]:
        """The folders at the top and how many files each holds, where these are parts of a set: train, test .."""
        tops = Counter(name.split("/")[0] if "/" in name else "" for name in self.names)
        return dict(sorted(tops.items())) if {top.lower() for top in tops} <= SPLITS else {}

    def facts(self) -> list[PictureFacts] | list[SoundFacts]:
        """What up to 300 of the files say of themselves; damaged ones are left out, as a run would."""
        chosen = [self.names[place] for place in evenly(len(self.names), MOST_FILES)]
        if self.modality == "image":
            return _facts(self.root, chosen, picture_facts)
        return _facts(self.root, chosen, sound_facts)

    def name_parts(self) -> tuple[str, int, list[str]] | None:
        """A pattern such as {part1}_{part2}, which part repeats enough to be a label, and its classes."""
        stems = [PurePosixPath(name).stem for name in self.names]
        for separator in ("_", "-"):
            parts = [stem.split(separator) for stem in stems]
            count = len(parts[0])
            if count < 2 or any(len(one) != count or "" in one for one in parts):
                continue
            for place in range(count):
                classes = sorted({one[place] for one in parts})
                if 1 < len(classes) <= min(MOST_CLASSES, len(stems) // 3):
                    return separator.join(f"{{part{n + 1}}}" for n in range(count)), place, classes
        return None


def look(path: Path) -> Files | Path:
    """The files of the one modality that a folder holds, or the one table or text that `path` is or holds.

    Raises:
        UserError: nothing that a source reads, or several kinds of it.
    """
    if path.is_file():
        if _ending(path.name) in (*ENDINGS, *TEXTS) or _holds_text(path):
            return path
        raise UserError(f"{path}: expected a folder, a table ({', '.join(ENDINGS)}) or lines of text")
    if not path.is_dir():
        raise UserError(f"{path} is neither a folder nor a file")
    try:
        names = sorted(file.name for file in walk(str(path), None) if not _hidden(file.name))
    except OSError as error:
        raise UserError(f"{path} cannot be listed: {error.strerror or error}") from error
    held: dict[str, list[str]] = {"image": [], "audio": [], "table": []}
    for name in names:
        ending = _ending(name)
        kind = "image" if ending in PICTURES else "audio" if ending in SOUNDS else "table"
        if kind != "table" or ending in (*ENDINGS, *TEXTS):
            held[kind].append(name)
    told = ", ".join(f"{count} {ending}" for ending, count in Counter(map(_ending, names)).most_common(6))
    tables = [name for name in held["table"] if _ending(name) in ENDINGS]
    table = path / tables[0] if len(tables) == 1 else None
    media = held["image"] or held["audio"]
    if table is not None and (not media or (held["image"] and held["audio"])):
        return table
    if not media and len(held["table"]) == 1:
        return path / held["table"][0]
    if held["image"] and held["audio"]:
        raise UserError(
            f"{path} holds pictures and sounds ({told}); point to a folder of one of them, or to a table with a row for"
            " each record that names its files"
        )
    for modality in ("image", "audio"):
        if found := held[modality]:
            others = Counter(map(_ending, set(names) - set(found)))
            return Files(path, tuple(found), modality, others, table)
    if held["table"]:
        raise UserError(f"{path} holds several tables or texts ({told}); point to one of them")
    raise UserError(f"{path} holds no picture, sound, table or text" + (f": {told}" if told else ": it is empty"))


def _facts(root: Path, names: Sequence[str], read: Any) -> list[Any]:
    found = []
    for name in names:
        try:
            fact = read(read_file(os.path.join(root, name), name))
        except (RecordError, OSError):
            continue
        if fact is not None:
            found.append(fact)
    return found


def training(splits: Collection[str]) -> str:
    """The folder of the training part, if there is one."""
    return next((split for split in splits if split.lower().startswith("train")), "")


def is_text(path: Path) -> bool:
    """Whether `path` is lines of text, and no table."""
    return _ending(path.name) not in ENDINGS


def _holds_text(path: Path) -> bool:
    """Whether a file, unpacked if it is a .gz, begins with text in UTF-8."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            begin = file.read(HEAD)
        text = codecs.getincrementaldecoder("utf-8")().decode(begin)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error):
        return False
    return bool(text) and "\0" not in text


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _ending(name: str) -> str:
    path = PurePosixPath(name)
    return PurePosixPath(path.stem).suffix.lower() if path.suffix == ".gz" else path.suffix.lower() or "no ending"
