"""A run of tiny records, and ways to end it in the middle: a program of its own, since it kills its children.

python crash.py systematic FORMAT FOLDER     killed before each file operation in turn, then resumed
python crash.py timed FORMAT FOLDER SEED     killed at random times, then resumed
python crash.py overwrite FORMAT FOLDER      the same as systematic, for a run that replaces another
python crash.py limited FORMAT FOLDER BYTES  a run that may write files of BYTES bytes at most
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.catalog import find_sink
from pipelines.grid import Failure
from pipelines.output import Output
from pipelines.spec import Axis, Spec

EPOCHS, RECORDS, PER_SHARD = 2, 4, 4  # a full shard of both epochs, and part of another
FIELDS = {
    "x": Spec("float32", (Axis("a", 2),)),
    "ids": Spec("int64", (Axis("token"),), optional=True),
    "name": Spec("text"),
}
OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.listdir", "fcntl.flock"}


def record(epoch: int, position: int) -> dict[str, Any]:
    """The record at a place in the order."""
    return {
        "key": f"é/{position}.wav",
        "index": position,
        "x": np.array([epoch, position], np.float32),
        "ids": None if position == 3 else np.arange(position) * 1000,
        "name": "猫" * position,
    }


def run(format_name: str, folder: Path, mode: Any, seed: int = 0) -> None:
    """Deliver every record; each second of an epoch fails."""
    out = Output(folder, find_sink(format_name)(), FIELDS, PER_SHARD, {"seed": seed}, mode)
    if out.resume_at is None:
        return
    for epoch in range(EPOCHS):
        for position in range(RECORDS):
            if (epoch, position) < out.resume_at:
                continue
            if position == 1:
                out.fail(Failure(epoch, position, position, f"é/{position}.wav", "x", "audio.decode", "no sound in it"))
            else:
                out.add(epoch, position, record(epoch, position))
    delivered, quarantined = out.progress
    out.finish({"read": EPOCHS * RECORDS, "delivered": delivered, "quarantined": quarantined, "left_over": 0})


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}


def forked(work: Callable[[], None]) -> int:
    """Start `work` in a child process and give its id."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def ended(child: int) -> bool:
    """Wait for a child: true when it came to its end, false when it was killed."""
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        sys.exit("a run failed")
    return os.WIFEXITED(status)


def killed_before(operation: int, work: Callable[[], None]) -> Callable[[], None]:
    """`work`, killed before its file operation of that number."""

    def count(event: str, _: Any) -> None:
        nonlocal operation
        if event in OPERATIONS:
            if not operation:
                os.kill(os.getpid(), signal.SIGKILL)
            operation -= 1

    def watched() -> None:
        sys.addaudithook(count)
        work()

    return watched


def check_visible(folder: Path, allowed: list[dict[str, bytes]]) -> None:
    """Whatever has its final name is complete, at any time."""
    for name, data in content(folder).items():
        if not name.startswith(".") and name != "progress.json":
            assert data in [files.get(name) for files in allowed], f"{name} is half-written"


def systematic(format_name: str, folder: Path) -> int:
    """Kill before operation 0, 1, ... of a run and again within the run that resumes it."""
    whole = folder / "whole"
    run(format_name, whole, "new")
    number = 0
    while True:
        target = folder / "killed"
        shutil.rmtree(target, ignore_errors=True)
        done = ended(forked(killed_before(number, partial(run, format_name, target, "new"))))
        check_visible(target, [content(whole)])
        if not done:
            again = killed_before(number % 11, partial(run, format_name, target, "resume"))
            ended(forked(again))
            check_visible(target, [content(whole)])
            assert ended(forked(partial(run, format_name, target, "resume")))
        assert content(target) == content(whole), f"killed before operation {number}"
        if done:
            return number
        number += 1


def overwrite(format_name: str, folder: Path) -> int:
    """Kill before each operation of a run that replaces a finished one, then replace that."""
    whole, old = folder / "whole", folder / "old"
    run(format_name, whole, "new")
    run("npz" if format_name != "npz" else "tfrecord", old, "new", seed=1)
    number = 0
    while True:
        target = folder / "killed"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(old, target)
        done = ended(forked(killed_before(number, partial(run, format_name, target, "overwrite"))))
        check_visible(target, [content(whole), content(old)])
        if not done:
            assert ended(forked(partial(run, format_name, target, "overwrite")))
        assert content(target) == content(whole), f"killed before operation {number}"
        if done:
            return number
        number += 1


def timed(format_name: str, folder: Path, seed: int) -> int:
    """Kill at random moments until the run comes to its end."""
    whole, target = folder / "whole", folder / "killed"
    start = time.monotonic()
    assert ended(forked(lambda: run(format_name, whole, "new")))
    seconds = time.monotonic() - start
    chance = random.Random(seed)
    kills = 0
    for _ in range(6):
        shutil.rmtree(target, ignore_errors=True)
        for mode in ("new", "resume"):
            child = forked(partial(run, format_name, target, mode))
            time.sleep(chance.uniform(0, seconds))
            os.kill(child, signal.SIGKILL)
            kills += not ended(child)
            check_visible(target, [content(whole)])
            if mode == "new" and not target.exists():
                break
        assert ended(forked(partial(run, format_name, target, "resume")))
        assert content(target) == content(whole)
    return kills


def limited(format_name: str, folder: Path, size: int) -> int:
    """A run under a limit on the size of files."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    run(format_name, folder, "new")
    return 0


if __name__ == "__main__":
    kind, name, place, *rest = sys.argv[1:]
    kinds: dict[str, Callable[..., int]]
    kinds = {"systematic": systematic, "overwrite": overwrite, "timed": timed, "limited": limited}
    print(kinds[kind](name, Path(place), *map(int, rest)))
