"""A comparison of the frameworks as tables for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pipelines.report._compare_judge import FieldDrift, StepVerdict

if TYPE_CHECKING:
    from pipelines.report.compare import Comparison


def view(found: Comparison) -> RenderableType:
    """Costs, steps, drift, faults, fallbacks and the recommendation."""
    judge = found.judge
    parts: list[RenderableType] = [
        Text(f"{found.config}: {found.records} of {found.of} records, draws of epoch {found.epoch}\n"),
        _costs(found),
        Text(),
        _steps(judge.verdicts, f"Steps, each on the same inputs, {found.sampled} records"),
        Text(),
        _drift(list(judge.fields.values()), f"Drift over the whole pipeline, {judge.delivered} records"),
        Text(),
    ]
    for uses, steps in _fallbacks(found).items():
        parts.append(Text(f"{uses}: {', '.join(steps)}\n"))
    if any(judge.failed.values()):
        counts = " and ".join(f"{count} on {name}" for name, count in judge.failed.items())
        parts.append(Text(f"Records that fail: {counts}; {len(judge.one_sided)} of them on one side only\n"))
    faults = found.faults
    parts.append(Text("Parity: " + ("fails" if faults else "holds"), style="bold red" if faults else "bold green"))
    parts += [Text(f"- {fault}") for fault in faults]
    answer = found.advice.framework or ("none" if faults else "either")
    parts.append(Text(f"Recommendation: {answer}", style="bold"))
    parts.append(Text(found.advice.reason))
    return Group(*parts)


def _fallbacks(found: Comparison) -> dict[str, list[str]]:
    """What is used instead of a framework's own library, and the steps that do."""
    told: dict[str, list[str]] = {}
    for one in found.leans:
        where = f"On {' and '.join(one['frameworks'])}, {one['uses']} ({one['why']})"
        told.setdefault(where, []).append(f"{one['field']}: {one['step']}")
    return told


def _table(title: str, *headings: str, caption: str | None = None) -> Table:
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left", box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading in ("field", "step", ""))
    return table


def _costs(found: Comparison) -> Table:
    sides = list(found.sides.values())
    table = _table("Costs", "", *(f"{side.framework} {side.versions[side.framework]}" for side in sides))
    table.add_row("device", *(side.device for side in sides))
    table.add_row("records/s", *(f"{side.rate:,.0f} ({side.spread})" for side in sides))
    table.add_row("to the first batch", *(f"{side.start_seconds:.1f} s" for side in sides))
    for what in ("import", "bind", "first_batch"):
        table.add_row(f"  {what.replace('_', ' ')}", *(f"{getattr(side, f'{what}_seconds'):.1f} s" for side in sides))
    table.add_row("peak memory", *(f"{side.peak_memory_mib:,.0f} MiB" for side in sides))
    return table


def _steps(steps: list[StepVerdict], title: str) -> Table:
    caption = "agreement: how far apart a step's two bindings may be; of peak: times the largest magnitude of the value"
    table = _table(title, "field", "step", "agreement", "records", "largest difference", "", caption=caption)
    for one in steps:
        verdict = "[red]disagrees[/]" if one.wrong else "[green]agrees[/]" if one.records else "not tried"
        cells = (one.field, one.step, one.agreement, str(one.records), _number(one.largest, one.unit))
        table.add_row(*map(escape, cells), verdict)
    return table


def _drift(fields: list[FieldDrift], title: str) -> Table:
    caption = "what the steps' differences add up to; a field whose steps are all identical must not differ"
    table = _table(title, "field", "largest", "99.9th percentile", "peak", "records that differ", caption=caption)
    for one in fields:
        unit = one.spec.unit
        share = f"{one.differ} ({one.differ / one.records:.1%})" if one.records else "-"
        cells = (one.name, _number(one.largest, unit), _number(one.percentile, unit), _number(one.peak, unit), share)
        table.add_row(*map(escape, cells))
    return table


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    whole = value.is_integer() and value < 1e9
    return f"{value:,.0f} {unit}".rstrip() if whole else f"{value:.3g} {unit}".rstrip()
