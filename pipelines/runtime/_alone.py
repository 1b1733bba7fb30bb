"""What each step of a TensorFlow plan takes alone: inside a tf.data graph, Python does not see the single steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.runtime._chain import Carried, Chain, Sizes, StepFailure, read_raw
from pipelines.runtime._clock import Place

if TYPE_CHECKING:
    from pipelines.grid import Chunk
    from pipelines.runtime._engine import Engine

CALLS = 3


def alone(engine: Engine, chunk: Chunk) -> dict[Place, float]:
    """Seconds that one record of the chunk takes in each step, by the step's place.

    A step is a tf.function over the chunk's rows that can be processed: all at once where the graph of a run takes them
    so, else one after the other. Traced by a first call; the least of three more is counted, in processor's time where
    it had several cores.
    """
    raws: list[Any] = []
    draws: list[Callable[[str], Any]] = []
    sizes: list[Sizes] = []
    made: list[dict[str, Any]] = []
    for row, index in enumerate(chunk.indices):
        try:
            raw, size = read_raw(engine.source, int(index), engine.plan.values), Sizes()
            draw = engine.row_draws(chunk, row)
            values = {name: chain.value(raw, draw, sizes=size) for name, chain in engine.chains.items()}
        except StepFailure:
            continue
        raws.append(raw)
        draws.append(draw)
        sizes.append(size)
        made.append(values)
    found: dict[Place, float] = {}
    for chain in engine.chains.values():
        there = [i for i, raw in enumerate(raws) if not chain.is_absent(raw)]
        if there:
            steps = _steps(chain, [raws[i] for i in there], [draws[i] for i in there], [sizes[i] for i in there])
            found |= {place: seconds / len(there) for place, seconds in steps}
    if made:
        found |= {place: seconds / len(made) for place, seconds in _batch_steps(engine, chunk, made)}
    return found


def _batch_steps(engine: Engine, chunk: Chunk, rows: list[dict[str, Any]]) -> Iterator[tuple[Place, float]]:
    """Each step on the batch, on a batch of these rows."""
    import tensorflow as tf

    batch: dict[str, Any] = {}
    for node, kernel in engine.batch_kernels:
        for name in node.step.fields:
            if name not in batch:
                column = tf.ragged.stack([row[name] for row in rows])
                batch[name] = column.to_tensor() if isinstance(column, tf.RaggedTensor) else column
                batch[f"{name}_length"] = tf.stack([tf.size(row[name], tf.int64) for row in rows])
        names = [*node.step.fields, *(f"{name}_length" for name in node.step.fields if node.step.packs)]
        draw = [] if node.stream is None else [engine.to_draw(chunk.batch_draws[node.stream])]
        given = [batch[name] for name in names] + draw

        def at_once(values: list[Any], kernel: Callable[..., Any] = kernel) -> Any:
            return kernel(*values)

        made, seconds = _timed(at_once, given)
        batch |= made
        yield Place(node.name, "step"), seconds


def _steps(
    chain: Chain, raws: list[Any], draws: list[Callable[[str], Any]], sizes: list[Sizes]
) -> Iterator[tuple[Place, float]]:
    """Each step of a field with the seconds that it takes for these records."""
    import tensorflow as tf

    field = chain.field
    if chain.takes_columns:
        held: Any = (tf.stack([chain.start(raw)[0][0] for raw in raws]), None)
        for number in range(field.seam):
            held, seconds = _timed(chain.many(number), held)
            yield chain.places[number], seconds
        value = held[0].to_tensor() if isinstance(held[0], tf.RaggedTensor) else held[0]
    else:
        rows: list[Carried] = [chain.start(raw) for raw in raws]
        for number in range(field.seam):

            def each(held: list[Carried], number: int = number) -> list[Carried]:
                return [
                    chain.run(carried, draw, number, number + 1, dict(size))
                    for carried, draw, size in zip(held, draws, sizes, strict=True)
                ]

            rows, seconds = _timed(each, rows)
            yield chain.places[number], seconds
        if field.seam == len(field.nodes):
            return
        value = tf.stack([carried[0][0] for carried in rows])

    def drawn(stream: str) -> Any:
        return tf.stack([draw(stream) for draw in draws])

    batch: Carried = ((value, None),)
    for number in range(field.seam, len(field.nodes)):

        def whole(held: Carried, number: int = number) -> Carried:
            return chain.run(held, drawn, number, number + 1, {})

        batch, seconds = _timed(whole, batch)
        yield chain.places[number], seconds


def _timed(call: Callable[[Any], Any], given: Any) -> tuple[Any, float]:
    """What a call gives as a tf.function, and its seconds."""
    import tensorflow as tf

    function = tf.function(call, autograph=False)
    made = function(given)
    taken = []
    for _ in range(CALLS):
        begun, computed = time.perf_counter(), time.process_time()
        made = function(given)
        tf.nest.map_structure(lambda value: value.numpy() if hasattr(value, "numpy") else value, made)
        taken.append(max(time.perf_counter() - begun, time.process_time() - computed))
    return made, float(np.min(taken))
