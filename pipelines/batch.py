"""What an iteration hands over: a dict of tensors that can tell what it holds."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from pipelines.native import to_numpy
from pipelines.spec import TEXT, Spec

HEADINGS = ("name", "dtype", "shape", "unit", "values", "device")
MOST_SHOWN = 40
"""Characters of a text that are shown."""


class Batch(dict[str, Any]):
    """A dict from name to tensor, as `Pipeline` describes it, which prints dtype, shape, unit, range and device.

    `specs` describes one record's value of each field; every batch of a pipeline holds the same object. Nothing is
    looked at before the batch is printed. `dict(batch)` and `batch | more` give a plain dict.
    """

    def __init__(self, values: Mapping[str, Any] | Any = (), specs: Mapping[str, Spec] | None = None) -> None:
        super().__init__(values)
        self.specs: Mapping[str, Spec] = {} if specs is None else specs

    def copy(self) -> Batch:
        return copy.copy(self)

    def __repr__(self) -> str:
        rows = [HEADINGS, *self.table()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join(["Batch", *(f"  {line}" for line in lines)])

    def _repr_html_(self) -> str:
        from pipelines.report.notebook import batch_html

        return batch_html(self)

    def table(self) -> list[tuple[str, ...]]:
        """A row for each entry, under HEADINGS."""
        return [(name, *_facts(name, value, self.specs.get(name))) for name, value in self.items()]


def framework_of(value: Any) -> str:
    """The framework that a tensor is of."""
    return "torch" if type(value).__module__.startswith("torch") else "tensorflow"


def _facts(name: str, value: Any, spec: Spec | None) -> tuple[str, ...]:
    """Dtype, shape, unit, values and device of one entry."""
    unit = spec.unit if spec is not None else ""
    if isinstance(value, (str, bytes)):
        return type(value).__name__, "", "", shown(value), ""
    if not hasattr(value, "dtype"):
        first = f"{shown(value[0])}, .." if isinstance(value, (list, tuple)) and value else ""
        kind = spec.dtype if spec is not None else "text" if first[:1] in ("'", '"') else type(value).__name__
        return kind, f"[{len(value)} rows]" if hasattr(value, "__len__") else "", unit, first, ""
    dtype = str(getattr(value.dtype, "name", value.dtype)).removeprefix("torch.")
    return dtype, _shape(value, spec), unit, _values(value, dtype), _device(value)


def _shape(value: Any, spec: Spec | None) -> str:
    if getattr(value.shape, "rank", 0) is None:  # of a graph, not known yet
        return "[..]"
    sizes = ["?" if size is None else str(size) for size in value.shape]
    axes = spec.native(framework_of(value)) if spec is not None else ()
    names = ["rows", *(axis.name for axis in axes)] if len(axes) + 1 == len(sizes) else ["rows"]
    named = [f"{name} {size}" for name, size in zip(names, sizes, strict=False)]
    return f"[{', '.join(named + sizes[len(named) :])}]"


def _values(value: Any, dtype: str) -> str:
    """The least and the largest of the numbers, and how many are none."""
    if not (hasattr(value, "numpy") or isinstance(value, np.ndarray)):  # of a graph
        return ""
    if dtype == "string":
        texts = to_numpy(value, TEXT)
        return f"{shown(texts[0])}, .." if isinstance(texts, list) and texts else ""
    numbers = to_numpy(value, Spec(dtype))
    if not numbers.size:
        return "none"
    if numbers.dtype == np.bool_:
        return f"{int(numbers.sum())} of {numbers.size} true"
    magnitude = "magnitude " if np.iscomplexobj(numbers) else ""
    numbers = np.abs(numbers) if magnitude else numbers
    finite = numbers[np.isfinite(numbers)]
    odd = numbers.size - finite.size
    told = ""
    if finite.size:
        least, most = finite.min(), finite.max()
        ends = f"{least} .. {most}" if finite.dtype.kind in "iu" else f"{least:.6g} .. {most:.6g}"
        told = magnitude + ends
    return ", ".join(part for part in (told, f"{odd} not finite" if odd else "") if part)


def _device(value: Any) -> str:
    """Such as cpu, cuda:0, GPU:0."""
    device = str(getattr(value, "device", ""))
    return device.rpartition("device:")[2].replace("CPU:0", "cpu") if "device:" in device else device


def shown(value: Any) -> str:
    """A text or a list, in short, on one line."""
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 2]}.."
