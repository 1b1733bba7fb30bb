"""Tables on the terminal: a compiled plan, the catalogue of steps, one record explained."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pipelines.announced import announced
from pipelines.buckets import Lengths
from pipelines.catalog import MODALITIES, announced_step_names, find_step, step_names
from pipelines.config import Config
from pipelines.errors import UserError
from pipelines.plan import Plan, grid_of
from pipelines.spec import Spec
from pipelines.step import Step


def plan_table(config: Config, plan: Plan, records: int, lengths: Lengths | None = None) -> RenderableType:
    """Every field's seams, and the stage in which each step runs; `lengths` are those of the records, if known."""
    parts: list[RenderableType] = []
    for field in plan.fields:
        title = f"{field.name}  from {', '.join(field.sources)}"
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for heading in ("step", "gives", "stage"):
            table.add_column(heading, overflow="fold")
        table.add_row("", escape(" and ".join(map(str, field.inputs))), "read")
        for number, node in enumerate(field.nodes):
            drawn = f"  [dim]{node.step.variates()} variates[/]" if node.stream else ""
            stage = "record" if number < field.seam else "batch"
            table.add_row(escape(node.name) + drawn, escape(" and ".join(map(str, node.gives))), stage)
        parts += [table, Text()]
    if plan.batch_nodes:
        table = Table(title="batch steps", title_justify="left", box=None, pad_edge=False)
        for heading in ("step", "fields", "gives"):
            table.add_column(heading, overflow="fold")
        for one in plan.batch_nodes:
            drawn = f"  [dim]{one.step.variates()} variates a batch[/]" if one.stream else ""
            table.add_row(
                escape(one.name) + drawn, ", ".join(one.step.fields), escape(" and ".join(map(str, one.gives)))
            )
        parts += [table, Text()]
    order = "shuffled" if config.batch.shuffle else "in order"
    shapes = ", ".join(batch_shape(config, name, spec, records) for name, spec in plan.specs.items())
    parts.append(Text(f"{config.framework}: {records} records {order}, {_batches(config, plan, records, lengths)}"))
    parts.append(Text(f"one batch: {shapes}"))
    if plan.one_framework:
        parts.append(Text(f"one framework, exempt from parity: {'; '.join(plan.one_framework)}"))
    return Group(*parts)


def _batches(config: Config, plan: Plan, records: int, lengths: Lengths | None) -> str:
    """How many batches there are of what; with buckets, how much of them is padding, once the lengths are known."""
    batch, wanted = config.batch, config.batch.buckets
    grid = grid_of(config, records, lengths)
    if wanted is None:
        batches = grid.batches()
        held = records if batches == 1 and not grid.fills else batch.size
        return f"{batches} batch{'es' * (batches != 1)} of {held}"
    what = plan.sorted_by or wanted.column
    size = f"of {batch.rows}" if batch.tokens is None else f"of rows x longest {what} <= {batch.tokens:g}"
    size += f", at most {batch.rows} rows" if batch.tokens is not None and batch.rows else ""
    told = f"batches {size}, sorted by the length of {what} in windows of {wanted.window}"
    if lengths is None:
        return f"{told}\nhow long each record is will be measured once, by the first run"
    told = f"{grid.batches()} {told}"
    rows = batch.rows if batch.tokens is None else max(1, round(records / max(grid.batches(), 1)))
    plain = replace(grid, buckets=None, batch=rows)
    told += f"\npadding: {grid.padding(lengths):.1%} of the batches, {plain.padding(lengths):.1%} unsorted"
    lost = 0 if grid.buckets is None else int(np.count_nonzero(~grid.buckets.fits(lengths)))
    why = "failed when they were measured" + (", or are longer than a batch may be" if batch.tokens else "")
    return told + (f"\n{lost} records {why}" if lost else "")


