"""Kernels for many records at once give what the kernel for one gives, within the agreement, for any mixture."""

from __future__ import annotations

from typing import Any

import pytest
from contract.checks import compare
from contract.harness import Case, cases
from contract.values import RATES, Record

from pipelines.spec import PER_RECORD
from pipelines.step import Kernel


def rows_kernel(case: Case) -> Kernel | None:
    if case.step.variates() or case.step.joins or "torch" not in case.step.frameworks:
        return None
    return case.step.bind_torch_rows(case.specs[0])


CASES = [case for case in cases() if rows_kernel(case) is not None]


def check_rows(case: Case, kernel: Kernel) -> None:
    """Each record's result, among others of other sizes and rates, is that of the record alone."""
    bound = case.bound("torch")
    records = [Record(r.value, RATES[i % 2]) for i, r in enumerate([*case.records, *case.records])]
    given: list[list[Any]] = [list(column) for column in zip(*map(bound.arguments, records), strict=True)]
    before = [getattr(value, "clone", lambda v=value: v)() for value in given[0]]
    made = kernel(*given)
    if len(made) != len(records):
        raise AssertionError(f"{len(records)} records gave {len(made)} results")
    for i, (record, result) in enumerate(zip(records, made, strict=True)):
        compare(bound.result(result), bound.run(record), case.agreement, f"record {i} among others against alone")
    for i, (was, value) in enumerate(zip(before, given[0], strict=True)):
        same = bool((was == value).all()) if hasattr(was, "shape") else was == value
        if not same:
            raise AssertionError(f"record {i}: the kernel changed its argument")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_many_records_at_once_are_each_alone(case: Case) -> None:
    kernel = rows_kernel(case)
    assert kernel is not None
    check_rows(case, kernel)


def test_some_steps_have_such_kernels() -> None:
    assert {case.cls.step_name() for case in CASES} >= {"audio.resample", "audio.fit", "text.pad", "text.add_tokens"}
    assert any(case.specs[0].rate_hz == PER_RECORD for case in CASES)


def test_a_wrong_kernel_is_caught() -> None:
    case = next(case for case in CASES if case.cls.step_name() == "text.pad")
    kernel = rows_kernel(case)
    assert kernel is not None
    with pytest.raises(AssertionError, match="record 0 among others"):
        check_rows(case, lambda rows: (made := kernel(rows))[1:] + made[:1])
