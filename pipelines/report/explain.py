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
    """Prints what each step makes of the record `key`, a table for each field; True when it fails."""
    console = Console()
    chunk = pipe.chunk_of(pipe.find(key), epoch)
    console.print(f"[bold]{escape(key)}[/]  index {chunk.indices[0]}, on {pipe.framework}, draws of epoch {epoch}")
    tables: dict[str, Table] = {}

    def add(field: str, *cells: str) -> None:
        if field not in tables:
            tables[field] = Table("step", title=field, title_justify="left", box=None, pad_edge=False)
            for heading in ("gives", "value"):
                tables[field].add_column(heading, overflow="fold")
        tables[field].add_row(*cells)

    failed = False
    try:
        for trace in pipe.engine.trace(chunk, 0):
            rate = f", {trace.rate_hz} Hz" if trace.rate_hz else ""
            value = value_text(to_numpy(trace.value, trace.spec)) + rate
            add(trace.field, *map(escape, (trace.step, str(trace.spec), value)))
    except StepFailure as error:
        failed = True
        add(error.field, escape(error.step), "[red]fails[/]", f"[red]{escape(error.reason)}[/]")
    for table in tables.values():
        console.print()
        console.print(table)
    return failed
