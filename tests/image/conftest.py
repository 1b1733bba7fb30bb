"""What the image tests share: a step run on NumPy values in either framework, and drawn pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipelines.native import to_native, to_numpy
from pipelines.spec import Spec
from pipelines.step import Step

Run = Callable[..., Any]


@pytest.fixture(scope="session")
def run() -> Run:
    """run(step, spec, value, framework[, draw]): the result as NumPy; TensorFlow runs it in a graph, traced once."""
    bound: dict[tuple[Step, Spec, str], Any] = {}

    def kernel(step: Step, spec: Spec, framework: str) -> Any:
        if framework == "torch":
            return step.bind_torch(spec)
        import tensorflow as tf

        value = tf.TensorSpec(spec.shape, tf.string if spec.dtype == "bytes" else spec.dtype)
        draw = [tf.TensorSpec([step.variates()], tf.float64)] if step.variates() else []
        return tf.function(step.bind("tensorflow", spec), input_signature=[value, *draw])

    def call(step: Step, spec: Spec, value: Any, framework: str, draw: Any = None) -> Any:
        at = (step, spec, framework)
        found = bound.get(at) or bound.setdefault(at, kernel(step, spec, framework))
        chance = [] if draw is None else [to_native(np.asarray(draw), Spec("float64"), framework)]
        return to_numpy(found(to_native(value, spec, framework), *chance), step.out_spec(spec))

    return call


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240607)
