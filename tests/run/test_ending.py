"""A program ends while TensorFlow still makes batches ahead: it neither hangs nor loses its exit code."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipelines.errors import PipelineError
from pipelines.runtime._ending import QUIET_SECONDS, Calls

CONFIG = Path(__file__).parents[2] / "configs/image_imagenet.yaml"
PROGRAM = f"""
import sys, pipelines
pipe = pipelines.load({str(CONFIG)!r}, framework="tensorflow", device="cpu", overrides=["batch.size=8"])
data = iter(pipe.tf_dataset())
next(data)
plain = iter(pipe)
next(plain)
sys.exit(7)
"""


def test_epochs_under_way_end_with_the_program(data: Path) -> None:
    """Batches of the photos in `data` take long enough to be under way: without the mend, four of four hung."""
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=90, check=False)
    assert ended.returncode == 7, ended.stderr


def test_a_call_after_the_end_fails_and_one_before_is_waited_for() -> None:
    calls, done = Calls(), []
    slow = calls(lambda: (time.sleep(4 * QUIET_SECONDS), done.append(1)))
    thread = threading.Thread(target=slow)
    thread.start()
    time.sleep(QUIET_SECONDS / 2)
    calls.end()
    assert done == [1]
    with pytest.raises(PipelineError, match="program ends"):
        slow()
    thread.join()
