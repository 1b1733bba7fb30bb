"""Amounts that are fixed or drawn: what the random steps of audio share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from pipelines.step import Kernel


def _ordered(amount: float | tuple[float, float]) -> float | tuple[float, float]:
    if isinstance(amount, tuple) and amount[0] > amount[1]:
        raise ValueError(f"expected the smaller number first, got {list(amount)}")
    return amount


Amount = Annotated[float | tuple[float, float], AfterValidator(_ordered)]
"""A number, or [low, high] for one drawn evenly."""
Probability = Annotated[float, Field(ge=0, le=1)]
ALWAYS = (0.0, 0.5)
"""The draw of a step that leaves nothing to chance: every record is changed, by the one amount there is."""


def is_chance(probability: float, *amounts: float | tuple[float, float]) -> bool:
    """Whether there is anything to draw; a step without chance does its work when serving too."""
    return probability < 1 or any(low < high for low, high in map(ends, amounts))


def always_torch(kernel: Kernel) -> Kernel:
    """A kernel that takes (wave, draw) as one that is handed no draw."""
    import torch

    held = torch.tensor(ALWAYS, dtype=torch.float64)
    return lambda wave: kernel(wave, held)


def always_tensorflow(kernel: Kernel) -> Kernel:
    """A kernel that takes (wave, draw) as one that is handed no draw."""
    import tensorflow as tf

    return lambda wave: kernel(wave, tf.constant(ALWAYS, tf.float64))


def ends(amount: float | tuple[float, float]) -> tuple[float, float]:
    """The smallest and the largest value of an amount."""
    return amount if isinstance(amount, tuple) else (amount, amount)


def need_within(name: str, amount: float | tuple[float, float], least: float, most: float) -> None:
    """ValueError unless all that an amount stands for is in [least, most]."""
    if not least <= ends(amount)[0] <= ends(amount)[1] <= most:
        raise ValueError(f"{name}: expected numbers in [{least:g}, {most:g}], got {amount}")


def drawn(amount: float | tuple[float, float], variate: Any) -> Any:
    """The value that a variate in [0, 1) stands for: NumPy, torch or TensorFlow."""
    low, high = ends(amount)
    return low + variate * (high - low)
