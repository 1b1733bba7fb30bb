"""Mixing whole rows of a batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipelines.image._mix import MixStep
from pipelines.spec import Axis, Spec, picture
from pipelines.step import Example, Identical, Kernel


class Mixup(MixStep):
    """Mixes each row of a batch with the row before it, pictures and labels alike; stands under `batch_steps`.

    Takes  float32 of one shape in every record, for each of `fields`: pictures, sounds, one-hot labels
    Gives  the same; out[i] = share x in[i] + (1 - share) x in[i - 1]; the first row is mixed with the last

    The share is Beta(`alpha`, `alpha`), drawn once for a batch of the grid, the same on every rank; a batch is left
    as it is with 1 - `probability`. `apply` leaves the step out.
    Source: Zhang et al., "mixup: beyond empirical risk minimization" (2018); torchvision.transforms.v2.MixUp.
    """

    agreement = Identical("two products and a sum, in the same order")
    examples = (
        Example(
            (picture(9, 7, dtype="float32"), Spec("float32", (Axis("class", 5),))), {"fields": ["a", "b"], "alpha": 0.2}
        ),
        Example((Spec("float32", (Axis("band", 3), Axis("frame", 4))),), {"fields": ["a"], "probability": 0.5}),
    )

    def variates(self) -> int:
        return 2

    def out_specs(self, *specs: Spec) -> tuple[Spec, ...]:
        self.need_mixable(specs)
        return specs

    def bind_torch(self, *specs: Spec) -> Kernel:
        import torch

        def kernel(*values: Any) -> dict[str, Any]:
            *rows, draw = values
            share = np.float32(self.kept(draw))
            rest = np.float32(1) - share
            mixed = (row * float(share) + torch.roll(row, 1, 0) * float(rest) for row in rows)
            return dict(zip(self.fields, mixed, strict=True))

        return kernel

    def bind_tensorflow(self, *specs: Spec) -> Kernel:
        import tensorflow as tf

        def kernel(*values: Any) -> dict[str, Any]:
            *rows, draw = values
            share = tf.numpy_function(lambda drawn: np.float32(self.kept(drawn)), [draw], tf.float32)
            share.set_shape(())
            rest = 1 - share
            mixed = (row * share + tf.roll(row, 1, 0) * rest for row in rows)
            return dict(zip(self.fields, mixed, strict=True))

        return kernel
