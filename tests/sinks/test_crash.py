"""A run that is killed and resumed ends with the bytes of one that never was, wherever it was killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sinks import crash
from sinks.cases import FORMATS


def program(*arguments: str) -> int:
    ran = subprocess.run([sys.executable, crash.__file__, *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return int(ran.stdout)


# the operations on files are the same in all formats, so one of them stands for all
@pytest.mark.parametrize(("kind", "format_name"), [("systematic", "tfrecord"), ("overwrite", "webdataset")])
def test_killed_before_any_operation(kind: str, format_name: str, tmp_path: Path) -> None:
    assert program(kind, format_name, str(tmp_path)) > 20  # a shard and the journal after it take several


@pytest.mark.parametrize("format_name", FORMATS)
def test_killed_at_any_time(format_name: str, tmp_path: Path) -> None:
    assert program("timed", format_name, str(tmp_path), "5") > 0
