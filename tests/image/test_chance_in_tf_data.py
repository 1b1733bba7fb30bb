"""Random steps inside a real tf.data graph: the draws come in as elements, and give what torch gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipelines.grid import Grid, Streams
from pipelines.image.crop import Crop
from pipelines.image.flip import Flip
from pipelines.image.rotate import Rotate
from pipelines.native import to_native, to_numpy
from pipelines.spec import Spec, picture
from pipelines.step import Identical, Step

CASES: tuple[Step, ...] = (
    Flip(),
    Crop(size=(9, 8), where="random"),
    Crop(size=(9, 8), where="resized"),
    Rotate(degrees=(-30, 30), method="nearest"),
    Rotate(degrees=(-30, 30)),
)
RECORDS, BATCH, EPOCHS = 12, 5, 2


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(11)
    return [rng.integers(0, 256, (12 + i, 30 - i, 3), dtype=np.uint8) for i in range(RECORDS)]


@pytest.mark.parametrize("step", CASES, ids=str)
def test_the_draws_of_the_control_stream(step: Step, pictures: list[Any]) -> None:
    import tensorflow as tf

    grid = Grid(RECORDS, BATCH, shuffle=True, seed=3)
    chunks = [c for e in range(EPOCHS) for c in grid.chunks(e, Streams({"chance": step.variates()}))]
    order = [(c.epoch, int(i), d) for c in chunks for i, d in zip(c.indices, c.draws["chance"], strict=True)]

    kernel = step.bind_torch(picture())
    out, float64 = step.out_spec(picture()), Spec("float64")
    torch = [
        to_numpy(kernel(to_native(pictures[i], picture(), "torch"), to_native(d, float64, "torch")), out)
        for _, i, d in order
    ]

    def control() -> Any:  # what runs outside the graph: which record, and its variates
        yield from ((pictures[i], draw) for _, i, draw in order)

    signature = (tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([step.variates()], tf.float64))
    dataset = tf.data.Dataset.from_generator(control, output_signature=signature)
    dataset = dataset.map(step.bind_tensorflow(picture()), num_parallel_calls=2, deterministic=True).prefetch(2)
    for _ in range(2):  # the same pass again: nothing is drawn in the graph
        found = list(dataset.as_numpy_iterator())
        assert len(found) == len(torch) == RECORDS * EPOCHS
        for a, b in zip(torch, found, strict=True):
            assert step.agreement.excess(a, b) is None
            if step.method == "nearest" if isinstance(step, Rotate) else isinstance(step, Flip):
                assert Identical().excess(a, b) is None

    epochs = [{i: found[n].tobytes() for n, (e, i, _) in enumerate(order) if e == epoch} for epoch in range(EPOCHS)]
    assert len(epochs[0]) == len(epochs[1]) == RECORDS
    changed = sum(epochs[0][i] != epochs[1][i] for i in range(RECORDS))
    assert changed >= 2, "a new epoch draws anew"
