"""The judge of `compare`: holds each step to its agreement and gathers each field's drift. Plain NumPy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.plan import BatchNode, FieldPlan, Plan
from pipelines.report._compare_wire import take, take_carried
from pipelines.spec import FRAMEWORKS, Spec
from pipelines.step import Identical, Step, absolute_gaps, difference

BINS = 1 << 15
"""Bins of a drift's histogram: the upper halves of the float32 numbers from 0 to infinity, less than 1% wide."""

FINISHED = "finished batch"
_COUNT = Spec("int64")

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass
class StepVerdict:
    """One step on inputs that both bindings were given: over `records`, the largest difference and what is wrong.

    `largest` is None for text that is the same. `differ` counts the records with any difference, `wrong` those in
    which it is more than the agreement allows; `key` and `fault` are the record with the worst of them and what is
    wrong there. A step on the finished batch counts batches.
    """

    field: str
    number: int
    step: str
    stage: str
    agreement: str
    why: str
    unit: str
    records: int = 0
    largest: float | None = None
    differ: int = 0
    wrong: int = 0
    key: str = ""
    fault: str = ""
    worst: float = 0.0

    def note(self, key: str, gap: float | None, fault: str | None) -> None:
        """Count one record: its largest difference (None for text that is the same) and what is wrong with it."""
        self.records += 1
        self.differ += bool(gap) or fault is not None
        if gap is not None:
            self.largest = max(self.largest or 0.0, gap)
        if fault is not None:
            self.wrong += 1
            if not self.fault or (gap or 0.0) > self.worst:
                self.key, self.fault, self.worst = key, fault, gap or 0.0

    def sentence(self) -> str:
        """What is wrong, in words; empty when nothing is."""
        if not self.wrong:
            return ""
        counted = "batches" if self.stage == FINISHED else "records"
        return (
            f"{self.field}: {self.step} (step {self.number + 1}) is outside its agreement ({self.agreement}) "
            f"in {self.wrong} of {self.records} {counted}; {self.key}: {self.fault}"
        )


@dataclass
class FieldDrift:
    """One field's final values over the whole pipeline: what separates the frameworks at the end.

    `largest` and `percentile` (99.9th, over all values of all records; from above, to within 1%) are absolute
    differences, `peak` is the largest magnitude; all three are None for text. `exact` says that every step is
    identical, so that no value may differ. `wrong`, `key` and `fault`: records that break that, or differ in form.
    """

    name: str
    spec: Spec
    exact: bool
    records: int = 0
    differ: int = 0
    largest: float | None = None
    peak: float | None = None
    wrong: int = 0
    key: str = ""
    fault: str = ""
    _counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64), repr=False)

    def note(self, key: str, a: Any, b: Any) -> None:
        """Count one record's value on each side."""
        if a is None and b is None:
            return
        self.records += 1
        fault = other_form(a, b, self.spec)
        if fault is None and self.spec.is_numeric:
            gaps = absolute_gaps(a, b)
            with np.errstate(over="ignore"):
                self._counts += np.bincount(gaps.astype(np.float32).reshape(-1).view(np.uint32) >> 16, minlength=BINS)
            gap = float(gaps.max(initial=0.0))
            self.largest = max(self.largest or 0.0, gap)
            self.peak = max(self.peak or 0.0, float(np.max(np.abs(a), initial=0, where=np.isfinite(a))))
            self.differ += gap > 0
            if gap and self.exact:
                fault = f"differs by {gap:.3g} though every step is identical"
        elif fault is None and a != b:
            self.differ += 1
            if self.exact:
                fault = f"{_shown(a)} on {FRAMEWORKS[0]}, {_shown(b)} on {FRAMEWORKS[1]}"
        else:
            self.differ += fault is not None
        if fault is not None:
            self.wrong += 1
            if not self.fault:
                self.key, self.fault = key, fault

    @property
    def percentile(self) -> float | None:
        """The 99.9th percentile of the differences."""
        total = int(self._counts.sum())
        if not total or self.largest is None:
            return None if self.largest is None else 0.0
        place = int(np.searchsorted(np.cumsum(self._counts), math.ceil(0.999 * total)))
        edge = np.array((place + 1) << 16, np.uint32).view(np.float32)
        return min(float(edge), self.largest) if place else 0.0

    def sentence(self) -> str:
        """What is wrong, in words; empty when nothing is."""
        return f"{self.name}: {self.wrong} of {self.records} records; {self.key}: {self.fault}" if self.wrong else ""


