"""Kernels for many records at once give what the kernel for one gives, within the agreement, for any mixture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from pipelines.audio._headers import inspect
from pipelines.audio._pcm import KINDS
from pipelines.contract._checks import compare
from pipelines.contract._harness import Bound, Case, Result, cases
from pipelines.contract._values import RATES, Record
from pipelines.spec import FRAMEWORKS, PER_RECORD, TEXT, Spec
from pipelines.step import Kernel


def rows_kernel(case: Case, framework: str) -> Kernel | None:
    if case.step.variates() or case.step.joins or framework not in case.step.frameworks:
        return None
    return case.step.bind_rows(framework, case.specs[0])


CASES = [(case, framework) for case in cases() for framework in FRAMEWORKS if rows_kernel(case, framework) is not None]


def in_torch(case: Case, kernel: Kernel, bound: Bound, records: Sequence[Record]) -> list[Result]:
    """Each record's result among the others; the kernel leaves its arguments as they are."""
    given: list[list[Any]] = [list(column) for column in zip(*map(bound.arguments, records), strict=True)]
    before = [getattr(value, "clone", lambda v=value: v)() for value in given[0]]
    made = kernel(*given)
    if len(made) != len(records):
        raise AssertionError(f"{len(records)} records gave {len(made)} results")
    for i, (was, value) in enumerate(zip(before, given[0], strict=True)):
        same = bool((was == value).all()) if hasattr(was, "shape") else was == value
        if not same:
            raise AssertionError(f"record {i}: the kernel changed its argument")
    return [bound.result(result) for result in made]


def in_tensorflow(case: Case, kernel: Kernel, bound: Bound, records: Sequence[Record]) -> list[Result]:
    """Each record's result among the others, traced in a graph as the engine does."""
    import tensorflow as tf

    values = [bound.arguments(record)[0] for record in records]
    column = as_column(values, case.specs[0])
    rates = [tf.constant([record.rate_hz for record in records], tf.int64)] * bound.takes_rate
    made = tf.function(kernel, autograph=False)(column, *rates)
    made, told = made if bound.gives_rate else (made, [None] * len(records))
    count = int(made.nrows() if isinstance(made, tf.RaggedTensor) else tf.shape(made)[0])
    if count != len(records):
        raise AssertionError(f"{len(records)} records gave {count} results")
    pairs = [(made[i], told[i]) if bound.gives_rate else made[i] for i in range(len(records))]
    return [bound.result(pair) for pair in pairs]


def as_column(values: Sequence[Any], spec: Spec) -> Any:
    """Texts, files and numbers as a vector, what has an axis as a RaggedTensor."""
    import tensorflow as tf

    none = tf.zeros([0], tf.as_dtype(spec.dtype) if spec.is_numeric else tf.string)
    if not spec.varying:
        return tf.stack(values) if values else none
    return tf.RaggedTensor.from_row_lengths(tf.concat([none, *values], 0), np.array([*map(len, values)], np.int64))


WAYS: dict[str, Callable[..., list[Result]]] = {"torch": in_torch, "tensorflow": in_tensorflow}


def mixtures(case: Case, framework: str) -> list[list[Record]]:
    """Records twice over, at two rates; in TensorFlow a kernel may ask for plain WAVs and one rate."""
    twice = [*case.records, *case.records]
    if framework == "torch":
        return [[Record(r.value, RATES[i % 2]) for i, r in enumerate(twice)]]
    return [[Record(r.value, rate) for r in twice] for rate in RATES[:2]]


def check_rows(case: Case, framework: str, kernel: Kernel) -> None:
    """Each record's result, among others of other sizes and rates, is that of the record alone."""
    bound = case.bound(framework)
    for records in mixtures(case, framework):
        if framework == "tensorflow" and case.cls.step_name() == "audio.decode":
            records = [record for record in records if inspect(record.value).kind in KINDS]
        made = WAYS[framework](case, kernel, bound, records)
        for i, (record, result) in enumerate(zip(records, made, strict=True)):
            compare(result, bound.run(record), case.agreement, f"record {i} among others against alone")


@pytest.mark.parametrize(("case", "framework"), CASES, ids=str)
def test_many_records_at_once_are_each_alone(case: Case, framework: str) -> None:
    kernel = rows_kernel(case, framework)
    assert kernel is not None
    check_rows(case, framework, kernel)


@pytest.mark.parametrize("case", [case for case, framework in CASES if framework == "tensorflow"], ids=str)
def test_no_record_at_all(case: Case) -> None:
    """A rank may be left without a record, and its batch is made of filler rows."""
    kernel = rows_kernel(case, "tensorflow")
    assert kernel is not None
    assert in_tensorflow(case, kernel, case.bound("tensorflow"), []) == []


def test_some_steps_have_such_kernels() -> None:
    names = {framework: {c.cls.step_name() for c, f in CASES if f == framework} for framework in FRAMEWORKS}
    assert names["torch"] >= {"audio.decode", "audio.resample", "audio.fit", "text.pad", "text.add_tokens"}
    assert names["tensorflow"] >= {"audio.decode", "audio.resample", "audio.fit", "text.wordpiece", "label.index"}
    assert any(case.specs[0].rate_hz == PER_RECORD for case, _ in CASES)
    assert any(case.specs[0] == TEXT for case, _ in CASES)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_wrong_kernel_is_caught(framework: str) -> None:
    case = next(case for case, _ in CASES if case.cls.step_name() == "text.pad")
    kernel = rows_kernel(case, framework)
    assert kernel is not None

    def shifted(rows: Any) -> Any:
        made = kernel(rows)
        if framework == "torch":
            return made[1:] + made[:1]
        import tensorflow as tf

        return tf.roll(made, 1, 0)

    with pytest.raises(AssertionError, match="record 0 among others"):
        check_rows(case, framework, shifted)
