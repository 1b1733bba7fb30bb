"""Pasting a part of another picture of the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.errors import SpecError
from pipelines.image._mix import MixStep
from pipelines.spec import Axis, Spec, picture
from pipelines.step import Example, Identical, Kernel


class Cutmix(MixStep):
    """Pastes into each picture of a batch a box of the picture before it, and mixes labels by area.

    Takes  float32 of one shape in every record, for each of `fields`: at least one picture, and one-hot labels
    Gives  the same; a picture: in[i - 1] inside the box, in[i] outside; other fields: share x in[i] + (1 - share) x
           in[i - 1], where share is the part of the first picture outside the box

    The box has the picture's proportions, an area of 1 - Beta(`alpha`, `alpha`), a centre drawn evenly, and is cut at
    the edges; it is one for a batch of the grid, the same on every rank and, as shares of the sides, in every picture
    field. A batch is left as it is with 1 - `probability`. Stands under `batch_steps`; `apply` leaves it out.
    Source: Yun et al., "CutMix" (2019); torchvision.transforms.v2.CutMix.
    """

    agreement = Identical("values are moved; labels by two products and a sum, in the same order")
    examples = (
        Example(
            (picture(9, 7, dtype="float32"), Spec("float32", (Axis("class", 5),))), {"fields": ["picture", "label"]}
        ),
        Example(
            (picture(20, 31, 1, "float32"), picture(5, 5, dtype="float32")),
            {"fields": ["a", "b"], "alpha": 3, "probability": 0.9},
        ),
    )

    def variates(self) -> int:
        return 4  # whether, how much, and the centre's height and width

    def out_specs(self, *specs: Spec) -> tuple[Spec, ...]:
        self.need_mixable(specs)
        if not any(spec.is_picture for spec in specs):
            raise SpecError(f"expected a picture among fields {list(self.fields)}, got none")
        return specs

    def box(self, spec: Spec, draw: Any) -> npt.NDArray[np.int64]:
        """Top, bottom, left and right of the part that is pasted into a picture of this size."""
        side = np.sqrt(1 - self.kept(draw))
        ends = []
        for size, centre in zip(spec.shape[-3:-1], np.asarray(draw, np.float64)[2:], strict=True):
            middle, half = np.floor(centre * (size or 0)), np.floor(side * (size or 0)) / 2
            ends += [np.clip(np.floor(middle - half), 0, size), np.clip(np.floor(middle + half), 0, size)]
        return np.array(ends, np.int64)

    def plan(self, specs: tuple[Spec, ...], draw: Any) -> tuple[list[npt.NDArray[np.bool_]], np.float32]:
        """For each picture the pixels that are pasted, bool[height, width], and the share of labels that stays."""
        masks = []
        for spec in specs:
            if spec.is_picture:
                top, bottom, left, right = self.box(spec, draw)
                masks.append(np.zeros([n or 0 for n in spec.shape[-3:-1]], bool))
                masks[-1][top:bottom, left:right] = True
        return masks, np.float32(1 - masks[0].mean())

    def bind_torch(self, *specs: Spec) -> Kernel:
        import torch

        def kernel(*values: Any) -> dict[str, Any]:
            *rows, draw = values
            masks, share = self.plan(specs, draw)
            places = iter(masks)
            rest = np.float32(1) - share

            def mixed(row: torch.Tensor, spec: Spec) -> torch.Tensor:
                other = torch.roll(row, 1, 0)
                if spec.is_picture:
                    return torch.where(torch.from_numpy(next(places)).to(row.device), other, row)
                return row * float(share) + other * float(rest)

            return {n: mixed(r, s) for n, r, s in zip(self.fields, rows, specs, strict=True)}

        return kernel

    def bind_tensorflow(self, *specs: Spec) -> Kernel:
        import tensorflow as tf

        pictures = [spec for spec in specs if spec.is_picture]

        def planned(draw: npt.NDArray[np.float64]) -> list[Any]:
            masks, share = self.plan(specs, draw)
            return [*masks, share]

        def kernel(*values: Any) -> dict[str, Any]:
            *rows, draw = values
            *masks, share = tf.numpy_function(planned, [draw], [*[tf.bool] * len(pictures), tf.float32])
            share.set_shape(())
            for mask, spec in zip(masks, pictures, strict=True):
                mask.set_shape(spec.shape[-3:-1])
            places = iter(masks)

            def mixed(row: tf.Tensor, spec: Spec) -> tf.Tensor:
                other = tf.roll(row, 1, 0)
                if spec.is_picture:
                    return tf.where(next(places)[..., None], other, row)
                return row * share + other * (1 - share)

            return {n: mixed(r, s) for n, r, s in zip(self.fields, rows, specs, strict=True)}

        return kernel
