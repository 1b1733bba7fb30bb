"""Boxes around the things in a picture."""

from __future__ import annotations

import json
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipelines.errors import RecordError, SpecError
from pipelines.spec import BOXES, TEXT, Axis, Spec
from pipelines.step import Example, HostStep, Identical, Kernel

Numbers = npt.NDArray[np.float64]


class Boxes(HostStep):
    """Boxes from a table or a JSON text, as corners.

    Takes  text, JSON of a list of boxes of 4 numbers each, or a flat list; or int64, float64 or float32 of
           [box, corner 4], or of one axis, 4 numbers a box
    Gives  float32[box, corner 4]   left, top, right, bottom in pixels from the picture's left and top edges

    `form` says what the 4 numbers are: "corners" (left, top, right, bottom: Pascal VOC), "size" (left, top, width,
    height: COCO), or "centre" (x, y of the centre, width, height: YOLO). `relative` numbers are shares of the picture's
    width and height; a field that `follows` its picture brings them to pixels. Boxes that are no boxes, with numbers
    that are missing or not finite, or with negative sides, fail the record. No boxes at all are an empty list.
    Source: the forms of torchvision.ops.box_convert.
    """

    form: Literal["corners", "size", "centre"] = "corners"
    relative: bool = False

    agreement = Identical("one NumPy binding")
    examples = (
        Example(TEXT, {}, lambda rng: ["[]", "[[0, 1, 20.5, 30]]", "[1, 2, 3, 4, 5, 6, 7, 8]"]),
        Example(Spec("float64", (Axis("box"), Axis("corner", 4))), {"form": "size"}, lambda rng: list(_some(rng))),
        Example(
            Spec("float64", (Axis("number"),)),
            {"form": "centre", "relative": True},
            lambda rng: [b.ravel() for b in _some(rng)],
        ),
    )

    def out_spec(self, x: Spec) -> Spec:
        if x.dtype == "text":
            x.need(exactly=())
        else:
            x.need(("int64", "float64", "float32"))
            if len(x.axes) not in (1, 2) or (len(x.axes) == 2 and x.shape[-1] != 4):
                raise SpecError(f"expected [box, 4] or 4 numbers a box on one axis, got {x}")
        return BOXES.but(unit="share", range=(0.0, 1.0)) if self.relative else BOXES

    def bind_numpy(self, x: Spec) -> Kernel:
        def kernel(value: Any) -> npt.NDArray[np.float32]:
            numbers = _parsed(value) if x.dtype == "text" else np.asarray(value, np.float64)
            if numbers.size % 4 or (numbers.ndim == 2 and numbers.size and numbers.shape[1] != 4) or numbers.ndim > 2:
                raise RecordError(f"expected boxes of 4 numbers each, got shape {list(numbers.shape)}")
            corners = self._corners(numbers.reshape(-1, 4))
            if not np.isfinite(corners).all():
                raise RecordError("a box has a number that is not finite")
            if (corners[:, 2:] < corners[:, :2]).any():
                raise RecordError("a box ends before it begins")
            if self.relative and ((corners < -1e-6) | (corners > 1 + 1e-6)).any():  # shares are rounded in files
                raise RecordError("a box is outside [0, 1], which relative boxes cannot be")
            return (np.clip(corners, 0, 1) if self.relative else corners).astype(np.float32)

        return kernel

    def _corners(self, boxes: Numbers) -> Numbers:
        first, second = boxes[:, :2], boxes[:, 2:]
        if self.form == "corners":
            return boxes
        start = first if self.form == "size" else first - second / 2
        return np.concatenate([start, start + second], 1)


def _parsed(text: str) -> Numbers:
    try:
        return np.array(json.loads(text), dtype=np.float64)
    except (ValueError, TypeError, RecursionError) as error:
        raise RecordError(f"expected JSON of a list of boxes, got {text[:60]!r}") from error


def _some(rng: np.random.Generator) -> Any:
    for count in (3, 0, 1):
        yield rng.uniform(0.2, 0.4, (count, 4))
