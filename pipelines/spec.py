"""What flows between two steps: named axes, dtype, unit, range and sampling rate.

A spec describes one record's value, without a batch axis. An axis of size None differs from
record to record. Pictures are described channel last; PyTorch holds them channel first, its own
layout, and `Spec.native` gives the axes in the order a framework holds them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any, Literal

from pydantic import TypeAdapter

from pipelines.errors import SpecError

Framework = Literal["torch", "tensorflow"]
FRAMEWORKS: tuple[Framework, ...] = ("torch", "tensorflow")
Floats = Literal["float32", "float16", "bfloat16"]
HALF_MOST = 65504
"""The largest float16."""
PER_RECORD: Literal["per record"] = "per record"


@dataclass(frozen=True)
class Axis:
    """One named axis; `size` None means that it differs from record to record."""

    name: str
    size: int | None = None

    def __str__(self) -> str:
        return self.name if self.size is None else f"{self.name} {self.size}"


@dataclass(frozen=True)
class Spec:
    """One value: `dtype` is a NumPy dtype name, "bytes" (an encoded file) or "text" (a string).

    `range` holds the smallest and largest value that can occur, where that is known.
    `rate_hz` is the sampling rate of a waveform, or PER_RECORD when each record has its own; the
    rate then travels beside the data, and only steps with `takes_rate` are handed it.
    `optional` says that a record may lack the value; it is None there.
    """

    dtype: str
    axes: tuple[Axis, ...] = ()
    unit: str = ""
    range: tuple[float, float] | None = None
    rate_hz: int | Literal["per record"] | None = None
    optional: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(axis.name for axis in self.axes)

    @property
    def shape(self) -> tuple[int | None, ...]:
        return tuple(axis.size for axis in self.axes)

    @property
    def is_numeric(self) -> bool:
        return self.dtype not in ("bytes", "text")

    @property
    def is_picture(self) -> bool:
        return self.names[-3:] == ("height", "width", "channel")

    @property
    def is_fixed(self) -> bool:
        """Whether records can be stacked: numbers of one known shape and one known rate."""
        return self.is_numeric and None not in self.shape and self.rate_hz != PER_RECORD

    @property
    def varying(self) -> tuple[int, ...]:
        """Positions of the axes whose size differs from record to record."""
        return tuple(i for i, axis in enumerate(self.axes) if axis.size is None)

    def size(self, name: str) -> int | None:
        """Size of the axis called `name`; None when it differs from record to record."""
        return dict(zip(self.names, self.shape, strict=True))[name]

    def native(self, framework: str) -> tuple[Axis, ...]:
        """The axes in the order `framework` holds them."""
        if framework == "torch" and self.is_picture:
            return (*self.axes[:-3], self.axes[-1], self.axes[-3], self.axes[-2])
        return self.axes

    def but(self, **changes: Any) -> Spec:
        """The same spec with some fields changed."""
        return replace(self, **changes)

    def need(
        self,
        dtypes: tuple[str, ...] = (),
        *,
        last: tuple[str, ...] = (),
        exactly: tuple[str, ...] | None = None,
    ) -> None:
        """Raise SpecError unless the dtype is one of `dtypes` and the axes end with (or are) those named."""
        if dtypes and self.dtype not in dtypes:
            raise SpecError(f"expected {' or '.join(dtypes)}, got {self}")
        if last and self.names[-len(last) :] != last:
            raise SpecError(f"expected axes ending in ({', '.join(last)}), got {self}")
        if exactly is not None and self.names != exactly:
            raise SpecError(f"expected axes ({', '.join(exactly)}), got {self}")

    def need_rate(self) -> int:
        """The one known sampling rate in Hz, or SpecError."""
        if not isinstance(self.rate_hz, int):
            found = "each record has its own" if self.rate_hz == PER_RECORD else "none is known"
            raise SpecError(f"expected one sampling rate, but {found}; put audio.resample before this step")
        return self.rate_hz

    def to_json(self) -> dict[str, Any]:
        """The spec as plain JSON values; an infinite end of the range is the string "inf" or "-inf"."""
        ends = self.range and [float(end) if math.isfinite(end) else str(float(end)) for end in self.range]
        return {**asdict(self), "axes": [asdict(axis) for axis in self.axes], "range": ends}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Spec:
        """The spec that `to_json` gave, or ValueError saying what is wrong in it."""
        return _reader().validate_python(data)

    def __str__(self) -> str:
        parts = [f"{self.dtype}[{', '.join(map(str, self.axes))}]" if self.axes else self.dtype]
        if self.unit:
            parts.append(self.unit)
        if self.range:
            parts.append(f"in [{self.range[0]:g}, {self.range[1]:g}]")
        if self.rate_hz is not None:
            parts.append(f"at {self.rate_hz} Hz" if isinstance(self.rate_hz, int) else "at its own rate")
        return " ".join(parts)


@cache
def _reader() -> TypeAdapter[Spec]:
    return TypeAdapter(Spec)


BYTES = Spec("bytes")
TEXT = Spec("text")
BOXES = Spec("float32", (Axis("box"), Axis("corner", 4)), "pixel")
"""Left, top, right and bottom of each box, in pixels from the picture's left and top edges."""


def waveform(rate_hz: int | Literal["per record"] | None, channels: int | None = None, time: int | None = None) -> Spec:
    """float32 samples in [-1, 1]: axes (time), or (channel, time) when `channels` is given."""
    axes = (Axis("time", time),) if channels is None else (Axis("channel", channels), Axis("time", time))
    return Spec("float32", axes, "amplitude", (-1.0, 1.0), rate_hz)


def picture(height: int | None = None, width: int | None = None, channels: int = 3, dtype: str = "uint8") -> Spec:
    """A picture: uint8 levels in [0, 255], or float32 in [0, 1]."""
    axes = (Axis("height", height), Axis("width", width), Axis("channel", channels))
    return Spec(dtype, axes, "level", (0, 255) if dtype == "uint8" else (0.0, 1.0))
