"""Several short texts in one row."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipelines.errors import SpecError
from pipelines.spec import Axis, Spec
from pipelines.step import BatchStep, Example, Identical, Kernel


class Pack(BatchStep):
    """Lays the sequences of a batch into rows of `length` tokens, several in a row; stands under `batch_steps`.

    Takes  int64[token] of differing lengths, the one field in `fields`
    Gives  FIELD int64[rows, length], zeros after the last sequence of a row; beside it, of the same shape,
           FIELD_segments: 1 for the first sequence of a row, 2 for the second, .., 0 for padding (what attention
           may look at), and FIELD_positions: the place of each token in its own sequence, from 0.
           Of each record, int64[records]: FIELD_row and FIELD_start, where its sequence stands, and FIELD_length

    Each sequence goes into the first row that has room for it, in the order of the batch. A longer one is cut to
    `length`. `key` and `index` stay those of the records, so every record is accounted for, and shards hold the
    records unpacked. With `batch.fixed` there are as many rows as records, the last ones empty.
    Source: first fit; Raffel et al. (2020), section 2.2, and Krell et al., "Efficient sequence packing" (2021).
    """

    fields: Annotated[tuple[str, ...], Field(min_length=1, max_length=1)]
    length: Annotated[int, Field(ge=1)]

    packs = True
    agreement = Identical("tokens are moved, never computed")
    examples = (
        Example(Spec("int64", (Axis("token"),), "id", (0, 99)), {"fields": ["ids"], "length": 16}),
        Example(Spec("int64", (Axis("token"),)), {"fields": ["ids"], "length": 5}),
    )

    def entries(self) -> tuple[str, ...]:
        return tuple(f"{self.fields[0]}_{what}" for what in ("segments", "positions", "row", "start"))

    def out_specs(self, *specs: Spec) -> tuple[Spec, ...]:
        (x,) = specs
        x.need(("int64",), exactly=("token",))
        if x.range and not x.range[0] <= 0 <= x.range[1]:
            raise SpecError(f"expected ids among which 0 can be padding, got {x}")
        if x.size("token") is not None:
            raise SpecError(f"expected sequences of differing lengths, got {x}; leave text.pad out")
        return specs

    def plan(self, lengths: npt.NDArray[np.int64], width: int) -> tuple[npt.NDArray[np.int64], ...]:
        """Of sequences padded to `width`: the flat place that each packed token comes from (-1: padding), its segment
        and position, int64[rows, length]; row, start and length of each sequence, int64[sequences].
        """
        lengths = np.minimum(lengths, self.length)
        row, start = np.zeros_like(lengths), np.zeros_like(lengths)
        used: list[int] = []
        count: list[int] = []
        places = np.full((len(lengths), self.length), -1, np.int64)
        segments, positions = np.zeros_like(places), np.zeros_like(places)
        for number, length in enumerate(lengths.tolist()):
            row[number] = target = next((r for r, n in enumerate(used) if n + length <= self.length), len(used))
            if target == len(used):
                used.append(0)
                count.append(0)
            start[number] = begin = used[target]
            part = np.s_[target, begin : begin + length]
            positions[part] = np.arange(length)
            places[part] = number * width + positions[part]
            count[target] += 1
            segments[part] = count[target]
            used[target] += length
        rows = max(len(used), 1)
        return places[:rows], segments[:rows], positions[:rows], row, start, lengths

    def _named(self, packed: Any, segments: Any, positions: Any, row: Any, start: Any, lengths: Any) -> dict[str, Any]:
        (name,) = self.fields
        made = (segments, positions, row, start)
        return {name: packed, **dict(zip(self.entries(), made, strict=True)), f"{name}_length": lengths}

    def bind_torch(self, *specs: Spec) -> Kernel:
        import torch

        def kernel(ids: torch.Tensor, lengths: torch.Tensor) -> dict[str, Any]:
            planned = self.plan(lengths.numpy(), ids.shape[1])
            places, *beside = (torch.from_numpy(part).to(ids.device) for part in planned)
            flat = torch.nn.functional.pad(ids.reshape(-1), (0, 1))  # the last one is the padding
            return self._named(flat[places], *beside)

        return kernel

    def bind_tensorflow(self, *specs: Spec) -> Kernel:
        import tensorflow as tf

        def kernel(ids: tf.Tensor, lengths: tf.Tensor) -> dict[str, Any]:
            width = tf.shape(ids, tf.int64)[1]
            planned = tf.numpy_function(self.plan, [lengths, width], [tf.int64] * 6)
            places, *beside = planned
            for part in planned[:3]:
                part.set_shape((None, self.length))
            for part in planned[3:]:
                part.set_shape((None,))
            flat = tf.pad(tf.reshape(ids, [-1]), [[1, 0]])  # the first one is the padding
            packed = tf.gather(flat, places + 1)
            packed.set_shape((None, self.length))
            return self._named(packed, *beside)

        return kernel
