"""How far each binding is from the oracle and from the other, on every example of a step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from oracle.audio_oracles import ORACLES as AUDIO
from oracle.base import NoOracle, Oracle, expected
from oracle.image_oracles import ORACLES as IMAGE
from oracle.text_oracles import ORACLES as TEXT

from pipelines.contract._harness import Case, cases
from pipelines.spec import FRAMEWORKS
from pipelines.step import Agreement, Close, Levels, difference

ORACLES: dict[str, Oracle | NoOracle] = {**AUDIO, **TEXT, **IMAGE}


@dataclass
class Gap:
    """The largest difference between two sets of results, in the unit of an agreement."""

    agreement: Agreement
    largest: float = 0.0
    share: float = 0.0
    compared: int = 0

    def add(self, a: Any, b: Any) -> None:
        """Compare one pair of results."""
        self.compared += 1
        x, y = np.asarray(a), np.asarray(b)
        gap = difference(x, y) if x.dtype.kind in "biufc" else 0.0 if list(a) == list(b) else float("inf")
        if isinstance(self.agreement, Close) and self.agreement.of_peak and y.size:
            peak = float(np.abs(y).max())
            gap = gap / peak if peak else gap
        self.largest = max(self.largest, gap)
        if x.shape == y.shape and x.dtype.kind in "iu" and x.size:
            self.share = max(self.share, float(np.mean(x != y)))

    def __str__(self) -> str:
        if not self.compared:
            return "-"
        if not self.largest:
            return "identical"
        if isinstance(self.agreement, Close) and self.agreement.of_peak:
            return f"{self.largest:.1e} of peak"
        if isinstance(self.agreement, Levels) and self.share:
            return f"{self.largest:g} level{'s' * (self.largest != 1)} on {self.share:.2%}"
        return f"{self.largest:.1e}"


@dataclass
class Row:
    """One step's line of the parity table."""

    step: str
    oracle: Oracle | NoOracle
    agreement: Agreement
    gaps: dict[str, Gap] = field(default_factory=dict)


def against_oracle(case: Case, framework: str) -> Iterator[tuple[Any, Any]]:
    """(result, expected) for every record of a case that the oracle covers."""
    oracle = ORACLES[case.cls.step_name()]
    if isinstance(oracle, NoOracle):
        return
    bound = case.bound(framework)
    for record in case.records:
        wanted = expected(oracle, case.step, case.spec, record)
        if wanted is not None:
            yield bound.run(record).value, wanted


def measure() -> Iterator[Row]:
    """Every step of the catalogue that works on records, measured on its examples."""
    row: Row | None = None
    for case in cases():
        name = case.cls.step_name()
        if row is None or row.step != name:
            if row is not None:
                yield row
            row = Row(name, ORACLES[name], case.agreement)
            unit = row.oracle.within if isinstance(row.oracle, Oracle) else case.agreement
            row.gaps = {**{f: Gap(unit) for f in FRAMEWORKS}, "between": Gap(case.agreement)}
        for framework in FRAMEWORKS:
            for found, wanted in against_oracle(case, framework):
                row.gaps[framework].add(found, wanted)
        if case.step.frameworks != FRAMEWORKS:
            continue
        a, b = case.both()
        for record in case.records:
            row.gaps["between"].add(a.run(record).value, b.run(record).value)
    if row is not None:
        yield row
