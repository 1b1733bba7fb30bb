"""The process that reads a library's data set into a store: `python -m pipelines.sources._build`.

One JSON line on stdin says what to read and where to write; JSON lines on stdout tell how far it is, the
last one {"done": true} or {"error": reason}. It uses no network unless downloads are allowed, and it ends
when the process that started it ends.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from pipelines.errors import RecordError, SourceError
from pipelines.sources._store import StoreWriter

Row = tuple["str | None", "Mapping[str, Any] | RecordError"]


@dataclass
class Rows:
    """What a reader gives: the records with their keys (None for the number), how many, and how it gets them."""

    rows: Iterator[Row]
    total: int | None


class NetworkError(Exception):
    """The library tried to fetch something though downloads are not allowed."""


def main() -> None:
    """Read what stdin asks for."""
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # libraries print to stdout; what is said there goes to stderr, the pipe is for the protocol
    tell = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    os.chdir(request["scratch"])
    if not request["download"]:
        forbid_network()
    try:
        answer: dict[str, Any] = {"done": True}
        fill(request, tell)
    except SourceError as e:
        answer = {"error": str(e)}
    except Exception as e:
        answer = {"error": f"{type(e).__name__}: {e}"}
    print(json.dumps(answer), file=tell, flush=True)
    os._exit(0)  # the frameworks' threads have nothing left to do


def fill(request: Mapping[str, Any], tell: TextIO) -> None:
    """Write the store that is asked for; SourceError when there is nothing to keep."""
    reader = "_tfds_reader" if request["library"] == "tfds" else "_torch_reader"
    found: Rows = importlib.import_module(f"pipelines.sources.{reader}").read(request)
    writer = StoreWriter(Path(request["out"]))
    told = time.monotonic()
    for number, (key, values) in enumerate(found.rows):
        name = str(number) if key is None else key
        if isinstance(values, RecordError):
            writer.fail(name, str(values))
        else:
            writer.add(name, values)
        if time.monotonic() - told > 0.2:
            told = time.monotonic()
            print(json.dumps({"records": writer.records, "of": found.total}), file=tell, flush=True)
    if not writer.records:
        raise SourceError("the data set holds no records")
    if writer.failed == writer.records:
        raise SourceError(f"none of the {writer.records} records can be read; record {writer.first_failure}")
    writer.close()


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def forbid_network() -> None:
    """Let every connection of this process fail with NetworkError."""

    def refuse(event: str, _: tuple[Any, ...]) -> None:
        if event in ("socket.getaddrinfo", "socket.connect"):
            raise NetworkError("it needs to be downloaded")

    sys.addaudithook(refuse)


if __name__ == "__main__":
    # the module under its own name, so that its classes are the ones the readers import
    importlib.import_module("pipelines.sources._build").main()
