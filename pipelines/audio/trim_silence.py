"""Silence at the ends of a sound."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from pydantic import Field

from pipelines.errors import RecordError
from pipelines.spec import PER_RECORD, Axis, Spec, waveform
from pipelines.step import Example, HostStep, Identical, Kernel


class TrimSilence(HostStep):
    """The part of a waveform between the silence at its start and at its end.

    Takes  float32[..., time]   waveform of at least 1 sample
    Gives  float32[..., time]   in[begin], .., in[end - 1]; the length differs from record to record

    A frame is loud when its power (mean square of `frame` samples, zeros beyond the ends) is above `floor_db` of the
    loudest frame's. Frames are centred on multiples of `hop`; the part goes from the first loud frame's centre to the
    centre after the last one's. Of several channels a frame counts with its loudest. A waveform of zeros alone fails,
    and one with samples that are not finite.
    Source: librosa.effects.trim, frame by frame, but for its least level of 1e-5, which leaves quiet recordings as they
    are; there is no such function in torchaudio (its vad is another method) or TensorFlow (tfio.audio.trim compares
    samples, not frames), so one NumPy binding in float64 serves both.
    """

    floor_db: Annotated[float, Field(lt=0)] = -60.0
    frame: Annotated[int, Field(ge=1)] = 2048
    hop: Annotated[int, Field(ge=1)] = 512
    where: Literal["both", "start", "end"] = "both"

    takes_rate = True
    agreement = Identical("one NumPy binding; samples are moved, never computed")
    examples = (
        Example(waveform(16000), {"frame": 64, "hop": 16, "floor_db": -20}, lambda rng: _quiet_ends(rng)),
        Example(waveform(8000, channels=2, time=3000), {"where": "start"}),
        Example(waveform(PER_RECORD), {"where": "end", "frame": 101, "hop": 50, "floor_db": -10}),
    )

    def out_spec(self, x: Spec) -> Spec:
        x.need(("float32",), last=("time",))
        return x.but(axes=(*x.axes[:-1], Axis("time")))

    def part(self, wave: npt.NDArray[np.float32]) -> tuple[int, int]:
        """First sample, and the one after the last, of what is kept."""
        time = wave.shape[-1]
        if time < 1:
            raise RecordError("expected at least 1 sample, got 0")
        half = self.frame // 2
        squares = np.pad(np.square(wave.reshape(-1, time).astype(np.float64)), [(0, 0), (half, half)])
        # each frame by itself: in a running sum a loud part would swallow a quiet one that follows
        power = sliding_window_view(squares, self.frame, -1)[:, :: self.hop].mean(-1).max(0)
        if not np.isfinite(power).all():
            raise RecordError("expected finite samples, got infinite ones or NaN")
        if power.max() <= 0:
            raise RecordError("the waveform is silent")
        loud = np.flatnonzero(power > power.max() * 10 ** (self.floor_db / 10))
        begin = 0 if self.where == "end" else int(loud[0]) * self.hop
        end = time if self.where == "start" else min(time, (int(loud[-1]) + 1) * self.hop)
        return begin, end

    def bind_numpy(self, x: Spec) -> Kernel:
        def kernel(wave: npt.NDArray[np.float32], *rate: int) -> object:
            begin, end = self.part(wave)
            return (wave[..., begin:end], *rate) if rate else wave[..., begin:end]

        return kernel


def _quiet_ends(rng: np.random.Generator) -> list[npt.NDArray[np.float32]]:
    sounds = [rng.uniform(-1, 1, size) for size in (501, 777, 1203)]
    for sound, (first, last) in zip(sounds, ((100, 400), (0, 700), (333, 1203)), strict=True):
        sound[:first] *= 1e-3
        sound[last:] *= 1e-3
    return [sound.astype(np.float32) for sound in sounds]
