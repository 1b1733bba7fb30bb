"""Files in a folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, field_validator

from pipelines.errors import RecordError, SourceError
from pipelines.sources._base import Source, SourceConfig
from pipelines.sources._files import digest, read_file, state_of_all
from pipelines.sources._glob import Found, NamePattern, check_glob, depth, matcher, walk
from pipelines.spec import BYTES, TEXT, Spec
from pipelines.step import ConfigPath

Glob = Annotated[str, AfterValidator(check_glob)]


class Folder(SourceConfig):
    """Each file below `path` that matches `files` is a record, in the order of the code points of its path.

    `files` is one pattern or a list: `*`, `?` and `[..]` match within a name, `**` any number of folders
    (`**/*.wav`); names that begin with a dot are matched only by a pattern that does. `name` reads the
    file's name, without its ending, into parts: `{digit}_{speaker}_{take}`.
    Values: `file` (its bytes), `path` (text, relative, with slashes), `folder` (text, the name of the folder
    it is in), and `name.X` (text) for each part of `name`. Key: the relative path.
    Linked folders are not entered; a link to a file outside of `path` is a record that fails.
    """

    path: ConfigPath
    files: Glob | tuple[Glob, ...]
    name: str | None = None

    @field_validator("files")
    @classmethod
    def _some(cls, files: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not files:
            raise ValueError("expected at least one pattern, got an empty list")
        return files

    @field_validator("name")
    @classmethod
    def _readable(cls, name: str | None) -> str | None:
        if name is not None:
            NamePattern(name)
        return name

    def open(self) -> Source:
        if not self.path.is_dir():
            what = "it is a file" if self.path.exists() else "it does not exist"
            raise SourceError(f"folder: expected a folder at {self.path}, but {what}")
        patterns = (self.files,) if isinstance(self.files, str) else self.files
        matches = matcher(patterns).fullmatch
        try:
            found = [file for file in walk(str(self.path), depth(patterns)) if matches(file.name)]
        except OSError as e:
            raise SourceError(f"folder: cannot list {e.filename or self.path}: {e.strerror}") from e
        if not found:
            raise SourceError(self._nothing(patterns))
        found.sort(key=lambda file: file.name)
        return FolderSource(self.path, found, NamePattern(self.name) if self.name else None)

    def _nothing(self, patterns: tuple[str, ...]) -> str:
        names = [file.name for file in walk(str(self.path), None)]
        wanted = " or ".join(patterns)
        endings = Counter(PurePosixPath(name).suffix or "no ending" for name in names).most_common(5)
        held = ", ".join(f"{count} {ending}" for ending, count in endings)
        message = f"folder: no file in {self.path} matches {wanted}; it holds {len(names)} files"
        if names:
            message += f" ({held})"
        deeper = matcher([f"**/{pattern}" for pattern in patterns]).fullmatch
        if any(map(deeper, names)):
            message += f"; to look in the folders below, write **/{patterns[0]}"
        return message


class FolderSource(Source):
    """The files `found`, sorted, of the folder `root`."""

    def __init__(self, root: Path, found: list[Found], pattern: NamePattern | None) -> None:
        self._root = root
        self._real = os.path.realpath(root)
        self._paths = [file.name for file in found]
        self._links = {index for index, file in enumerate(found) if file.is_link}
        # a name that is no UTF-8 gets a key that can be written down
        self._keys = [os.fsencode(name).decode("utf-8", "backslashreplace") for name in self._paths]
        if len(set(self._keys)) != len(self._keys):
            twice = [key for key, count in Counter(self._keys).items() if count > 1]
            raise SourceError(f"folder: files in {root} cannot be told apart by name: {', '.join(twice[:5])}")
        self._pattern = pattern
        named: dict[str, Spec] = {}
        if pattern is not None:
            wrong = [key for key in self._keys if pattern.read(_stem(key)) is None]
            if wrong:
                shown = ", ".join(wrong[:5]) + (", .." if len(wrong) > 5 else "")
                raise SourceError(
                    f"folder: {len(wrong)} of {len(self)} files do not match the name pattern {pattern.text}: {shown}"
                )
            named = {f"name.{part}": TEXT for part in pattern.parts}
        self.values = {"file": BYTES, "path": TEXT, "folder": TEXT, **named}

    def __len__(self) -> int:
        return len(self._paths)

    def key(self, index: int) -> str:
        return self._keys[index]

    def read(self, index: int, names: Collection[str]) -> dict[str, Any]:
        key = self._keys[index]
        parts = (self._pattern.read(_stem(key)) if self._pattern else None) or {}
        out: dict[str, Any] = {}
        for name in names:
            if name == "file":
                out[name] = read_file(self._inside(index), key)
            elif name == "path":
                out[name] = key
            elif name == "folder":
                out[name] = PurePosixPath(key).parent.name or self._root.resolve().name
            else:
                out[name] = parts[name.removeprefix("name.")]
        return out

    def fingerprint(self) -> str:
        files = ((key, f"{self._real}/{path}") for key, path in zip(self._keys, self._paths, strict=True))
        return digest("folder", self._pattern.text if self._pattern else None, state_of_all(files))

    def _inside(self, index: int) -> str:
        path = f"{self._real}/{self._paths[index]}"
        if index in self._links and os.path.commonpath([os.path.realpath(path), self._real]) != self._real:
            raise RecordError(f"{self._keys[index]} is a link that leads out of the folder")
        return path


def _stem(key: str) -> str:
    return PurePosixPath(key).stem


SOURCE = Folder
