"""What the audio tests share: a step run on NumPy values in either framework."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipelines.native import to_native, to_numpy
from pipelines.spec import PER_RECORD, Spec
from pipelines.step import Step

Run = Callable[..., Any]


@pytest.fixture(scope="session")
def run() -> Run:
    """run(step, spec, value, framework[, rate_hz]): the result as NumPy, with its rate where there is one."""
    bound: dict[tuple[Step, Spec, str], Any] = {}

    def call(step: Step, spec: Spec, value: Any, framework: str, rate_hz: int | None = None) -> Any:
        at = (step, spec, framework)
        kernel = bound.get(at) or bound.setdefault(at, step.bind(framework, spec))
        out = step.out_spec(spec)
        result = kernel(to_native(value, spec, framework), *[] if rate_hz is None else [_rate(rate_hz, framework)])
        if rate_hz is not None or (step.gives_rate and out.rate_hz == PER_RECORD):
            return to_numpy(result[0], out), int(result[1])
        return to_numpy(result, out)

    return call


@pytest.fixture(scope="session")
def errors() -> tuple[type[Exception], ...]:
    """What a failed record raises: RecordError, and in TensorFlow an error of the graph."""
    import tensorflow as tf

    from pipelines.errors import RecordError

    return RecordError, tf.errors.OpError


def _rate(rate_hz: int, framework: str) -> Any:
    if framework == "torch":
        return rate_hz
    import tensorflow as tf

    return tf.constant(rate_hz, tf.int64)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240611)
