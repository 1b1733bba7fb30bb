"""Amounts that are fixed or drawn: what the random steps of audio share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field


def _ordered(amount: float | tuple[float, float]) -> float | tuple[float, float]:
    if isinstance(amount, tuple) and amount[0] > amount[1]:
        raise ValueError(f"expected the smaller number first, got {list(amount)}")
    return amount


Amount = Annotated[float | tuple[float, float], AfterValidator(_ordered)]
"""A number, or [low, high] for one drawn evenly."""
Probability = Annotated[float, Field(ge=0, le=1)]


def ends(amount: float | tuple[float, float]) -> tuple[float, float]:
    """The smallest and the largest value of an amount."""
    return amount if isinstance(amount, tuple) else (amount, amount)


def drawn(amount: float | tuple[float, float], variate: Any) -> Any:
    """The value that a variate in [0, 1) stands for: NumPy, torch or TensorFlow."""
    low, high = ends(amount)
    return low + variate * (high - low)
