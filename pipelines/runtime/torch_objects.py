"""What a torch user holds: steps as modules, and finished batches as an IterableDataset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from pipelines.batch import Batch
from pipelines.pipeline import Pipeline
from pipelines.spec import Spec
from pipelines.step import Step

MOST_WORKERS = 1024


class StepModule(torch.nn.Module):
    """A step as a module. Takes [..., *the axes of `spec`], gives [..., *the axes of its output]."""

    def __init__(self, step: Step, spec: Spec) -> None:
        super().__init__()
        self.step, self.spec = step, spec
        self._kernel = step.bind("torch", spec)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        count = self.step.variates()
        if not count:
            plain: torch.Tensor = self._kernel(x)
            return plain
        leading = x.shape[: x.ndim - len(self.spec.axes)]
        if self.training:
            draw = torch.rand(*leading, count, dtype=torch.float64)
        else:
            draw = torch.tensor(self.step.serving, dtype=torch.float64).expand(*leading, count)
        drawn: torch.Tensor = self._kernel(x, draw)
        return drawn

    def extra_repr(self) -> str:
        return f"{self.step.step_name()}: {self.step!r}, takes {self.spec}"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_kernel"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        torch.nn.Module.__setstate__(self, state)
        self._kernel = self.step.bind("torch", self.spec)


class BatchDataset(IterableDataset[Batch]):
    """Finished batches, for `DataLoader(dataset, batch_size=None)`. Each iteration is the next epoch.

    Worker processes share an epoch's batches; DataLoader hands them over in the order of the grid.
    """

    def __init__(self, pipe: Pipeline) -> None:
        self._pipe: Pipeline | None = pipe
        self._made_with = (pipe.config, pipe.options)
        self._first = pipe.next_start
        self._begun = torch.zeros(MOST_WORKERS, dtype=torch.int64).share_memory_()  # epochs begun by each worker

    def __len__(self) -> int:
        """Batches of the epoch that begins next."""
        pipe, begun = self._there(), self._first[0] + int(self._begun.max())
        return pipe.grid.batches(max(begun, pipe.next_start[0]))

    def __iter__(self) -> Iterator[Batch]:
        pipe = self._there()
        worker = get_worker_info()
        if worker is None:
            yield from pipe
            return
        epoch, position = self._first
        begun = int(self._begun[worker.id])
        self._begun[worker.id] += 1
        pipe.start_at(epoch + begun, 0 if begun else position)
        yield from pipe.batches(worker.id, worker.num_workers)

    def _there(self) -> Pipeline:
        """The pipeline; in a process that this object was sent to, one of its own."""
        if self._pipe is None:
            config, options = self._made_with  # and no processes of its own: this is one
            self._pipe = Pipeline(config, **options | {"workers": "threads"})
        return self._pipe

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_pipe": None}  # kernels do not travel between processes; they are bound again
