"""Mel-frequency cepstral coefficients."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipelines.errors import SpecError
from pipelines.native import torch_constant
from pipelines.spec import Axis, Spec
from pipelines.step import Close, Example, Kernel, Step


def _levels(bands: int, frames: int | None = None) -> Spec:
    return Spec("float32", (Axis("band", bands), Axis("frame", frames)), "dB")


class Mfcc(Step):
    """Cepstral coefficients of mel-band levels: their cosine transform along the bands.

    Takes  float32[..., band, frame]          dB, from audio.mel and audio.decibels, or log power from audio.fbank
    Gives  float32[..., coefficient, frame]   out[c, t] = l[c] sum_b D[c, b] x[b, t]

    D is the orthonormal DCT-II: D[c, b] = sqrt(2 / B) cos(pi c (b + 1/2) / B), D[0, b] = sqrt(1 / B). With `lifter` L
    (22 in HTK and Kaldi) l[c] = 1 + L / 2 sin(pi c / L), without it l[c] = 1.
    Source: Davis and Mermelstein 1980; HTK book 5.6; the matrix of torchaudio.functional.create_dct(norm="ortho");
    equals librosa.feature.mfcc(S=x), whose lifter counts c from 1; Kaldi puts a frame's energy for c = 0 unless told
    otherwise. tf.signal.mfccs_from_log_mel_spectrograms scales coefficient 0 by sqrt(2),
    so it is not used.
    """

    coefficients: Annotated[int, Field(ge=1)] = 13

    lifter: Annotated[float, Field(ge=0)] = 0.0

    agreement = Close(of_peak=1e-6, why="float32 sum over the bands in another order: 6e-7 of 256 bands")
    examples = (
        Example(_levels(64)),
        Example(_levels(23, 41), {"coefficients": 23}),
        Example(_levels(23).but(unit="log power"), {"lifter": 22}),
        Example(_levels(80).but(axes=(Axis("channel", 2), Axis("band", 80), Axis("frame"))), {"coefficients": 1}),
    )

    def out_spec(self, x: Spec) -> Spec:
        x.need(("float32",), last=("band", "frame"))
        bands = x.size("band")
        if x.unit not in ("dB", "log power") or bands is None:
            found = f"{x}; put audio.decibels before this step"
            raise SpecError(f"expected a known number of bands in dB or log power, got {found}")
        if self.coefficients > bands:
            raise SpecError(f"expected at most {bands} coefficients (the number of bands), got {self.coefficients}")
        return x.but(axes=(*x.axes[:-2], Axis("coefficient", self.coefficients), x.axes[-1]), unit="", range=None)

    def matrix(self, bands: int) -> npt.NDArray[np.float64]:
        """float64[coefficients, bands]: D, each row times l."""
        turns = np.arange(self.coefficients)[:, None] * (np.arange(bands) + 0.5) / bands
        matrix: npt.NDArray[np.float64] = np.sqrt(2 / bands) * np.cos(np.pi * turns)
        matrix[0] = np.sqrt(1 / bands)
        if self.lifter:
            matrix *= (1 + self.lifter / 2 * np.sin(np.pi * np.arange(self.coefficients) / self.lifter))[:, None]
        return matrix

    def _constant(self, x: Spec) -> npt.NDArray[np.float32]:
        return self.matrix(x.size("band") or 1).astype(np.float32)

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        matrix = torch_constant(self._constant(x))
        return lambda levels: torch.matmul(matrix(levels), levels)

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        matrix = self._constant(x)
        return lambda levels: tf.matmul(matrix, levels)