@dataclass(frozen=True)
class OneSided:
    """A record that fails on one framework only."""

    key: str
    framework: str
    field: str
    step: str
    reason: str

    def sentence(self) -> str:
        """What is wrong, in words."""
        return f"{self.key} fails on {self.framework} only: {self.field or 'record'}: {self.step}: {self.reason}"


class Judge:
    """Takes in both sides' values record by record, and keeps only what is found."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.fields = {f.name: FieldDrift(f.name, plan.specs[f.name], _is_exact(plan, f)) for f in plan.fields}
        self.steps = {(f.name, number): _verdict(f, number) for f in plan.fields for number in range(len(f.nodes))}
        self.batch_steps = [_batch_verdict(node, number) for number, node in enumerate(plan.batch_nodes)]
        self.one_sided: list[OneSided] = []
        self.delivered = 0
        self.failed: dict[str, int] = dict.fromkeys(FRAMEWORKS, 0)
        self.first_failure = ""

    @property
    def verdicts(self) -> list[StepVerdict]:
        """Those of every step, on records and then on finished batches."""
        return [*self.steps.values(), *self.batch_steps]

    @property
    def faults(self) -> list[str]:
        """A sentence for each thing that breaks parity; empty when it holds."""
        told = [verdict.sentence() for verdict in self.verdicts]
        told += [one.sentence() for one in self.one_sided]
        told += [drift.sentence() for drift in self.fields.values()]
        return [sentence for sentence in told if sentence]

    def batch(self, keys: Mapping[int, str], answers: Mapping[str, Any], values: Mapping[str, Arrays]) -> None:
        """One batch's final values: `keys` by position, what each worker answered, and its arrays."""
        failures = {name: {f["position"]: f for f in answers[name]["failures"]} for name in FRAMEWORKS}
        rows = {name: {p: row for row, p in enumerate(answers[name]["positions"])} for name in FRAMEWORKS}
        for position, key in keys.items():
            failing = [name for name in FRAMEWORKS if position in failures[name]]
            for side in failing:
                found = failures[side][position]
                where = (key, side, found["field"], found["step"], found["reason"])
                self.failed[side] += 1
                self.first_failure = self.first_failure or f"{key}: {': '.join(filter(None, where[2:]))}"
                if len(failing) == 1:
                    self.one_sided.append(OneSided(*where))
            if failing:
                continue
            self.delivered += 1
            for name, drift in self.fields.items():
                a, b = (take(values[side], f"{name}/{rows[side][position]}", drift.spec) for side in FRAMEWORKS)
                drift.note(key, a, b)

    def record(self, key: str, values: Mapping[str, Arrays], failures: Mapping[str, Any]) -> None:
        """One record step by step: the values on each side, and the nodes that failed."""
        failed = {side: {(f["field"], f["number"]): f["reason"] for f in failures[side]} for side in FRAMEWORKS}
        first, second = FRAMEWORKS
        for (name, number), verdict in self.steps.items():
            plan = next(f for f in self.plan.fields if f.name == name)
            if f"{name}/{number}/0" not in values[first]:
                continue  # absent, or the record has failed before
            reasons = [failed[side].get((name, number)) for side in FRAMEWORKS]
            if any(reasons):
                verdict.note(key, *_fails(*reasons))
                continue
            node = plan.nodes[number]
            a, b = (take_carried(values[side], f"{name}/{number + 1}", node.gives) for side in FRAMEWORKS)
            assert a is not None, f"{name}: node {number} was given and has no result"
            assert b is not None, f"{name}: node {number} was repeated and has no result"
            worst: float | None = None
            fault = None
            for (x, rate_x), (y, rate_y), spec in zip(a, b, node.gives, strict=True):
                gap, wrong = judged(x, y, spec, node.step)
                if rate_x != rate_y:
                    gap, wrong = math.inf, f"{rate_x} Hz on {first}, {rate_y} Hz on {second}"
                worst = gap if worst is None else max(worst, gap or 0.0)
                fault = fault or wrong
            verdict.note(key, worst, fault)

    def finished_batch(self, start: int, values: Mapping[str, Arrays], failures: Mapping[str, Any]) -> None:
        """The steps on one finished batch: the entries each makes on each side, and the steps that failed."""
        failed = {side: {f["number"]: f["reason"] for f in failures[side]} for side in FRAMEWORKS}
        key = f"the batch at position {start}"
        for verdict, node in zip(self.batch_steps, self.plan.batch_nodes, strict=True):
            number = verdict.number
            if f"{number}/in/0" not in values[FRAMEWORKS[0]]:
                continue  # no row is left, or a step before has failed
            reasons = [failed[side].get(number) for side in FRAMEWORKS]
            if any(reasons):
                verdict.note(key, *_fails(*reasons))
                continue
            made = [{name for name in values[side] if name.startswith(f"{number}/out/")} for side in FRAMEWORKS]
            specs = dict(zip(node.step.fields, node.gives, strict=True))
            worst: float | None = None
            fault: str | None = None
            for name in sorted(made[0] | made[1]):
                entry = name.removeprefix(f"{number}/out/")
                spec = specs.get(entry, _COUNT)
                a, b = (take(values[side], name, spec) for side in FRAMEWORKS)
                gap, wrong = judged(a, b, spec, node.step)
                worst = max(worst or 0.0, gap or 0.0)
                fault = fault or (f"{entry}: {wrong}" if wrong else None)
            verdict.note(key, worst, fault)


