"""A profile as tables for the terminal, and as a page with a picture of the timeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pipelines.report._page import Picture, Section, Words, figure_png, new_figure, write_page
from pipelines.report._page import Table as PageTable
from pipelines.report._profile_advice import Figures
from pipelines.runtime._clock import GRAPH, Place, Span

if TYPE_CHECKING:
    from pipelines.report.profile import Profile

GREYS, PALE = ("#6d7888", "#4a5666", "#9aa5b4", "#c3cad4"), ("#edf0f4", "#f6d9d5")
SHOWN_S, SHOWN_BATCHES = 2.0, 12
"""Seconds of the timeline in the picture, at most, and about how many batches are told apart in it."""
HEADINGS = ("step or stage", "seconds", "ms a record", "share, %", "on the processor, %")
ALONE = (
    "The steps run inside a tf.data graph, which Python does not see into: each was measured alone, as a tf.function "
    "over a sample of records (the shortest of three calls after the first), and counted for all of them. Reading was "
    "measured in the run."
)


def view(found: Profile) -> RenderableType:
    """The table of times, the use of threads, the bottleneck and what to change."""
    table = Table(title="Workers' time", title_justify="left", box=None, pad_edge=False)
    for number, heading in enumerate(HEADINGS):
        table.add_column(heading, overflow="fold", justify="right" if number else "left", no_wrap=not number)
    for row in rows(found.figures):
        table.add_row(*(escape(str(cell)) for cell in row))
    parts: list[RenderableType] = [Text(lead(found)), Text(), table, Text()]
    parts += [Text(line) for line in lines(found.figures)]
    verdict = found.verdict
    parts += [Text(), Text(f"Waits on: {verdict.bottleneck}", style="bold"), Text(f"{verdict.why}.")]
    parts += [Text(f"- {line}") for line in advice_lines(found)]
    return Group(*parts)


def lead(found: Profile) -> str:
    """What ran, for how long."""
    figures = found.figures
    return (
        f"{found.config}: {figures.framework} on {found.device}, {figures.records} records in {figures.batches} "
        f"batches, {figures.wall_s:.1f} s, {figures.records_per_second:,.0f} records/s"
    )


def rows(figures: Figures) -> list[tuple[str | float, ...]]:
    """The table's rows, in the order of the work."""
    told: list[tuple[str | float, ...]] = []
    for one in figures.spent:
        share = one.own / max(figures.own_s, 1e-12)
        each = 1000 * one.own / max(figures.records, 1)
        computed = "" if one.computed is None else round(100 * one.computed)
        told.append((one.title, round(one.seconds, 3), round(each, 4), round(100 * share, 1), computed))
    return told


def lines(figures: Figures) -> list[str]:
    """Threads, queue, consumer and bytes, a line each."""
    said = []
    if figures.idle_s is not None and figures.turn_s is not None:
        whole = max(figures.working_s + figures.idle_s + figures.turn_s, 1e-12)
        said.append(
            f"Threads: {figures.threads}, {figures.at_once} of them at once, on {figures.cores} cores; "
            f"working {figures.working_s / whole:.0%}, waiting for their turn {figures.turn_s / whole:.0%}, "
            f"idle {figures.idle_s / whole:.0%}; {figures.busy_cores:.1f} cores busy"
        )
        said.append(
            f"Held up: {figures.held_up:.0%} of the time at work, by the interpreter's lock or for want of a core; "
            "what a record takes, shares and processor's time are of one worker at work, undisturbed"
        )
    else:
        said.append(f"Threads: {figures.threads} of the graph on {figures.cores} cores; {figures.busy_cores:.1f} busy")
    if figures.ready is not None and figures.room is not None:
        said.append(f"Queue: {figures.ready:.1f} of {figures.room} batches ready on average")
    each = 1000 * figures.wall_s / max(figures.batches, 1)
    said.append(f"Consumer: waits for a batch {figures.waiting:.0%} of its time; a batch comes every {each:.1f} ms")
    read, given = (count / max(figures.records, 1) for count in (figures.bytes_read, figures.bytes_delivered))
    said.append(f"Bytes a record: {read:,.0f} read, {given:,.0f} delivered")
    if figures.framework == "tensorflow":
        said.append(ALONE)
    return said


def advice_lines(found: Profile) -> list[str]:
    """What to change, with its gain."""
    return [f"{one.change}: at most {one.gain:.2f}x the records/s; {one.why}" for one in found.verdict.advice]


def write(found: Profile, path: Path) -> None:
    """The page."""
    verdict = found.verdict
    said = [Words(f"Waits on: {verdict.bottleneck}. {verdict.why[:1].upper()}{verdict.why[1:]}.")]
    said += [Words(line) for line in advice_lines(found)]
    table = PageTable(HEADINGS, rows(found.figures))
    sections = [Section("Bottleneck", said), Section("Time", [table, *map(Words, lines(found.figures))])]
    seconds = min(SHOWN_S, SHOWN_BATCHES * found.figures.wall_s / found.figures.batches)
    picture = timeline(found.spans, seconds, [one.title for one in found.figures.spent])
    if picture is not None:
        sections.append(Section("Timeline", [picture]))
    write_page(path, f"Profile of {Path(found.config).name}", lead(found), sections)


def timeline(spans: Sequence[Span], seconds: float, order: Sequence[str]) -> Picture | None:
    """The last `seconds`: a lane for each worker, coloured by what it does; None where nothing was seen.

    `order` are the titles of the places, as the work goes.
    """
    unseen = any(span.place is GRAPH for span in spans)
    spans = [span for span in spans if span.place is not GRAPH and span.end > span.start]
    if not spans:
        return None
    end = max(span.end for span in spans)
    begin = max(end - seconds, min(span.start for span in spans))
    shown = [span for span in spans if span.end > begin]
    lanes = sorted({span.lane for span in shown})
    rank = {title: number for number, title in enumerate(order)}
    places = {span.place for span in shown}
    colours = _colours(sorted(places, key=lambda place: (rank.get(_title(place), len(rank)), place.name)))
    figure = new_figure(11, 1.3 + 0.45 * len(lanes))
    axes = figure.add_subplot()
    for place, colour in colours.items():
        for row, lane in enumerate(lanes):
            mine = [span for span in shown if span.place is place and span.lane == lane]
            bars = [(max(span.start, begin) - begin, span.end - max(span.start, begin)) for span in mine]
            axes.broken_barh(bars, (row - 0.4, 0.8), color=colour, label=_title(place) if row == 0 else None)
    axes.set(xlabel="seconds", xlim=(0, end - begin), ylim=(len(lanes) - 0.5, -0.5))
    axes.set_yticks(range(len(lanes)), [f"worker {row + 1}" for row in range(len(lanes))])
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    alt = f"What {len(lanes)} workers did in {end - begin:.2f} seconds, coloured by step"
    caption = f"The last {end - begin:.2f} s that were measured, a lane for each worker."
    caption += " White: inside the TensorFlow graph, or idle." if unseen else ""
    return Picture(figure_png(figure), alt, caption)


def _title(place: Place) -> str:
    return f"{place.field}: {place.name}" if place.field else place.name


def _colours(places: Sequence[Place]) -> dict[Place, object]:
    """A colour for each step, greys for stages and waiting."""
    from matplotlib import colormaps

    palette = [colormaps["tab20"](number) for number in range(20)]
    kinds: dict[str, Iterator[object]] = {"step": cycle(palette), "stage": cycle(GREYS), "wait": cycle(PALE)}
    return {place: next(kinds[place.kind]) for place in places}
