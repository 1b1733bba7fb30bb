"""Waveforms and spectrograms as figures, with axes in seconds and hertz."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from pipelines.plan import Node
from pipelines.report._page import Sound, new_figure, samples_wav

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE = "#2563a8"
MOST_POINTS = 4000
"""Columns of a plotted waveform; of more samples, the least and the largest of each stretch are drawn."""
LABELS = 6
LEFT, RIGHT, BOTTOM, TOP, BAR = 1.0, 1.15, 0.5, 0.28, 0.14
"""Inches around the axes of every figure, so that a sound and its spectrogram stand one below the other, with room for
numbers of any size, and the width of a bar of colours."""
DECADES = {"power": 6, "magnitude": 3}
"""Powers of ten below the peak that are told apart by colour: 60 dB."""


@runtime_checkable
class Spectral(Protocol):
    """A step that makes a spectrogram of a waveform: it knows where its rows and frames stand."""

    def rows_hz(self, rate_hz: int) -> npt.NDArray[np.float64]:
        """float64[rows]: the frequency of each bin, or in the middle of each band."""

    def frame_seconds(self, rate_hz: int) -> tuple[float, float]:
        """The middle of the first frame, and from one to the next, in seconds."""


def waveform_figure(
    samples: npt.NDArray[Any], rate_hz: int | None, *, width: float = 7.0, unit: str = "", peak: float | None = None
) -> Figure:
    """float[time] or [channel, time] over seconds, or over samples where the rate is not known.

    `peak` is where the amplitudes' axis ends, so that several can be compared; left out, it is the channel's own.
    """
    channels = np.atleast_2d(np.asarray(samples, np.float64))
    figure = _figure(width, 1.1 + 0.7 * len(channels))
    axes = figure.subplots(len(channels), 1, sharex=True, squeeze=False)[:, 0]
    count = channels.shape[1]
    scale = rate_hz or 1
    for axis, channel in zip(axes, channels, strict=True):
        x, y = _outline(channel)
        axis.plot(x / scale, y, color=BLUE, linewidth=0.8)
        axis.set_xlim(0, max(count, 1) / scale)
        most = peak_of(channel) if peak is None else peak
        axis.set_ylim(*((-1.05 * most, 1.05 * most) if most else (-1, 1)))
        axis.set_ylabel(unit or "amplitude")
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("seconds" if rate_hz else "samples")
    return figure


def peak_of(samples: npt.NDArray[Any]) -> float:
    """The largest amplitude that is a number; 0 where there is none."""
    return float(np.abs(samples[np.isfinite(samples)]).max(initial=0.0))


def _outline(channel: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The points to draw: every sample, or the least and the largest of each stretch."""
    stretch = -(-len(channel) // (MOST_POINTS // 2))
    if stretch < 2:
        return np.arange(len(channel), dtype=np.float64), channel
    whole = len(channel) // stretch * stretch
    parts = channel[:whole].reshape(-1, stretch)
    starts = np.repeat(np.arange(0, whole, stretch, dtype=np.float64), 2)
    starts[1::2] += stretch / 2
    return starts, np.stack([parts.min(1), parts.max(1)], 1).ravel()


def spectral_node(nodes: Iterable[Node]) -> Node | None:
    """Of the nodes a value has been through, the last one first, that which made frames of time."""
    return next((n for n in nodes if "frame" in n.gives[0].names and "frame" not in n.takes[0].names), None)


def spectrogram_figure(
    values: npt.NDArray[Any], row: str, unit: str, node: Node | None, *, width: float = 7.0, around_zero: bool = False
) -> Figure:
    """[row, frame] in colours; complex ones by magnitude.

    The frames stand at their seconds and the rows at their hertz, as the step in `node` says, where it knows; `row` is
    the name of the axis otherwise. `around_zero` colours differences, none being white.
    """
    shown = np.abs(values) if np.iscomplexobj(values) else np.asarray(values, np.float64)
    unit = unit or ("magnitude" if np.iscomplexobj(values) else "")
    rows, frames = shown.shape
    first, hop, hz, placed = 0.0, 1.0, np.zeros(0), False
    if node is not None and isinstance(node.step, Spectral) and isinstance(rate := node.takes[0].rate_hz, int):
        (first, hop), hz, placed = node.step.frame_seconds(rate), node.step.rows_hz(rate), True
    figure = _figure(width, 2.6)
    axis = figure.subplots()
    finite = shown[np.isfinite(shown)]
    peak = float(np.abs(finite).max(initial=0.0)) or 1.0
    colours: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -peak, "vmax": peak} if around_zero else {"cmap": "magma"}
    if unit in DECADES and not around_zero and peak > 0 and finite.min(initial=0.0) >= 0:
        from matplotlib import colormaps
        from matplotlib.colors import LogNorm

        magma = colormaps["magma"]
        colours = {"norm": LogNorm(peak / 10 ** DECADES[unit], peak), "cmap": magma.with_extremes(bad=magma(0.0))}
    across = (first - hop / 2, first + (frames - 0.5) * hop)
    known = len(hz) == rows and row in ("bin", "band")
    upright = (-0.5, rows - 0.5)
    if known and row == "bin":
        spacing = float(hz[1] - hz[0]) if rows > 1 else 1.0
        upright = (float(hz[0]) - spacing / 2, float(hz[-1]) + spacing / 2)
    drawn = axis.imshow(
        shown, origin="lower", aspect="auto", interpolation="nearest", extent=(*across, *upright), **colours
    )
    if known and row == "band":
        at = np.unique(np.linspace(0, rows - 1, min(LABELS, rows)).round().astype(int))
        axis.set_yticks(at, [f"{hz[i]:.0f}" for i in at])
    axis.set_xlabel("seconds" if placed else "frame")
    axis.set_ylabel(("Hz (middle of the band)" if row == "band" else "Hz") if known else row)
    place = axis.get_position()
    bar = figure.add_axes((place.x1 + BAR / width, place.y0, BAR / width, place.height))
    figure.colorbar(drawn, cax=bar, label=unit)
    return figure


def _figure(width: float, height: float) -> Figure:
    figure = new_figure(width, height, layout=None)
    sides = {"left": LEFT / width, "right": 1 - RIGHT / width}
    figure.subplots_adjust(**sides, bottom=BOTTOM / height, top=1 - TOP / height)
    return figure


def sound_of(samples: npt.NDArray[Any], rate_hz: int, most_bytes: int) -> Sound | None:
    """A player of the waveform, of its first seconds where it is long; None where there is nothing to play."""
    channels = np.atleast_2d(np.asarray(samples, np.float32))
    if len(channels) > 2:
        channels = channels[:1]
    count = min(channels.shape[1], most_bytes // (2 * len(channels)))
    if not count or not np.isfinite(channels).all():
        return None
    cut = "" if count == channels.shape[1] else f", the first {count / rate_hz:.1f} s"
    loud = ", cut off where louder than 1" if float(np.abs(channels).max()) > 1 else ""
    return Sound(samples_wav(channels[:, :count], rate_hz), f"{rate_hz} Hz{cut}{loud}")
