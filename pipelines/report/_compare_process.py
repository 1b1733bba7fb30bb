"""The driver's side of a process that runs one framework (`_compare_worker.py`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from pipelines.errors import PipelineError, UserError

_START = (
    "import sys; _, folder, *sys.path[:] = sys.argv; from pipelines.report._compare_worker import main; main(folder)"
)


class WorkerProcess:
    """The process of one framework, and the file its values go to. Leaving ends the process."""

    def __init__(self, framework: str, folder: Path) -> None:
        self.framework = framework
        self.file = folder / f"{framework}.npz"
        self._log = folder / f"{framework}.log"
        self._last = "start"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(folder), *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                encoding="utf-8",
                env={"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ},
                start_new_session=True,  # Ctrl-C reaches the driver alone, which ends the workers
            )

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        with suppress(OSError, ValueError):  # a pipe to a process that has gone
            self._process.communicate()

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """One request and its answer."""
        self.send({"do": do, **request})
        return self.receive()

    def send(self, request: Mapping[str, Any]) -> None:
        """Hand over a request; a process that has ended is told of by `receive`."""
        assert self._process.stdin is not None
        self._last = str(request["do"])
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """The answer, or the error that the process told of or ended with."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise PipelineError(self._end())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            kind = UserError if answer["exit_code"] == UserError.exit_code else PipelineError
            raise kind(f"on {self.framework}: {answer['error']}")
        return answer

    def _end(self) -> str:
        code = self._process.wait()
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        with self._log.open(encoding="utf-8", errors="replace") as log:
            last = deque((line.rstrip() for line in log if line.strip()), maxlen=5)
        lines = "".join(f"\n  {line}" for line in last)
        return f"the {self.framework} process {how} in {self._last!r}" + (f"; its last lines:{lines}" if lines else "")