def _fails(first: str | None, second: str | None) -> tuple[float | None, str | None]:
    """A step that fails on one side or on both, as a gap and a fault."""
    if first and second:
        return None, None
    return math.inf, f"fails on {FRAMEWORKS[0] if first else FRAMEWORKS[1]} only: {first or second}"


def judged(a: Any, b: Any, spec: Spec, step: Step) -> tuple[float | None, str | None]:
    """The largest difference (None for equal text), and what is wrong by the step's agreement."""
    fault = other_form(a, b, spec)
    if fault is not None:
        return math.inf, fault
    if spec.is_numeric:
        return difference(a, b), step.agreement.excess(a, b)
    return (None, None) if a == b else (math.inf, f"{_shown(a)} on {FRAMEWORKS[0]}, {_shown(b)} on {FRAMEWORKS[1]}")


def other_form(a: Any, b: Any, spec: Spec) -> str | None:
    """In what two values differ besides their numbers: absence, dtype, shape."""
    first, second = FRAMEWORKS
    if a is None or b is None:
        side: str = first if a is None else second
        return None if a is b else f"the value is absent on {side} only"
    if spec.is_numeric and (a.dtype, a.shape) != (b.dtype, b.shape):
        return f"{a.dtype}{list(a.shape)} on {first}, {b.dtype}{list(b.shape)} on {second}"
    return None


def _is_exact(plan: Plan, field: FieldPlan) -> bool:
    """Whether every step that a field goes through is identical on both frameworks."""
    steps: list[Step] = [node.step for node in field.nodes]
    steps += [node.step for node in plan.batch_nodes if field.name in node.step.fields]
    return all(isinstance(step.agreement, Identical) for step in steps)


def _verdict(plan: FieldPlan, number: int) -> StepVerdict:
    node = plan.nodes[number]
    agreement = node.step.agreement
    stage = "record" if number < plan.seam else "batch"
    return StepVerdict(plan.name, number, node.name, stage, str(agreement), agreement.why, node.gives[0].unit)


def _batch_verdict(node: BatchNode, number: int) -> StepVerdict:
    agreement = node.step.agreement
    fields = ", ".join(node.step.fields)
    return StepVerdict(fields, number, node.name, FINISHED, str(agreement), agreement.why, node.gives[0].unit)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} tokens"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