def batch_shape(config: Config, name: str, spec: Spec, records: int) -> str:
    """`mel float32[32, 64, 101]`: a field's part of a batch, as the framework holds it."""
    sizes = [str(axis.size or axis.name) for axis in spec.native(config.framework)]
    rows = config.batch.rows if config.batch.fixed or not config.batch.rows else min(config.batch.rows, records)
    return f"{name} {spec.dtype}[{', '.join([str(rows or 'rows'), *sizes])}]"


def steps_table() -> RenderableType:
    """All steps with the first line of their documentation."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for modality in MODALITIES:
        for name in (n for n in step_names() if n.startswith(f"{modality}.")):
            table.add_row(f"[bold]{escape(name)}[/]", escape(_first_line(find_step(name))))
    for name in announced_step_names():
        try:
            said = f"{_first_line(find_step(name))} ({announced()[name].where})"
        except UserError as error:
            said = str(error)
        table.add_row(f"[bold]{escape(name)}[/]", escape(said))
    return table


def _first_line(step: type[Step]) -> str:
    return (inspect.getdoc(step) or "").partition("\n")[0]


def step_page(name: str) -> RenderableType:
    """One step: its documentation, its parameters and its agreement."""
    step = find_step(name)
    table = Table(box=None, pad_edge=False)
    for heading in ("parameter", "type", "default"):
        table.add_column(heading, overflow="fold")
    for parameter, info in step.model_fields.items():
        default = "required" if info.is_required() else str(info.get_default(call_default_factory=True))
        table.add_row(escape(parameter), escape(_type_name(step, parameter)), escape(default))
    agreement = f"Between the frameworks: {step.agreement}"
    why = f" ({step.agreement.why})" if step.agreement.why else ""
    own = f"  {announced()[name].where}" if name in announced_step_names() else ""
    return Group(
        Text(f"{name}{own}\n", style="bold"),
        Text(inspect.cleandoc(step.__doc__ or "") + "\n"),
        table,
        Text(f"\n{agreement}{why}"),
    )


def _type_name(step: type[Step], parameter: str) -> str:
    schema = step.model_json_schema()
    return schema_text(schema["properties"][parameter], schema.get("$defs", {}))


def schema_text(schema: dict[str, Any], defs: dict[str, Any]) -> str:
    """The type that a JSON Schema stands for, in a few words."""
    if "$ref" in schema:
        return schema_text(defs[schema["$ref"].rsplit("/", 1)[-1]], defs)
    if "anyOf" in schema:
        return " or ".join(schema_text(part, defs) for part in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    kind = str(schema.get("type", "any"))
    if kind == "array":
        items = schema.get("prefixItems") or [schema.get("items", {})]
        return f"list of {' and '.join(dict.fromkeys(schema_text(item, defs) for item in items))}"
    bounds = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    return " ".join([kind, *(f"{sign} {schema[key]}" for key, sign in bounds.items() if key in schema)])


def value_text(value: Any) -> str:
    """A value in a few words: its beginning if it is text, its range if it is numbers."""
    if isinstance(value, bytes):
        return f"{len(value):,} bytes, begins {value[:8]!r}"
    if isinstance(value, str):
        return repr(value if len(value) <= 70 else value[:67] + "...")
    if isinstance(value, list):
        return f"{len(value)} tokens: " + " ".join(map(repr, value[:8])) + (" ..." if len(value) > 8 else "")
    array = np.asarray(value)
    if array.size == 1:
        return f"{array.item()}"
    if not array.size:
        return f"shape {array.shape}"
    if array.dtype.kind in "iu" and array.ndim == 1:
        return f"shape {array.shape}: {' '.join(map(str, array[:10]))}{' ...' if array.size > 10 else ''}"
    magnitude = np.abs(array) if array.dtype.kind == "c" else array.astype(np.float64)
    return f"shape {array.shape}, {magnitude.min():.4g} to {magnitude.max():.4g}, mean {magnitude.mean():.4g}"


def show(renderables: Iterable[RenderableType]) -> None:
    """Print to stdout, in colours only where it is a terminal."""
    console = Console(soft_wrap=False)
    for renderable in renderables:
        console.print(renderable)
