"""Tokens as coloured pieces with their ids, and how long texts are and which tokens they hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from pipelines.plan import Node
from pipelines.report._page import Pieces, new_figure
from pipelines.report._show_audio import BLUE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PIECES = 160
MOST_FREQUENT = 30
SHORT_RUN = 3
LONGEST_LABEL = 24


def naming_of(nodes: Iterable[Node], unit: str) -> Callable[[int], str] | None:
    """What numbers in `unit` stand for, as the last step that gave them a meaning says; "?" for those it knows not."""
    for node in nodes:
        if node.gives[0].unit != unit:
            return None
        name = node.step.naming()
        if name is not None:
            return partial(_name, name)
    return None


def _name(name: Callable[[int], str], number: int) -> str:
    try:
        return name(number) if number >= 0 else "?"
    except (LookupError, ValueError, OverflowError):
        return "?"


def seen(token: str) -> str:
    """A token with its white space and controls made visible."""
    made = "".join("␣" if c == " " else c if c.isprintable() else repr(c)[1:-1] for c in token)
    return made or "''"


def pieces_of(tokens: Sequence[str]) -> list[Pieces | str]:
    """Texts as coloured pieces over their places."""
    return _cut([(seen(token), str(place)) for place, token in enumerate(tokens)])


def ids_of(ids: npt.NDArray[Any], name: Callable[[int], str] | None) -> list[Pieces | str]:
    """Ids as coloured pieces: the token over its id, where it is known; many equal ones at the end stand as one."""
    numbers = [int(i) for i in ids.tolist()]
    run = _run_at_end(numbers)
    kept = numbers[: len(numbers) - run + 1] if run > SHORT_RUN else numbers
    pieces = [(seen(name(i)) if name else str(i), str(i) if name else "") for i in kept]
    if run > SHORT_RUN:
        token, under = pieces[-1]
        pieces[-1] = (f"{token} × {run}", under)
    return _cut(pieces)


def _cut(tokens: list[tuple[str, str]]) -> list[Pieces | str]:
    found: list[Pieces | str] = [Pieces(tokens[:PIECES])]
    if len(tokens) > PIECES:
        found.append(f"... and {len(tokens) - PIECES} more")
    return found


def _run_at_end(ids: list[int]) -> int:
    """How many equal ids a list ends in, such as padding."""
    return next((n for n, one in enumerate(reversed(ids)) if one != ids[-1]), len(ids))


def lengths_figure(lengths: Sequence[int], what: str) -> Figure:
    """How many of the texts are how long."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(5.2, 2.6)
    axis = figure.subplots()
    least, most = min(lengths), max(lengths)
    wide = max(1, -(-(most - least + 1) // 40))
    axis.hist(lengths, bins=[edge - 0.5 for edge in range(least, most + wide + 1, wide)], color=BLUE)
    axis.set_xlabel(f"{what} in a record")
    axis.set_ylabel("records")
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def frequency_figure(counts: Counter[str]) -> Figure:
    """The most frequent tokens and how often each stands."""
    common = counts.most_common(MOST_FREQUENT)
    figure = new_figure(9.2, 2.9)
    axis = figure.subplots()
    axis.bar(range(len(common)), [times for _, times in common], color=BLUE)
    labels = [seen(token) for token, _ in common]
    cut = [label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…" for label in labels]
    axis.set_xticks(range(len(common)), cut, rotation=60, ha="right", parse_math=False)
    axis.tick_params(axis="x", labelsize=9)
    axis.set_xlim(-0.6, max(len(common), 1) - 0.4)
    axis.set_ylabel("times")
    return figure
