"""An engine's process keeps the memory that batches are made in, and leaves what the user has set."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
import torch
{setting}
def make():
    held = [np.ones(1_000_000, np.uint8) for _ in range(40)]  # 40 MB in pieces, as the pictures of a batch
    del held
make()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    make()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
SETTING = "from pipelines.runtime._memory import keep_freed_memory; keep_freed_memory()"


def faults(setting: str, **environment: str) -> int:
    """Pages that the system gave again."""
    code = FAULTS.format(setting=setting)
    env = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")} | environment
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="another libc has no mallopt")
def test_what_was_freed_is_not_asked_for_again() -> None:
    by_default = faults("")
    assert faults(SETTING) < by_default / 10
    assert faults(SETTING, MALLOC_TRIM_THRESHOLD_="131072") > by_default / 2, "the user's own setting stays"
