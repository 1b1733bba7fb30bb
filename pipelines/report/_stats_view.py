"""The statistics of a data set as tables on the terminal and as a page with plots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import rich.table
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from pipelines.report._page import Block, Picture, Row, Section, Table, Words, figure_png, new_figure, write_page
from pipelines.report._show_audio import BLUE
from pipelines.report._show_text import LONGEST_LABEL, seen
from pipelines.report.stats import Column, Statistics, Tokens, spread

MOST_ROWS = 30
MOST_REPEATED = 8
BINS = 40


def stats_tables(found: Statistics) -> RenderableType:
    """A table for what each value is, one for its labels, and what is wrong with which records."""
    parts: list[RenderableType] = [Text(_lead(found)), Text()]
    for title, headings, rows in _all_tables(found):
        parts.append(Text(title, style="bold"))
        if not rows:
            parts.append(Text())
            continue
        table = rich.table.Table(box=None, pad_edge=False)
        for number, heading in enumerate(headings):
            table.add_column(heading, overflow="fold", justify="left" if number == 0 else "right")
        for row in rows:
            table.add_row(*(escape(_cell(value)) for value in row))
        parts += [table, Text()]
    parts += [Text(note) for note in _notes(found)]
    return Group(*parts)


def stats_page(found: Statistics, path: Path) -> None:
    """The same tables with plots beside them, as one HTML file."""
    sections = []
    for column in found.columns:
        blocks: list[Block] = []
        for title, headings, rows in _tables(column):
            blocks += [Words(title), *([Table(headings, _cells(rows))] if rows else [])]
        plots = [Picture(figure_png(figure), alt) for figure, alt in _plots(column)]
        if column.constant is None:
            blocks += [Row(plots)] if plots else [Words("Of these values there is no picture.")]
        sections.append(Section(column.name, blocks))
    for one in found.tokens:
        plot = _histogram(one.lengths, f"tokens of {one.field}")
        facts: list[Block] = []
        for title, headings, rows in _token_table(one):
            facts += [Words(title), Table(headings, _cells(rows))]
        sections.append(Section(f"tokens of {one.field}", [*facts, Picture(figure_png(plot), "how many tokens")]))
    wrong: list[Block] = []
    for title, headings, rows in _wrong(found):
        wrong += [Words(title), Table(headings, _cells(rows))]
    sections.append(Section("Health", [*wrong, *map(Words, _notes(found))]))
    write_page(path, f"{found.config}: the data", _lead(found), sections)


Rows = Sequence[Sequence[Any]]
Titled = tuple[str, Sequence[str], Rows]


def _lead(found: Statistics) -> str:
    if found.looked_at == found.records:
        return f"{found.config}: {found.records:,} records"
    return f"{found.config}: {found.looked_at:,} of {found.records:,} records, spread evenly over all"


def _notes(found: Statistics) -> Iterator[str]:
    if found.untold:
        yield found.untold
    if not found.failures:
        yield "every record looked at can be read, as its header says; damage further in shows in a run"


def _all_tables(found: Statistics) -> Iterator[Titled]:
    for column in found.columns:
        yield from _tables(column)
    for one in found.tokens:
        yield from _token_table(one)
    yield from _wrong(found)


SPREAD = ("", "least", "median", "mean", "most")


def _tables(column: Column) -> Iterator[Titled]:
    rows: list[Sequence[Any]] = []

    def add(name: str, values: Sequence[float]) -> None:
        if values:
            rows.append((name, *spread(list(values)).values()))

    title = f"{column.name}: {column.count:,} values"
    title += f", {column.absent:,} absent" if column.absent else ""
    title += f", {column.not_finite:,} not finite" if column.not_finite else ""
    if (constant := column.constant) is not None:
        yield f"{title}, always {constant!r}", SPREAD, ()
        return
    add("bytes", column.lengths)
    add("width, pixels", [one.width for one in column.pictures])
    add("height, pixels", [one.height for one in column.pictures])
    add("length, seconds", [one.seconds for one in column.sounds])
    if not column.classes:
        add("characters", [characters for characters, _ in column.texts])
        add("words between white space", [words for _, words in column.texts])
    add("number", column.numbers)
    add("elements", column.sizes)
    yield title, SPREAD, rows
    kinds: list[tuple[str, Any, int]] = []
    formats = [one.format for one in column.pictures] + [one.format for one in column.sounds]
    kinds += [("format", value, n) for value, n in Counter(formats).most_common()]
    if column.unknown_files:
        kinds.append(("format", "neither a picture nor a sound", len(column.unknown_files)))
    kinds += [("mode", value, n) for value, n in Counter(one.mode for one in column.pictures).most_common()]
    kinds += [("sampling rate, Hz", v, n) for v, n in Counter(one.rate_hz for one in column.sounds).most_common()]
    kinds += [("channels", value, n) for value, n in Counter(one.channels for one in column.sounds).most_common()]
    if kinds:
        yield f"kinds of {column.name}", ("", "is", "records"), kinds[:MOST_ROWS]
    if classes := column.classes:
        total = classes.total()
        shares = [(value, count, f"{count / total:.1%}") for value, count in classes.most_common(MOST_ROWS)]
        more = f", the {MOST_ROWS} most frequent" if len(classes) > MOST_ROWS else ""
        yield f"labels in {column.name}: {len(classes)} classes{more}", ("class", "records", "share"), shares
    if repeated := column.repeated:
        shown = [(", ".join(keys[:3]), len(keys)) for keys in repeated[:MOST_REPEATED]]
        count = sum(len(keys) - 1 for keys in repeated)
        yield f"{column.name}: records that hold what another holds: {count}", ("the same in", "records"), shown


def _token_table(one: Tokens) -> Iterator[Titled]:
    rows: list[Sequence[Any]] = [("tokens", *spread(one.lengths).values())]
    unknown = "" if one.unknown is None else f", {one.unknown:.2%} of the tokens unknown"
    of = f"{len(one.lengths):,} of {one.asked:,} records, the others fail or have none"
    of = f"{one.asked:,} records" if len(one.lengths) == one.asked else of
    yield f"tokens of {one.field} by {one.step}, of {of}{unknown}", SPREAD, rows


def _wrong(found: Statistics) -> Iterator[Titled]:
    if found.failures:
        rows = [(reason, ", ".join(keys[:3]), len(keys)) for reason, keys in found.failures.items()]
        count = sum(map(len, found.failures.values()))
        yield f"{count} values that cannot be read", ("reason", "in", "records"), rows[:MOST_ROWS]
    if found.quarantine:
        total = sum(found.quarantine.values())
        rows_ = list(found.quarantine.items())[:MOST_ROWS]
        yield f"{total} records quarantined by the last run", ("step and reason", "records"), rows_


def _plots(column: Column) -> Iterator[tuple[Any, str]]:
    if column.constant is not None:
        return
    if column.sounds:
        yield _histogram([one.seconds for one in column.sounds], "length, seconds"), "how long the sounds are"
    if column.pictures:
        yield _sizes(column), "width and height of the pictures"
    if column.lengths:
        yield _histogram(column.lengths, "bytes"), "how large the files are"
    if column.classes:
        yield _bars(column.classes), "how often each class stands"
    elif column.texts:
        yield _histogram([characters for characters, _ in column.texts], "characters"), "how long the texts are"
    elif column.numbers:
        yield _histogram(column.numbers, column.name), "the numbers"
    if column.sizes:
        yield _histogram(column.sizes, "elements"), "how large the arrays are"


def _histogram(values: Sequence[float], unit: str) -> Any:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    figure = new_figure(4.6, 2.6)
    axes = figure.subplots()
    axes.hist(values, bins=BINS, color=BLUE)
    if max(map(abs, values)) >= 10_000:
        axes.xaxis.set_major_formatter(EngFormatter())
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(unit, parse_math=False)
    axes.set_ylabel("records")
    return figure


def _sizes(column: Column) -> Any:
    figure = new_figure(4.0, 3.4)
    axes = figure.subplots()
    counts = Counter((one.width, one.height) for one in column.pictures)
    widths, heights = zip(*counts, strict=True)
    area = [20 + 180 * count / max(counts.values()) for count in counts.values()]
    axes.scatter(widths, heights, s=area, alpha=0.5, color=BLUE, linewidths=0)
    axes.set_xlabel("width, pixels")
    axes.set_ylabel("height, pixels")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    return figure


def _bars(classes: Counter[str]) -> Any:
    shown = classes.most_common(MOST_ROWS)[::-1]
    figure = new_figure(4.6, 1.0 + 0.2 * len(shown))
    axes = figure.subplots()
    places = range(len(shown))
    axes.barh(places, [count for _, count in shown], color=BLUE)
    axes.set_yticks(places, [seen(value)[:LONGEST_LABEL] for value, _ in shown], parse_math=False)
    axes.set_xlabel("records")
    return figure


def _cells(rows: Rows) -> list[list[Any]]:
    """Numbers of a table on a page: whole ones as such, others with four digits."""
    return [[_number(value) if isinstance(value, float) else value for value in row] for row in rows]


def _number(value: float) -> float:
    return round(value) if value.is_integer() or abs(value) >= 1000 else float(f"{value:.4g}")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        value = _number(value)
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)
