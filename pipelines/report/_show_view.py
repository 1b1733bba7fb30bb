"""One value between two steps as blocks of a page: which view it gets follows from its spec alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.report._page import Block, Picture, Pieces, Row, Sound, Table, Words, figure_png
from pipelines.report._show_audio import peak_of, sound_of, spectral_node, spectrogram_figure, waveform_figure
from pipelines.report._show_picture import picture_block, pixels_of, with_boxes
from pipelines.report._show_take import Stage, Taken
from pipelines.report._show_text import ids_of, naming_of, pieces_of
from pipelines.report.tables import value_text
from pipelines.spec import BOXES, Spec
from pipelines.step import absolute_gaps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHARACTERS = 1000
NUMBERS = 64
BOX_ROWS = 20
SAME = "difference: none, equal to the last bit"
SMALL_INCHES = 4.2
SMALL_PIXELS = 150


@dataclass(frozen=True)
class Viewer:
    """Makes views; `sound_bytes` bounds each player, `follows` names the picture that a field of boxes follows."""

    sound_bytes: int
    follows: dict[str, str]

    def view(self, stage: Stage, taken: Taken, *, small: bool = False, peak: float | None = None) -> list[Block]:
        """The value in pictures, sounds, pieces and words; `small`, with one `peak`, for several side by side."""
        spec, value = stage.spec, stage.value
        if value is None:
            return [Words("absent in this record")]
        if spec.dtype == "bytes":
            return [Words(value_text(value), mono=True)]
        if spec.dtype == "text":
            if spec.axes:
                return _pieces(pieces_of(value))
            more = f" ... and {len(value) - CHARACTERS} more characters" if len(value) > CHARACTERS else ""
            return [Words(value[:CHARACTERS] + more, mono=True)]
        if not np.asarray(value).size:
            return [Words(f"empty: shape {np.shape(value)}")]
        return self._numbers(stage, np.asarray(value), taken, small, peak)

    def _numbers(self, stage: Stage, value: Any, taken: Taken, small: bool, peak: float | None) -> list[Block]:
        spec, kind = stage.spec, kind_of(stage.spec)
        width = SMALL_INCHES if small else 7.0
        alt = f"{stage.field.name} after {stage.step}"
        if kind == "waveform":
            figure = waveform_figure(value, _rate(stage), width=width, unit=spec.unit, peak=peak)
            rate = _rate(stage)
            sound = None if rate is None else sound_of(value, rate, self.sound_bytes)
            plot = Picture(figure_png(figure), alt, f"{value.shape[-1]} samples")
            return [plot, sound] if sound else [plot]
        if kind == "spectrogram":
            views = value.reshape(-1, *value.shape[-2:])
            figures = [spectrogram_of(stage, one, width=width) for one in views[:2]]
            return [Picture(figure_png(figure), alt, _span(value)) for figure in figures]
        if kind == "picture":
            found: list[Block] = []
            for one in value.reshape(-1, *value.shape[-3:])[:4]:
                pixels, told = pixels_of(one, spec, stage.nodes)
                block = picture_block(pixels, alt, told, *([SMALL_PIXELS] if small else []))
                found += [block] if block else []
            return found
        if kind == "ids":
            return _pieces(ids_of(value, naming_of(stage.nodes, spec.unit)))
        if kind == "class":
            name = naming_of(stage.nodes, "class")
            numbers = np.ravel(value)[:NUMBERS].tolist()
            return [Words(", ".join(f"class {n}" + (f": {name(n)}" if name else "") for n in numbers))]
        if kind == "boxes":
            return self._boxes(stage, value, taken)
        return _plain(spec, value)

    def _boxes(self, stage: Stage, value: Any, taken: Taken) -> list[Block]:
        rows = [[number, *map(float, box)] for number, box in enumerate(value[:BOX_ROWS].round(3).tolist())]
        table = Table(("box", "left", "top", "right", "bottom"), rows)
        more: list[Block] = [] if len(value) <= BOX_ROWS else [Words(f"... and {len(value) - BOX_ROWS} more boxes")]
        picture = final(taken, self.follows.get(stage.field.name, ""))
        if picture is None or stage.number != len(stage.field.nodes) or kind_of(picture.spec) != "picture":
            return [Words("boxes without a picture of their own:"), table, *more]
        pixels, _ = pixels_of(np.asarray(picture.value), picture.spec, picture.nodes)
        drawn = picture_block(with_boxes(pixels, value), f"{stage.field.name} in {picture.field.name}", "")
        return [Row([*([drawn] if drawn else []), table]), *more]

    def draws(self, stages: Sequence[tuple[int, Stage, Taken]]) -> list[Block]:
        """What one random step makes of the same record with the draws of several epochs."""
        return beside(self._small([(f"epoch {epoch}", stage, taken) for epoch, stage, taken in stages]))

    def _small(self, stages: Sequence[tuple[str, Stage, Taken]]) -> list[tuple[str, list[Block]]]:
        """Small views that can be compared: waveforms on one scale."""
        waves = [stage for _, stage, _ in stages if kind_of(stage.spec) == "waveform" and stage.value is not None]
        peak = max((peak_of(np.asarray(stage.value)) for stage in waves), default=None)
        return [(name, self.view(stage, taken, small=True, peak=peak)) for name, stage, taken in stages]

    def both(self, stages: Sequence[tuple[str, Stage, Taken]]) -> list[Block]:
        """The same value on both frameworks, and their difference."""
        named = self._small(stages)
        (_, a, _), (_, b, _) = stages
        words, shown = self._difference(a, b)
        if words == SAME and all(isinstance(block, (Words, Pieces)) for block in named[0][1]):
            return [Words("the same on both frameworks:"), *named[0][1]]
        return [*beside(named), Words(words), *shown]

    def _difference(self, a: Stage, b: Stage) -> tuple[str, list[Block]]:
        spec = a.spec
        if not spec.is_numeric:
            if a.value == b.value:
                return SAME, []
            where = next((i for i, (x, y) in enumerate(zip(a.value, b.value, strict=False)) if x != y), None)
            at = min(len(a.value), len(b.value)) if where is None else where
            return f"difference: from place {at} on, of {len(a.value)} and {len(b.value)}", []
        x, y = np.asarray(a.value), np.asarray(b.value)
        if x.shape != y.shape:
            return f"difference: shapes {x.shape} and {y.shape}", []
        gaps = absolute_gaps(x, y)
        largest = float(gaps.max(initial=0.0))
        words = f"difference: at most {largest:.3g}{f' {spec.unit}' if spec.unit else ''}"
        if not largest:
            return SAME, []
        words += f", in {np.count_nonzero(gaps)} of {gaps.size} values"
        figure = self._gap_figure(a, x, y, gaps)
        return words, [] if figure is None else [Picture(figure_png(figure), "difference", "torch less tensorflow")]

    def _gap_figure(self, stage: Stage, x: Any, y: Any, gaps: Any) -> Figure | None:
        kind = kind_of(stage.spec)
        signed = gaps if np.iscomplexobj(x) else x.astype(np.float64) - y.astype(np.float64)
        if kind == "waveform":
            return waveform_figure(signed, _rate(stage), width=SMALL_INCHES)
        if kind == "spectrogram":
            return spectrogram_of(
                stage, signed.reshape(-1, *signed.shape[-2:])[0], width=SMALL_INCHES, around_zero=True
            )
        if kind == "picture":
            one = np.abs(signed.reshape(-1, *signed.shape[-3:])[0]).max(-1)
            return spectrogram_figure(one[::-1], "row from below", "largest of the channels", None, width=SMALL_INCHES)
        return None


def kind_of(spec: Spec) -> str:
    """Which view numbers get: by axes and unit, "" where there is none."""
    if spec.is_picture:
        return "picture"
    if spec.names[-1:] == ("time",) and spec.names[:-1] in ((), ("channel",)):
        return "waveform"
    if len(spec.axes) > 1 and spec.names[-1] == "frame":
        return "spectrogram"
    if spec.names == ("token",) and spec.unit == "token id":
        return "ids"
    if spec.names == BOXES.names:
        return "boxes"
    return "class" if spec.unit == "class" and len(spec.axes) < 2 else ""


def spectrogram_of(stage: Stage, values: Any, **options: Any) -> Figure:
    """The figure of one channel of a spectrogram, its axes as the step that made it knows them."""
    node = spectral_node(stage.nodes)
    return spectrogram_figure(values, stage.spec.names[-2], stage.spec.unit, node, **options)


def final(taken: Taken, field: str) -> Stage | None:
    """What a field's last step made of a record."""
    stages = [stage for stage in taken.stages.values() if stage.field.name == field]
    return stages[-1] if stages and stages[-1].number == len(stages[-1].field.nodes) else None


