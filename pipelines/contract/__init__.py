"""Whether a step keeps what steps promise: for the tests of a package that announces steps of its own.

from pipelines.contract import check_step
def test_sharpen(): check_step(Sharpen)
"""

from __future__ import annotations

from pipelines.contract import _checks as checks
from pipelines.contract._harness import Case, numbers
from pipelines.errors import UserError
from pipelines.native import need_framework
from pipelines.step import BatchStep, Step


def check_step(cls: type[Step]) -> None:
    """Holds a step to its promises on each of its `examples`, in each framework that it has a binding for.

    The promises: both bindings agree within `agreement`; `out_spec` tells the truth; a batch equals its records alone;
    empty and length-1 values fare alike; the input stays as it was; kernels can be shared by threads; chance comes from
    the draw alone; the kernel works in a tf.data graph; the step pickles and survives YAML. Raises AssertionError with
    the example and what is wrong, MissingLibrary where a framework of the step is not installed.
    """
    if issubclass(cls, BatchStep):
        raise UserError(f"{cls.__name__} works on finished batches; expected a step on records")
    checks.check_described(cls)
    checks.check_bindings_exist(cls, one_is_enough=True)
    for number in numbers(cls):
        case = Case(cls, number)
        for framework in case.step.frameworks:
            need_framework(framework)
        try:
            _check_case(case)
        except AssertionError as error:
            raise AssertionError(f"{cls.__name__}, example {number}: {error}") from error
    checks.check_chance_matters(cls)


def _check_case(case: Case) -> None:
    checks.check_value(case)
    checks.check_refuses(case)
    checks.check_agreement(case)
    for framework in case.step.frameworks:
        checks.check_truth(case, framework)
        checks.check_unmutated(case, framework)
        checks.check_threads(case, framework)
        if case.cls.batches:
            checks.check_batch(case, framework)
    checks.check_edges(case)
    checks.check_chance(case)
    checks.check_graph(case)
