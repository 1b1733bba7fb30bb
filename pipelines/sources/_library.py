"""Data sets of a library: read once, in a process of its own, into an indexed store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, JsonValue
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipelines.errors import MissingLibrary, SourceError
from pipelines.sources import _store
from pipelines.sources._base import Source, SourceConfig
from pipelines.sources._files import digest, state_of_tree
from pipelines.sources._kept import kept
from pipelines.step import ConfigPath

Name = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]
PATH_ARGUMENTS = ("annFile", "ann_file", "annotation_path")
"""Arguments of data set classes that name a file; relative ones are relative to `root`."""


class LibraryDataset(SourceConfig):
    """A data set class of a library, by name. See the modules named after the libraries."""

    library: ClassVar[str]
    extra: ClassVar[str] = "torch"
    needs: ClassVar[tuple[str, ...]] = ()
    """What the library's data sets import beside the library itself."""
    advice: ClassVar[str] = ""
    """What to do where the library cannot be had."""

    dataset: Name
    root: ConfigPath | None = None
    split: str | None = None
    train: bool | None = None
    download: bool = False
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    names: tuple[Name, ...] | None = None

    def open(self) -> Source:
        arguments = {
            **self.arguments,
            **{k: v for k, v in (("split", self.split), ("train", self.train)) if v is not None},
        }
        request = {"dataset": self.dataset, "arguments": arguments, "names": self.names}
        base = Path.cwd() if self.root is None else self.root.resolve()
        named = {name: base / str(arguments[name]) for name in PATH_ARGUMENTS if name in arguments}
        read = [*([] if self.root is None else [self.root]), *named.values()]
        return open_once(type(self), self.dataset, request, self.root, read, named, download=self.download)


def open_once(
    config: type[Any],
    label: str,
    request: Mapping[str, Any],
    root: Path | None,
    read: Sequence[Path],
    named: Mapping[str, Path],
    *,
    download: bool,
) -> Source:
    """The store of a library's data set; made in a process of its own where it is not kept yet.

    `request` is what the library is asked for, `read` the files and folders it reads, and `named` the
    arguments among the request that name files, as they lie on this machine.
    """
    library: str = config.library
    for module in (library_module(library), *config.needs):
        if find_spec(module) is None:
            raise MissingLibrary(module, config.extra, config.advice)
    title = f"{library} {label}"
    where = None if root is None else str(root.resolve())
    on_disk = {
        "library": library,
        "root": where,
        "arguments": {**request.get("arguments", {}), **{name: str(path) for name, path in named.items()}},
        "download": download,
    }
    folder, fingerprint = kept(
        title.replace(" ", "-"),
        {"library": library, "version": _version(library), "format": _store.FORMAT, **request},
        where or "",
        lambda: digest([state_of_tree(path) for path in read]),
        lambda work: build({**request, **on_disk}, work, title),
        fetches=download,
    )
    return _store.Store(folder, fingerprint)


def library_module(library: str) -> str:
    """The name a library is imported by."""
    return {"tfds": "tensorflow_datasets"}.get(library, library)


def _version(library: str) -> str:
    try:
        return version(library_module(library).replace("_", "-"))
    except PackageNotFoundError:  # imported from a folder, not installed
        return "unknown"


def build(request: Mapping[str, Any], work: Path, title: str) -> None:
    """Let a new process read the data set into a store in `work`; SourceError with its reason if it cannot."""
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        (Path(scratch) / "cwd").mkdir()
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "pipelines.sources._build"],
                cwd=Path(__file__).parents[2],
                env={"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                encoding="utf-8",
            )
        try:
            answer = _talk(process, {**request, "out": str(work), "scratch": f"{scratch}/cwd"}, title)
        finally:
            process.kill()
            process.communicate()
        if answer.get("done"):
            return
        reason = answer.get("error")
        if reason is None:
            last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            reason = f"the reading process ended with status {process.returncode} {''.join(last)}".strip()
        raise SourceError(f"{title}: {reason}")


def _talk(process: subprocess.Popen[str], request: Mapping[str, Any], title: str) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    answer: dict[str, Any] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"reading {title} once", total=None)
        try:
            # stdin stays open: when this process dies, the reader sees its end and dies too
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            return answer
        for line in process.stdout:
            answer = json.loads(line)
            if "records" in answer:
                progress.update(task, completed=answer["records"], total=answer["of"])
            else:
                break
    return answer
