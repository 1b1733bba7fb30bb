"""Trains a small classifier on a config, with keras.Model.fit; a script to copy.

python scripts/train_keras.py configs/train_digits.yaml --epochs 10 --output out/digits.weights.h5

--resume goes on from the checkpoint, in the middle of an epoch too. --evaluate FOLDER tells the accuracy on finished
features (`pipelines run CONFIG --evaluate --output FOLDER`), whichever framework made them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import h5py
import keras
import tensorflow as tf

import pipelines
from pipelines.errors import PipelineError, UserError


class MeanOfTokens(keras.layers.Layer):
    """The mean over the tokens that are no padding; 0 for a filler row, which has none."""

    def call(self, vectors: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
        there = keras.ops.cast(ids != 0, vectors.dtype)[..., None]
        return keras.ops.sum(vectors * there, 1) / keras.ops.maximum(keras.ops.sum(there, 1), 1)


def classifier(spec: pipelines.Spec, classes: int) -> keras.Model:
    """Class scores of a picture, of a spectrogram, or of token ids; 0 is padding."""
    given = keras.Input(spec.shape, dtype=spec.dtype)
    if spec.dtype == "int64":
        size = int((spec.range or (0, 50_000))[1]) + 1
        x = keras.layers.Embedding(size, 64)(given)
        return keras.Model(given, keras.layers.Dense(classes)(MeanOfTokens()(x, given)))
    x = given if spec.is_picture else keras.layers.Reshape((*spec.shape, 1))(given)
    x = keras.layers.BatchNormalization(momentum=0.9)(x)
    for filters in (16, 32, 64):
        x = keras.layers.Conv2D(filters, 3, padding="same")(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))
        x = keras.layers.MaxPooling2D()(x)
    return keras.Model(given, keras.layers.Dense(classes)(keras.layers.Flatten()(x)))


def features_of(pipe: pipelines.Pipeline, label: str) -> tuple[str, int]:
    """The field to learn from, and the number of classes."""
    specs = pipe.plan.specs
    found = [name for name, spec in specs.items() if name != label and spec.is_numeric and spec.axes]
    if label not in specs or not found:
        wanted = "a field to learn from, of numbers" if label in specs else f"a field {label!r} (--label names another)"
        raise UserError(f"expected {wanted}, the config has {', '.join(specs)}")
    return found[0], int((specs[label].range or (0, 9))[1]) + 1


def accuracy(model: keras.Model, folder: Path, name: str, label: str) -> float:
    """The share of the records in `folder` that the model gets right."""
    fields = {field: {"from": field} for field in (name, label)}
    source = {"shards": {"path": str(folder)}}
    pipe = pipelines.load({"framework": "tensorflow", "source": source, "fields": fields, "batch": {"size": 256}})
    right = 0
    for batch in pipe:
        scores = model(batch[name], training=False)
        right += int(tf.reduce_sum(tf.cast(tf.argmax(scores, 1) == batch[label], tf.int32)))
    return right / pipe.counts.delivered


class Stopped(Exception):
    """The batches of --stop-after are done."""


class Checkpoint(keras.callbacks.Callback):
    """The model, the optimizer and the place in the data, in one file that is whole or not there.

    Written after each epoch, and after every `every` batches where that is not 0. fit is handed batches before it uses
    them, so the place is that after so many of the epoch's.
    """

    def __init__(self, pipe: pipelines.Pipeline, path: Path | None, every: int = 0, stop_after: int = 0) -> None:
        super().__init__()
        self.pipe, self.path, self.every, self.stop_after = pipe, path, every, stop_after
        self.batches = self.used = 0  # of the run, and of the epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.used = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.batches += 1
        self.used += 1
        if self.every and self.batches % self.every == 0:
            self.save()
        if self.batches == self.stop_after:
            raise Stopped

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.save()

    def save(self) -> None:
        if self.path is None:
            return
        state = self.pipe.state(self.used)
        new = self.path.with_name("new." + self.path.name)
        self.model.save_weights(new)
        with h5py.File(new, "a") as held:
            held.attrs["state"] = json.dumps(state)
        new.replace(self.path)


def restore(model: keras.Model, path: Path) -> Any:
    """Puts a checkpoint's values into the model and its optimizer, and gives the place in the data."""
    model.optimizer.build(model.trainable_variables)  # an optimizer that has no variables yet is passed over
    model.load_weights(path)
    with h5py.File(path) as held:
        return json.loads(held.attrs["state"])


def train(given: argparse.Namespace) -> int:
    keras.utils.set_random_seed(0)
    pipe = pipelines.load(given.config, framework="tensorflow")
    name, classes = features_of(pipe, given.label)
    model = classifier(pipe.plan.specs[name], classes)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(2e-3), loss, weighted_metrics=["accuracy"])
    if given.resume and given.output.exists():
        pipe.resume(restore(model, given.output))

    def pair(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, ...]:
        # filler rows have no weight
        return (
            batch[name],
            batch[given.label],
            tf.cast(batch.get("_valid", tf.ones_like(batch[given.label])), tf.float32),
        )

    data = pipe.tf_dataset().map(pair)  # each epoch of fit is the next epoch of the pipeline
    watch = Checkpoint(pipe, given.output, given.save_every, given.stop_after)
    try:
        while pipe.next_start[0] < given.epochs:
            epoch, position = pipe.next_start
            # one epoch a fit, since it takes its first one's length for that of all; told how many batches there are,
            # since the optimizer counts one step more where it looks for the end
            steps = pipe.grid.batches(epoch, position)
            model.fit(data, initial_epoch=epoch, epochs=epoch + 1, steps_per_epoch=steps, callbacks=[watch], verbose=2)
    except Stopped:
        return 0
    found = {str(folder): accuracy(model, folder, name, given.label) for folder in given.evaluate}
    for folder, share in found.items():
        print(f"{folder}: accuracy {share:.4f}")
    if given.json:
        given.json.write_text(json.dumps(found))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("--label", default="label", help="the field of class numbers")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--output", type=Path, help="the checkpoint, FILE.weights.h5")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint, if there is one")
    parser.add_argument("--save-every", type=int, default=0, help="checkpoint after so many batches, too")
    parser.add_argument("--stop-after", type=int, default=0, help="stop after so many batches, as a killed job would")
    parser.add_argument("--evaluate", type=Path, nargs="*", default=[], help="folders of finished features")
    parser.add_argument("--json", type=Path, help="write the accuracies here")
    given = parser.parse_args()
    if given.output and not given.output.name.endswith(".weights.h5"):
        parser.error(f"--output: expected FILE.weights.h5, got {given.output}")
    if given.stop_after and (given.evaluate or given.json):
        parser.error("--stop-after ends before there is anything to evaluate")
    if (given.resume or given.save_every) and not given.output:
        parser.error("--resume and --save-every need a checkpoint: --output FILE.weights.h5")
    try:
        return train(given)
    except PipelineError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
