"""Batches and pipelines as a notebook shows them: tables, pictures and players of the first few rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipelines.batch import HEADINGS, Batch, shown
from pipelines.native import to_numpy
from pipelines.pipeline import Pipeline
from pipelines.report._page import Block, Row, Table, Words, figure_png, render_blocks
from pipelines.report._page import Picture as PictureBlock
from pipelines.report._show_audio import sound_of, spectrogram_figure
from pipelines.report._show_picture import grid_pixels, picture_block, pixels_of
from pipelines.spec import TEXT, Spec

PICTURES = 16
"""Pictures in the grid."""
ROWS = 4
"""Rows that are listed, played and drawn."""
MOST_BYTES = 400_000
"""Of one sound."""


def batch_html(batch: Batch) -> str:
    """A table of the entries, and what can be looked at or listened to of the first rows; text stays text."""
    blocks: list[Block] = [Table(HEADINGS, batch.table())]
    for name, spec in batch.specs.items():
        if name in batch and hasattr(batch[name], "numpy") and spec.is_numeric and spec.axes:
            blocks += _sights(name, batch, spec)
    if rows := _listed(batch):
        blocks += [Words("The first rows:"), rows]
    return render_blocks(blocks)


def pipeline_html(pipe: Pipeline) -> str:
    """What the pipeline runs, and the fields with their steps."""
    rows = [
        (field.name, ", ".join(field.sources), " → ".join(node.name for node in field.nodes) or "as it is", str(spec))
        for field, spec in ((field, pipe.plan.specs[field.name]) for field in pipe.plan.fields)
    ]
    facts = Table(("pipeline", ""), list(pipe.facts().items()))
    return render_blocks([facts, Table(("field", "from", "steps", "gives"), rows)])


def _sights(name: str, batch: Batch, spec: Spec) -> list[Block]:
    """Pictures as one grid, waveforms as players, spectrograms side by side; of all else nothing."""
    values = to_numpy(batch[name][:PICTURES], spec)
    if values.ndim != len(spec.axes) + 1 or not values.size:
        return []
    if spec.is_picture and values.ndim == 4:
        made = [pixels_of(value, spec, ()) for value in values]
        grid = grid_pixels([pixels for pixels, _ in made], "numpy")
        block = picture_block(grid, f"{name}: the first {len(made)} rows", made[0][1], largest=1000)
        return [Words(f"{name}, the first {len(made)} rows:"), block] if block else []
    values = values[:ROWS]
    found: list[Block] = []
    if spec.names in (("time",), ("channel", "time")) and isinstance(spec.rate_hz, int):
        sounds = [sound_of(_cut(batch, name, row, value), spec.rate_hz, MOST_BYTES) for row, value in enumerate(values)]
        found = [sound for sound in sounds if sound is not None]
    elif len(spec.axes) == 2 and spec.names[-1] == "frame":
        for row, value in enumerate(values):
            figure = spectrogram_figure(_cut(batch, name, row, value), spec.names[0], spec.unit, None, width=4.0)
            found.append(PictureBlock(figure_png(figure), f"{name}, row {row}"))
    return [Words(f"{name}, the first {len(found)} rows:"), Row(found)] if found else []


def _cut(batch: Batch, name: str, row: int, value: Any) -> Any:
    """A row without its padding at the end of the last axis."""
    lengths = batch.get(f"{name}_length")
    return value if lengths is None else value[..., : int(np.ravel(to_numpy(lengths[row], Spec("int64")))[-1])]


def _listed(batch: Batch) -> Table | None:
    """Keys, texts, classes and short vectors of the first rows."""
    columns: dict[str, list[str]] = {}
    for name, value in batch.items():
        if isinstance(value, (str, bytes)):
            continue
        if isinstance(value, list) or getattr(getattr(value, "dtype", None), "name", "") == "string":
            columns[name] = [shown(one) for one in to_numpy(value[:ROWS], TEXT)]
        elif hasattr(value, "numpy") and len(value.shape) <= 2:
            columns[name] = [shown(one) for one in to_numpy(value[:ROWS], Spec("int64")).tolist()]
    if not columns:
        return None
    count = min(map(len, columns.values()))
    return Table(tuple(columns), [[column[row] for column in columns.values()] for row in range(count)])
