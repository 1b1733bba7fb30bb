"""The list of failed records while a run writes it: lines of JSON, of which a known prefix is safe on the disk."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import IO

from pipelines.errors import StateError, UserError
from pipelines.grid import Failure
from pipelines.sinks._manifest import Prefix


class Quarantine:
    """One line for each failed record, in order of (epoch, position)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records = 0
        self._file: IO[bytes] | None = None
        self._digest = hashlib.sha256()
        self._bytes = 0

    def open(self, kept: Prefix | None) -> None:
        """Begin, or go on after the part that was settled; what was written after it is cut off."""
        self._file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644), "r+b")
        if kept is not None:
            held = os.fstat(self._file.fileno()).st_size
            self._digest.update(self._file.read(min(kept.bytes, held)))
            if held < kept.bytes or self._digest.hexdigest() != kept.sha256:
                raise StateError(
                    f"{self.path} was changed or lost since the run was stopped; give --overwrite to start again"
                )
            self.records, self._bytes = kept.records, kept.bytes
        self._file.seek(self._bytes)
        self._file.truncate()

    def add(self, failure: Failure) -> None:
        """Append a record."""
        assert self._file is not None
        text = json.dumps(failure.as_dict(), sort_keys=True, ensure_ascii=False, default=int) + "\n"
        line = text.encode("utf-8", "backslashreplace")  # half a surrogate pair becomes the escape that JSON has for it
        self._file.write(line)
        self._digest.update(line)
        self._bytes += len(line)
        self.records += 1

    def count(self, epoch: int, stop: int) -> int:
        """Records of `epoch` at positions before `stop`."""
        if self._file is not None:
            self._file.flush()
        with open(self.path, encoding="utf-8") as file:
            places = [(line["epoch"], line["position"]) for line in map(json.loads, file)]
        return sum(e == epoch and position < stop for e, position in places)

    def commit(self) -> Prefix:
        """Bring all lines to the disk."""
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        return Prefix(records=self.records, bytes=self._bytes, sha256=self._digest.hexdigest())

    def close(self) -> None:
        """Close the file; what was not committed may be lost."""
        if self._file is not None:
            file, self._file = self._file, None
            file.close()


def listed(folder: Path) -> list[dict[str, str]]:
    """Key, step and reason of each record that a run listed as failed, in order; UserError where there is no list."""
    path = folder / "quarantine.jsonl"
    try:
        with open(path, encoding="utf-8") as file:
            return [{name: str(row[name]) for name in ("key", "step", "reason")} for row in map(json.loads, file)]
    except OSError as error:
        raise UserError(f"expected the folder that a run has written, cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"expected a list that a run has written, {path} is none") from error


def quarantined(folder: Path) -> list[str]:
    """The keys of the records that a run listed as failed, each once, in its order; UserError where there are none."""
    keys = [row["key"] for row in listed(folder)]
    if not keys:
        raise UserError(f"{folder / 'quarantine.jsonl'} lists no record: none has failed")
    return list(dict.fromkeys(keys))
