"""What users of a framework hold: data sets for DataLoader and keras.fit, steps as modules and layers."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import pytest
from run.fakes import fake

import pipelines
from pipelines.errors import PipelineError, SpecError
from pipelines.image import Flip
from pipelines.label import Index


def indices(batch: dict[str, Any]) -> list[int]:
    return [int(i) for i in np.asarray(batch["index"])]


@pytest.mark.parametrize("workers", [0, 2])
def test_dataloader_gives_the_grid_in_order_and_a_new_epoch_each_time(workers: int) -> None:
    from torch.utils.data import DataLoader

    reference = fake("torch")
    expected = [[indices(b) for b in reference] for _ in range(2)]
    context = "spawn" if workers else None  # a fork would inherit TensorFlow's threads from other tests
    pipe = pipelines.load(_written(), framework="torch", device="cpu") if workers else fake("torch")
    if workers:
        expected = [[indices(b) for b in pipelines.load(_written(), device="cpu", framework="torch")]]
        second = pipelines.load(_written(), device="cpu", framework="torch")
        second.start_at(1)
        expected.append([indices(b) for b in second])
    loader = DataLoader(
        pipe.torch_dataset(),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context=context,
        timeout=60 * bool(workers),
    )
    assert [[indices(b) for b in loader] for _ in range(2)] == expected
    assert expected[0] != expected[1]


def _written() -> dict[str, Any]:
    from pathlib import Path

    return {
        "framework": "torch",
        "source": {"lines": {"path": str(Path(__file__).resolve())}},
        "fields": {"text": {"from": "text", "steps": []}},
        "batch": {"size": 16, "shuffle": True},
    }


def test_tf_dataset_is_a_new_epoch_each_time_and_accounts_for_every_record() -> None:
    pipe = fake("tensorflow")
    data = pipe.tf_dataset()
    reference = fake("tensorflow")
    for _ in range(2):
        got = [indices(b) for b in data]
        assert got == [indices(b) for b in reference]
        assert pipe.counts == reference.counts
        assert pipe.quarantine == reference.quarantine


def test_keras_fit_sees_new_draws_in_each_epoch() -> None:
    import keras
    import tensorflow as tf

    pipe = fake("tensorflow", lost=())
    seen: list[bytes] = []

    def note(x: Any) -> Any:
        seen.append(x.tobytes())
        return np.float32(0)

    def pair(batch: dict[str, Any]) -> tuple[Any, Any]:
        x = tf.cast(batch["picture"], tf.float32) / 255
        return x + tf.ensure_shape(tf.numpy_function(note, [batch["picture"]], tf.float32), ()), batch["class"]

    model = keras.Sequential([keras.Input((8, 6, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(pipe.tf_dataset().map(pair), epochs=3, verbose=0)

    reference = fake("torch", lost=())
    expected = []
    for _ in range(3):
        for delivered in reference.epoch():
            assert delivered.batch is not None
            expected.append(delivered.batch["picture"].movedim(1, -1).contiguous().numpy().tobytes())
    assert seen == expected  # on the other framework, byte for byte
    assert len(set(seen)) == len(seen)


def test_the_other_frameworks_data_set_is_refused() -> None:
    with pytest.raises(PipelineError, match="runs on torch"):
        fake("torch").tf_dataset()
    with pytest.raises(PipelineError, match="runs on tensorflow"):
        fake("tensorflow").torch_dataset()


def test_a_step_as_a_module() -> None:
    import torch

    x = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).reshape(2, 3, 4, 5)
    module = pipelines.as_torch(Flip(probability=1.0))
    assert torch.equal(module(x), x.flip(-1))
    assert torch.equal(module(x[0]), x[0].flip(-1))

    chance = pipelines.as_torch(Flip(probability=0.5))
    chance.eval()
    assert torch.equal(chance(x), x)
    chance.train()
    torch.manual_seed(0)
    many = chance(x[:1].expand(64, -1, -1, -1))
    flipped = sum(bool(torch.equal(row, x[0].flip(-1))) for row in many)
    assert 16 < flipped < 48  # 64 fair throws; outside with a chance below 1e-4

    buffer = io.BytesIO()
    torch.save(module, buffer)
    assert torch.equal(pickle.loads(pickle.dumps(module))(x), module(x))
    with pytest.raises(SpecError, match="only steps on numbers"):
        pipelines.as_torch(Index(classes=("a", "b")))


def test_a_step_as_a_layer(tmp_path: Any) -> None:
    import keras
    import tensorflow as tf

    x = tf.reshape(tf.range(2 * 4 * 5 * 3, dtype=tf.int32), (2, 4, 5, 3))
    x = tf.cast(x, tf.uint8)
    layer = pipelines.as_keras(Flip(probability=1.0))
    assert np.array_equal(layer(x), np.asarray(x)[:, :, ::-1])
    chance = pipelines.as_keras(Flip(probability=0.5))
    assert np.array_equal(chance(x), x)
    many = np.asarray(chance(tf.repeat(x[:1], 64, 0), training=True))
    flipped = sum(np.array_equal(row, np.asarray(x)[0, :, ::-1]) for row in many)
    assert 16 < flipped < 48

    model = keras.Sequential([keras.Input((4, 5, 3), dtype="uint8"), layer])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert np.array_equal(again(x), layer(x))
