"""Class numbers to vectors."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from pipelines.errors import RecordError, SpecError
from pipelines.spec import Axis, Spec
from pipelines.step import Example, Identical, Kernel, Step

_INTEGERS = ("int64", "int32", "int16", "int8", "uint8")


class OneHot(Step):
    """A one at the class's place among zeros.

    Takes  int64[...]            class number; other whole numbers too
    Gives  float32[..., class]   out[..., c] = 1 if in[...] = c else 0

    A number outside [0, classes - 1] fails the record (tf.one_hot would give zeros).
    Source: torch.nn.functional.one_hot; tf.one_hot.
    """

    classes: Annotated[int, Field(ge=1)]

    agreement = Identical("zeros and ones")
    batches = False
    examples = (
        Example(Spec("int64", (), "class", (0, 9)), {"classes": 10}),
        Example(Spec("int64", (), "class", (0, 0)), {"classes": 1}),
        Example(Spec("uint8", (Axis("height"), Axis("width")), "class", (0, 4)), {"classes": 7}),
        Example(Spec("int32", (Axis("token", 5),)), {"classes": 100}, lambda rng: list(rng.integers(0, 100, (4, 5)))),
    )

    def out_spec(self, x: Spec) -> Spec:
        x.need(_INTEGERS)
        if x.range and (x.range[0] < 0 or x.range[1] >= self.classes):
            raise SpecError(f"classes={self.classes} must be above every class number, got {x}")
        return Spec("float32", (*x.axes, Axis("class", self.classes)), "", (0.0, 1.0))

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        unproved = x.range is None  # a check would wait for the device

        def kernel(number: torch.Tensor) -> torch.Tensor:
            if unproved and number.numel() and (int(number.min()) < 0 or int(number.max()) >= self.classes):
                raise RecordError(f"a class number is outside [0, {self.classes - 1}]")
            return torch.nn.functional.one_hot(number.long(), self.classes).float()

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        limit = np.int64(self.classes)

        def kernel(number: Any) -> Any:
            number = tf.cast(number, tf.int64)
            if x.range is not None:
                return tf.one_hot(number, self.classes, dtype=tf.float32)
            inside = tf.reduce_all((number >= 0) & (number < limit))
            with tf.control_dependencies([tf.Assert(inside, [f"a class number is outside [0, {limit - 1}]"])]):
                return tf.one_hot(number, self.classes, dtype=tf.float32)

        return kernel
