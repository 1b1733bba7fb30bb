"""One record, step by step."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.native import to_numpy
from pipelines.pipeline import Pipeline
from pipelines.report.tables import value_text
from pipelines.runtime._chain import StepFailure


def explain(pipe: Pipeline, key: str, epoch: int = 0) -> bool:
    """Prints what each step makes of the record `key`; True when it fails."""
    console = Console()
    chunk = pipe.chunk_of(pipe.find(key), epoch)
    console.print(f"[bold]{escape(key)}[/]  index {chunk.indices[0]}, on {pipe.framework}, draws of epoch {epoch}")
    table = Table(box=None, pad_edge=False)
    for heading in ("field", "step", "gives", "value"):
        table.add_column(heading, overflow="fold")
    failure = None
    try:
        for trace in pipe.engine.trace(chunk, 0):
            rate = f" {trace.rate_hz} Hz" if trace.rate_hz else ""
            cells = (trace.field, trace.step, str(trace.spec), value_text(to_numpy(trace.value, trace.spec)) + rate)
            table.add_row(*map(escape, cells))
    except StepFailure as error:
        failure = error
        table.add_row(escape(error.field), escape(error.step), "[red]fails[/]", f"[red]{escape(error.reason)}[/]")
    console.print(table)
    return failure is not None