def beside(named: Sequence[tuple[str, Sequence[Block]]]) -> list[Block]:
    """Several views side by side, each with its name: first blocks in one row, second ones in the next."""
    if all(len(blocks) == 1 and isinstance(blocks[0], (Words, Pieces)) for _, blocks in named):
        return [part for name, blocks in named for part in (Words(f"{name}:"), blocks[0])]
    most = max(len(blocks) for _, blocks in named)
    return [
        Row([_named(blocks[place], name) for name, blocks in named if place < len(blocks)]) for place in range(most)
    ]


def _named(block: Block, name: str) -> Block:
    if isinstance(block, (Picture, Sound)):
        return replace(block, caption=f"{name}: {block.caption}" if block.caption else name)
    return replace(block, text=f"{name}: {block.text}") if isinstance(block, Words) else block


def _rate(stage: Stage) -> int | None:
    rate = stage.spec.rate_hz
    return rate if isinstance(rate, int) else stage.rate_hz


def _span(value: Any) -> str:
    shown = np.abs(value) if np.iscomplexobj(value) else value
    return f"values {shown.min():.4g} to {shown.max():.4g}"


def _pieces(parts: Sequence[Pieces | str]) -> list[Block]:
    return [Words(part) if isinstance(part, str) else part for part in parts]


def _plain(spec: Spec, value: Any) -> list[Block]:
    numbers = np.ravel(value)
    if value.ndim == 0:
        return [Words(f"{value.item()}{f' {spec.unit}' if spec.unit else ''} (a number: it has no picture)")]
    form: Callable[[Any], str] = str if value.dtype.kind in "iub" else "{:.4g}".format
    listed = " ".join(form(n) for n in numbers[:NUMBERS].tolist()) + (" ..." if numbers.size > NUMBERS else "")
    return [Words(f"{value_text(value)}. Values of these axes have no picture:"), Words(listed, mono=True)]
