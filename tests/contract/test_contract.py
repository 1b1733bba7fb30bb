"""Every step keeps the contract, in both frameworks, on every one of its examples."""

from __future__ import annotations

from pathlib import Path

import pytest

import pipelines
from pipelines.catalog import MODALITIES, find_step, step_names
from pipelines.contract import _checks as checks
from pipelines.contract._harness import Case, cases, record_steps
from pipelines.step import BatchStep, Step

STEPS = record_steps()
CASES = list(cases())
every_step = pytest.mark.parametrize("cls", STEPS, ids=lambda cls: cls.step_name())
every_case = pytest.mark.parametrize("case", CASES, ids=str)
batched_case = pytest.mark.parametrize("case", [c for c in CASES if c.cls.batches], ids=str)


def test_every_step_file_is_covered() -> None:
    folder = Path(pipelines.__file__).parent
    files = {f"{m}.{p.stem}" for m in MODALITIES for p in (folder / m).glob("*.py") if not p.name.startswith("_")}
    on_batches = {cls.step_name() for cls in map(find_step, step_names()) if issubclass(cls, BatchStep)}
    assert {case.cls.step_name() for case in CASES} == files - on_batches


@every_step
def test_described(cls: type[Step]) -> None:
    checks.check_described(cls)
    checks.check_bindings_exist(cls)


@every_step
def test_chance_matters(cls: type[Step]) -> None:
    checks.check_chance_matters(cls)


@every_case
def test_is_a_value(case: Case) -> None:
    checks.check_value(case)


@every_case
def test_refuses_what_it_cannot_take(case: Case) -> None:
    checks.check_refuses(case)


@every_case
def test_frameworks_agree(case: Case) -> None:
    checks.check_agreement(case)


@every_case
def test_out_spec_is_true(case: Case, framework: str) -> None:
    checks.check_truth(case, framework)


@batched_case
def test_batch_equals_singles(case: Case, framework: str) -> None:
    checks.check_batch(case, framework)


@every_case
def test_short_and_empty(case: Case) -> None:
    checks.check_edges(case)


@every_case
def test_input_is_not_changed(case: Case, framework: str) -> None:
    checks.check_unmutated(case, framework)


@every_case
def test_threads(case: Case, framework: str) -> None:
    checks.check_threads(case, framework)


@every_case
def test_chance(case: Case) -> None:
    checks.check_chance(case)


@every_case
def test_in_a_tf_data_graph(case: Case) -> None:
    checks.check_graph(case)
