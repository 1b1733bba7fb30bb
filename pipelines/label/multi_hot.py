"""Sets of class numbers to vectors."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from pipelines.errors import RecordError, SpecError
from pipelines.spec import Axis, Spec
from pipelines.step import Example, Identical, Kernel, Step

_INTEGERS = ("int64", "int32", "int16", "int8", "uint8")


class MultiHot(Step):
    """A one at the place of each class that a record has, zeros elsewhere: for records of several labels.

    Takes  int64[..., item]      class numbers; other whole numbers too
    Gives  float32[..., class]   out[..., c] = 1 if c is among in[...] else 0

    A class that stands twice counts once, no class at all gives zeros; a number outside [0, classes - 1] fails the
    record.
    Source: keras.layers.CategoryEncoding(output_mode="multi_hot"); torch.Tensor.scatter_.
    """

    classes: Annotated[int, Field(ge=1)]

    agreement = Identical("zeros and ones")
    batches = False
    examples = (
        Example(Spec("uint8", (Axis("item", 3),), "class", (0, 4)), {"classes": 7}),
        Example(Spec("int64", (Axis("item"),)), {"classes": 5}, lambda rng: [rng.integers(0, 5, n) for n in (0, 1, 8)]),
    )

    def out_spec(self, x: Spec) -> Spec:
        x.need(_INTEGERS)
        if not x.axes:
            raise SpecError(f"expected class numbers along an axis, got {x}; label.one_hot takes a single one")
        if x.range and (x.range[0] < 0 or x.range[1] >= self.classes):
            raise SpecError(f"classes={self.classes} must be above every class number, got {x}")
        return Spec("float32", (*x.axes[:-1], Axis("class", self.classes)), "", (0.0, 1.0))

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        def kernel(numbers: torch.Tensor) -> torch.Tensor:
            if x.range is None and numbers.numel() and not 0 <= int(numbers.min()) <= int(numbers.max()) < self.classes:
                raise RecordError(f"a class number is outside [0, {self.classes - 1}]")
            found = torch.zeros(*numbers.shape[:-1], self.classes, device=numbers.device)
            return found.scatter_(-1, numbers.long(), 1.0)

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        limit = np.int64(self.classes)

        def kernel(numbers: Any) -> Any:
            numbers = tf.cast(numbers, tf.int64)
            inside = tf.reduce_all((numbers >= 0) & (numbers < limit))
            checks = [] if x.range else [tf.Assert(inside, [f"a class number is outside [0, {limit - 1}]"])]
            with tf.control_dependencies(checks):
                ones = tf.one_hot(numbers, self.classes, dtype=tf.float32)
            return tf.maximum(tf.reduce_max(ones, -2), 0.0)  # of no class, the least float

        return kernel
