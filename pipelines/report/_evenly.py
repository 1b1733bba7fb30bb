"""Which of many records a sample takes."""

from __future__ import annotations

import numpy as np


def evenly(records: int, most: int) -> list[int]:
    """Up to `most` numbers below `records`, spread evenly, the first and the last among them if there are two."""
    return [int(number) for number in np.linspace(0, records - 1, min(most, records)).round()]
