"""The sections of the page of `show`: the plan, records step by step, texts and a batch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.plan import FieldPlan, Node, Plan
from pipelines.report._page import Block, Picture, Pieces, Row, Section, Table, Words, figure_png
from pipelines.report._show_picture import grid_pixels, picture_block, pixels_of, reduced
from pipelines.report._show_take import Rows, Stage, Taken
from pipelines.report._show_text import MOST_FREQUENT, frequency_figure, lengths_figure, naming_of, seen
from pipelines.report._show_view import Viewer, kind_of
from pipelines.spec import Spec

GRID_PIXELS = 96
GRID_WIDTH = 900
PARAMETER = 100


class Album:
    """The sections of a page, and its pictures by the name of a file."""

    def __init__(self) -> None:
        self.sections: list[Section] = []
        self.pictures: dict[str, bytes] = {}

    def keep(self, name: str, blocks: Sequence[Block]) -> Sequence[Block]:
        """The same blocks; their pictures are noted under a name that is safe as that of a file."""
        stem = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
        found = list(_pictures(blocks))
        for number, picture in enumerate(found):
            self.pictures[f"{stem}{f'_{number}' if len(found) > 1 else ''}.png"] = picture.png
        return blocks


def _pictures(blocks: Sequence[Block]) -> Iterator[Picture]:
    for block in blocks:
        if isinstance(block, Picture):
            yield block
        elif isinstance(block, Row):
            yield from _pictures(block.blocks)


def plan_section(plan: Plan) -> Section:
    """The plan in a line for each field."""
    rows = []
    for field in plan.fields:
        steps = " → ".join(node.name for node in field.nodes) or "nothing"
        rows.append([field.name, ", ".join(field.sources), steps, str(plan.specs[field.name])])
    blocks: list[Block] = [Table(("field", "from", "steps", "gives"), rows)]
    if plan.batch_nodes:
        said = "; ".join(f"{node.name} on {', '.join(node.step.fields)}" for node in plan.batch_nodes)
        blocks.append(Words(f"then, on the finished batch: {said}"))
    return Section("The plan", blocks)


def record_section(
    album: Album, viewer: Viewer, plan: Plan, index: int, key: str, takes: Sequence[tuple[str, int, Taken]]
) -> Section:
    """One record, field by field and step by step.

    `takes` are (framework, epoch, what was taken): one framework with the draws of several epochs, or both frameworks.
    """
    first = takes[0][2]
    both = takes[0][0] != takes[-1][0]
    sections = []
    for field in plan.fields:
        steps: list[Section] = []
        for place in _in_order(field):
            there = [(name, epoch, taken.stages[place], taken) for name, epoch, taken in takes if place in taken.stages]
            if not there:
                continue
            stage = there[0][2]
            chance = stage.node is not None and bool(stage.node.stream or stage.node.shares)
            words = str(stage.spec) + (
                f", {stage.rate_hz} Hz" if stage.spec.rate_hz == "per record" and stage.rate_hz else ""
            )
            blocks: list[Block] = [Words(words, mono=True)]
            if stage.node is not None and (given := parameters(stage.node)):
                blocks.insert(0, Words(given))
            if both and len(there) == 2:
                blocks += viewer.both([(name, one, taken) for name, _, one, taken in there])
            elif both or len(there) < 2 or not chance:
                shown = viewer.view(stage, there[0][3])
                blocks += [Words(f"on {there[0][0]} only:"), *shown] if both else shown
            else:
                blocks += viewer.draws([(epoch, one, taken) for _, epoch, one, taken in there])
            many = len(field.spec_before(stage.number)) > 1
            title = f"{stage.number}. {stage.step}" + (f", {field.sources[stage.part]}" if many else "")
            name = f"{index:06d}_{field.name}_{stage.number:02d}_{stage.node.name if stage.node else 'read'}"
            steps.append(Section(title, album.keep(name + f"_{stage.part}" * many, blocks)))
        failed = [(name, taken.failure) for name, _, taken in takes if taken.failure]
        if not steps and not failed:
            steps.append(Section("0. from " + ", ".join(field.sources), [Words("absent in this record")]))
        if steps:
            sections.append(Section(field.name, sections=steps))
    fell = {
        f"on {name}, " * both + f"epoch {epoch}: fails: {taken.failure}"
        for name, epoch, taken in takes
        if taken.failure
    }
    fell_words = [Words(one) for one in sorted(fell)]
    told = (
        [Words("The record fails, so it would be quarantined; what it had become until then:")] if first.failure else []
    )
    return Section(f"Record {index}: {key}", [*told, *fell_words], sections)


def parameters(node: Node) -> str:
    """What the config says of a step: `degrees=(-15, 15)`; nothing of what the plan made by itself."""
    if node.size_of or node.shares:
        return "as its picture"
    given = node.step.model_dump(include=node.step.model_fields_set, mode="json")
    held = {name: getattr(node.step, name) for name in given}  # of a file its name: a page may be passed on
    told = {name: str(held[name].name if isinstance(held[name], Path) else value) for name, value in given.items()}
    said = (f"{name}={text[:PARAMETER]}{'...' * (len(text) > PARAMETER)}" for name, text in told.items())
    return ", ".join(said)


def _in_order(field: FieldPlan) -> Iterator[tuple[str, int, int]]:
    for number in range(len(field.nodes) + 1):
        for part in range(len(field.spec_before(number))):
            yield field.name, number, part


def tokens_of(field: FieldPlan) -> int | None:
    """The node after which a field is tokens, or ids of tokens, for the first time."""
    for number in range(len(field.nodes) + 1):
        spec = field.spec_before(number)[0]
        if spec.names == ("token",) and (spec.dtype == "text" or spec.unit == "token id"):
            return number
    return None


def texts_section(album: Album, field: FieldPlan, stages: Sequence[Stage], of: int) -> Section | None:
    """How long the texts of a sample are in tokens, and which tokens they hold."""
    if not stages:
        return None
    counts: Counter[str] = Counter()
    for stage in stages:
        if stage.spec.dtype == "text":
            counts.update(stage.value)
        else:
            name = naming_of(stage.nodes, stage.spec.unit) or str
            ids, times = np.unique(np.asarray(stage.value), return_counts=True)
            counts.update({name(int(i)): int(n) for i, n in zip(ids, times, strict=True)})
    lengths = [len(stage.value) for stage in stages]
    words = (
        f"{len(lengths)} of {of} records, spread evenly over the set, after {stages[0].step}: "
        f"{min(lengths)} to {max(lengths)} tokens, {np.mean(lengths):.1f} on average; "
        f"{len(counts)} different ones in {sum(counts.values())}"
    )
    figure = lengths_figure(lengths, "tokens")
    blocks: list[Block] = [Words(words), Picture(figure_png(figure), f"lengths of {field.name}")]
    album.keep(f"texts_{field.name}_lengths", blocks)
    if counts:
        common = [Picture(figure_png(frequency_figure(counts)), f"most frequent tokens of {field.name}")]
        album.keep(f"texts_{field.name}_tokens", common)
        pieces = Pieces([(seen(token), f"{times} times") for token, times in counts.most_common(MOST_FREQUENT)])
        blocks += [*common, Words("The most frequent ones:"), pieces]
    return Section(f"Texts: {field.name}", blocks)


def batch_section(album: Album, plan: Plan, rows: Mapping[str, Rows], place: tuple[int, int], epoch: int) -> Section:
    """The first rows of a batch: the pictures as a grid, and what each field is. `rows` are those of each framework."""
    given = {framework: held for framework, held in rows.items() if held}
    blocks: list[Block] = [
        Words(f"on {framework} every one of its records fails") for framework in rows if framework not in given
    ]
    if given:
        table = [
            [name, str(spec), *(_across(spec, [row[name] for row in held]) for held in given.values())]
            for name, spec in plan.specs.items()
        ]
        blocks.append(Table(("field", "one record", *(f"in these rows, on {name}" for name in given)), table))
    for field in plan.fields:
        spec = plan.specs[field.name]
        if kind_of(spec) == "picture" and len(spec.axes) == 3:
            for framework, held in given.items():
                grid = _grid(field, spec, held, framework, len(rows) > 1)
                blocks += album.keep(f"batch_{framework}_{field.name}", [grid] if grid else [])
    words = f"{place[1] - place[0]} records from position {place[0]} of epoch {epoch} on"
    return Section("One batch", [Words(words), *blocks])


def _grid(field: FieldPlan, spec: Spec, rows: Rows, framework: str, both: bool) -> Picture | None:
    nodes = tuple(reversed(field.nodes))
    values = [np.asarray(row[field.name]) for row in rows if row[field.name] is not None]
    pictures = [reduced(pixels_of(value, spec, nodes)[0], GRID_PIXELS) for value in values if value.size]
    if not pictures:
        return None
    pixels = grid_pixels(pictures, "" if both else framework)  # this process has neither framework where both are shown
    caption = f"{framework}: " * both + f"{field.name}, {len(pictures)} pictures"
    block = picture_block(pixels, f"{field.name} of one batch", caption, GRID_WIDTH)
    times = GRID_WIDTH // pixels.shape[1]
    return block and replace(block, width=pixels.shape[1] * min(times, 3), pixelated=times > 1)


def _across(spec: Spec, values: Sequence[Any]) -> str:
    there = [value for value in values if value is not None]
    absent = f", absent in {len(values) - len(there)}" if len(there) < len(values) else ""
    if not there:
        return f"absent in all {len(values)}"
    if not spec.is_numeric:
        return f"{len(there)} texts{absent}"
    arrays = [np.asarray(value) for value in there]
    shapes = sorted({array.shape for array in arrays})
    what = "numbers" if shapes == [()] else "of shape " + " to ".join(map(str, dict.fromkeys((shapes[0], shapes[-1]))))
    sizes = [np.abs(array) if np.iscomplexobj(array) else array for array in arrays if array.size]
    span = f", {min(a.min() for a in sizes):.6g} to {max(a.max() for a in sizes):.6g}" if sizes else ""
    return f"{len(there)} {what}{span}{absent}"
