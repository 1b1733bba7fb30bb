"""Every step against an independent oracle, in both frameworks; the table in docs/parity.md names all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracle.base import NoOracle, Oracle
from oracle.measure import ORACLES, against_oracle
from stacks import holds

from pipelines.catalog import step_names
from pipelines.contract._harness import Case, cases

ROOT = Path(__file__).parents[2]
CASES = list(cases())
ASKED = {name for name, oracle in ORACLES.items() if isinstance(oracle, Oracle) and holds(oracle.name)}
COVERED = [case for case in CASES if case.cls.step_name() in ASKED]


def test_every_step_has_an_oracle_or_a_reason() -> None:
    assert {case.cls.step_name() for case in CASES} == ORACLES.keys()
    assert all(len(o.why) > 20 for o in ORACLES.values() if isinstance(o, NoOracle))


@pytest.mark.parametrize("case", COVERED, ids=str)
def test_agrees_with_the_oracle(case: Case, framework: str) -> None:
    oracle = ORACLES[case.cls.step_name()]
    assert isinstance(oracle, Oracle)
    for found, wanted in against_oracle(case, framework):
        if not isinstance(found, list):
            reference = np.asarray(wanted)
            assert np.shape(found) == reference.shape
            wrong = oracle.within.excess(np.asarray(found), reference)
            assert wrong is None, f"{oracle.name}: {wrong}"
        else:
            assert found == list(wanted), oracle.name


def test_each_oracle_is_asked() -> None:
    """An oracle that passes over every record of every example proves nothing."""
    asked = {case.cls.step_name() for case in COVERED if any(True for _ in against_oracle(case, "torch"))}
    assert asked == ASKED


def test_the_table_names_every_step_with_its_tolerance() -> None:
    table = [line.split(" | ") for line in (ROOT / "docs" / "parity.md").read_text("utf-8").splitlines() if "`" in line]
    shown: dict[str, Any] = {row[0].strip("| `"): row[-1].rstrip(" |") for row in table if len(row) == 6}
    assert list(shown) == [n for n in step_names() if n in ORACLES]
    assert shown == {case.cls.step_name(): str(case.agreement) for case in CASES}
