"""An independent oracle for a step: what another library, or the definition in float64, makes of the same input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipelines.contract._values import Record
from pipelines.spec import Spec
from pipelines.step import Agreement, Step

Reference = Callable[[Any, Any, Record], Any]
"""(step, what flows in, the record) to the expected value as NumPy holds it; None where the oracle has no such mode."""


@dataclass(frozen=True)
class Oracle:
    """Who says what is right, and how close a binding in float32 can come; `within` carries the reason."""

    name: str
    gives: Reference
    within: Agreement


@dataclass(frozen=True)
class NoOracle:
    """Why no other library computes the same thing; the step's own tests show its properties instead."""

    why: str


def expected(oracle: Oracle, step: Step, spec: Spec | tuple[Spec, ...], record: Record) -> Any:
    """The oracle's value, or None where it does not go."""
    return oracle.gives(step, spec, record)
