"""Changing the sampling rate."""

from __future__ import annotations

from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipelines.audio import _sinc
from pipelines.audio._checks import at_least_each, at_least_tensorflow, at_least_torch
from pipelines.guard import after
from pipelines.spec import PER_RECORD, Axis, Spec, waveform
from pipelines.step import Close, Example, Kernel, Step

if TYPE_CHECKING:
    import torch

_CHANNELS = 32  # of a convolution in TensorFlow that is fast; measured on ratios from 1:2 to 441:160


class Resample(Step):
    """A waveform at another sampling rate, by band-limited interpolation.

    Takes  float32[..., time]   waveform at one known rate_hz, or each record at its own
    Gives  float32[..., time]   at `rate_hz`; ceil(rate_hz time / old rate) samples
           out[m] = sum_n x[n] h(m old / new - n), x being 0 outside; h a windowed sinc of the lower rate's band

    `method` "hann" reaches over 6 zero crossings of h, fast and good for features; "kaiser" over 64
    (resampy's kaiser_best). Equal rates give the samples as they are. Fails for a waveform without samples.
    Rates with so small a common divisor that a table of filters would pass 2^22 coefficients (44101 to 16000)
    are resampled on the host, by NumPy, with a filter computed for each sample.
    Source: J. O. Smith, "Digital audio resampling"; torchaudio.transforms.Resample with a float64
    kernel. tfio.audio.resample delays its output and drops samples, so tf.nn.conv1d does the sum there.
    """

    rate_hz: Annotated[int, Field(ge=1)]
    method: _sinc.Method = "hann"

    takes_rate = True
    agreement = Close(of_peak=1e-6, why="float32 sums over up to some thousand products, in another order")
    examples = (
        Example(waveform(16000), {"rate_hz": 44100}),
        Example(waveform(44100, time=1733), {"rate_hz": 16000}),
        Example(waveform(8000, channels=2), {"rate_hz": 16000, "method": "kaiser"}),
        Example(waveform(16000, time=5), {"rate_hz": 16000}),
        Example(waveform(PER_RECORD), {"rate_hz": 16000}),
        Example(waveform(PER_RECORD, channels=2), {"rate_hz": 8000}),
        Example(waveform(48000), {"rate_hz": 22050, "method": "kaiser"}),
        Example(waveform(44101, channels=2, time=2311), {"rate_hz": 16000}),
    )

    def out_spec(self, x: Spec) -> Spec:
        x.need(("float32",), last=("time",))
        time = x.size("time")
        if x.rate_hz == PER_RECORD:
            return x.but(axes=(*x.axes[:-1], Axis("time")), rate_hz=self.rate_hz, range=None)
        old_hz = x.need_rate()
        length = None if time is None else -(-self.rate_hz * time // old_hz)
        return x.but(axes=(*x.axes[:-1], Axis("time", length)), rate_hz=self.rate_hz, range=None)

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        def resample(wave: Any, old_hz: int) -> Any:
            at_least_torch(wave, 1, "sample")
            ratio = _sinc.reduced(old_hz, self.rate_hz)
            if not _sinc.is_tabulated(*ratio, self.method):
                return torch.from_numpy(_sinc.direct(wave.cpu().numpy(), *ratio, self.method)).to(wave.device)
            return _torch_resampler(*ratio, self.method, wave.device)(wave)

        if x.rate_hz == PER_RECORD:
            return lambda wave, old_hz: (resample(wave, int(old_hz)), self.rate_hz)
        old_hz = x.need_rate()
        return lambda wave: resample(wave, old_hz)

    def bind_torch_rows(self, x: Spec) -> Kernel | None:
        one = self.bind_torch(x)
        per_record = x.rate_hz == PER_RECORD

        def kernel(waves: list[torch.Tensor], rates: list[int] | None = None) -> list[Any]:
            old = [int(rate) for rate in rates] if rates is not None else [x.need_rate()] * len(waves)
            made: list[Any] = [None] * len(waves)
            for rate in dict.fromkeys(old):
                places = [i for i, other in enumerate(old) if other == rate]
                ratio = _sinc.reduced(rate, self.rate_hz)
                if rate == self.rate_hz or not _sinc.is_tabulated(*ratio, self.method):
                    results = [one(waves[i], rate)[0] if per_record else one(waves[i]) for i in places]
                else:
                    results = _one_after_the_other([waves[i] for i in places], *ratio, self.method)
                for i, result in zip(places, results, strict=True):
                    made[i] = result
            return [(wave, self.rate_hz) for wave in made] if per_record else made

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        def interpolate(wave: tf.Tensor, filters: tf.Tensor, reach: Any) -> tf.Tensor:
            """The sum, on blocks of `old` samples as channels: filters float32[blocks, old, new]."""
            old, new = tf.unstack(tf.shape(filters))[1:]
            batch, time = tf.shape(wave)[:-1], tf.shape(wave)[-1]
            steps = time // old + 1
            behind = (steps - 1 + tf.shape(filters)[0]) * old - time - reach
            rows = tf.pad(tf.reshape(wave, [-1, time]), tf.stack([[0, 0], tf.stack([reach, behind])]))
            blocks = tf.reshape(rows, tf.stack([tf.shape(rows)[0], -1, old]))
            made = tf.nn.conv1d(blocks, filters, stride=1, padding="VALID")
            length = tf.cast(-(-tf.cast(time, tf.int64) * tf.cast(new, tf.int64) // tf.cast(old, tf.int64)), tf.int32)
            made = tf.reshape(made, tf.concat([batch, [-1]], 0))[..., :length]
            return tf.ensure_shape(made, (*wave.shape[:-1], None))

        def on_host(wave: tf.Tensor, old: Any, new: Any, length: int | None = None) -> tf.Tensor:
            def direct(wave: Any, old: Any, new: Any) -> Any:
                return _sinc.direct(np.asarray(wave), int(old), int(new), self.method)

            made = tf.numpy_function(direct, [wave, old, new], tf.float32)
            return tf.ensure_shape(made, (*wave.shape[:-1], length))

        if x.rate_hz == PER_RECORD:

            def constants(old_hz: Any) -> tuple[Any, ...]:
                old, new = _sinc.reduced(int(old_hz), self.rate_hz)
                way = 0 if old == new else 1 if _sinc.is_tabulated(old, new, self.method) else 2
                filters = _filters(old, new, self.method) if way == 1 else np.zeros((1, 1, 1), np.float32)
                return np.int32(way), filters, *map(np.int32, (old, new, _sinc.width(old, new, self.method)))

            def per_record(wave: tf.Tensor, old_hz: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                wave = at_least_tensorflow(wave, 1, "sample")
                wave = tf.ensure_shape(wave, (*wave.shape[:-1], None))
                kinds = [tf.int32, tf.float32, tf.int32, tf.int32, tf.int32]
                way, filters, old, new, reach = held = tf.numpy_function(constants, [old_hz], kinds)
                for tensor, rank in zip(held, (0, 3, 0, 0, 0), strict=True):
                    tensor.set_shape([None] * rank)
                ways = [
                    lambda: wave,
                    lambda: interpolate(wave, filters, reach),
                    lambda: on_host(wave, old, new),
                ]
                return tf.switch_case(way, ways), tf.constant(self.rate_hz, tf.int64)

            return per_record

        old, new = _sinc.reduced(x.need_rate(), self.rate_hz)
        reach = _sinc.width(old, new, self.method)
        length = self.out_spec(x).size("time")

        def fixed(wave: tf.Tensor) -> tf.Tensor:
            wave = at_least_tensorflow(wave, 1, "sample")
            if old == new:
                return wave
            if not _sinc.is_tabulated(old, new, self.method):
                return on_host(wave, old, new, length)
            made = interpolate(wave, tf.constant(_filters(old, new, self.method)), reach)
            return tf.ensure_shape(made, (*wave.shape[:-1], length))

        return fixed

    def bind_tensorflow_rows(self, x: Spec) -> Kernel | None:
        """For batches of one rate."""
        if x.shape != (None,):
            return None
        import tensorflow as tf

        one = self.bind_tensorflow(x)
        per_record = x.rate_hz == PER_RECORD

        def ratio(old_hz: Any) -> Any:
            old, new = _sinc.reduced(int(old_hz), self.rate_hz)
            return np.array([old, new, _sinc.width(old, new, self.method)], np.int64)

        def kernel(waves: tf.RaggedTensor, rates: tf.Tensor | None = None) -> Any:
            """One after the other in one waveform, with zeros between, which is what each sees beside it anyway."""
            waves = at_least_each(waves, 1, "sample")
            lengths = waves.row_lengths()
            rate = tf.constant([x.need_rate()], tf.int64) if rates is None else tf.unique(rates)[0]
            alike = tf.debugging.assert_less(tf.size(rate), 2, "the rates differ")
            rate = tf.reduce_max(tf.concat([after([alike], rate), [1]], 0))  # there may be no waveform at all
            old, new, reach = tf.unstack(tf.ensure_shape(tf.numpy_function(ratio, [rate], tf.int64), [3]))
            room = (lengths + reach + old - 1) // old * old
            zeros = tf.RaggedTensor.from_row_lengths(tf.zeros([tf.reduce_sum(room - lengths)]), room - lengths)
            line = tf.concat([tf.concat([waves, zeros], 1).flat_values, tf.zeros([1])], 0)
            made = one(line, rate)[0] if per_record else one(line)
            kept = -(-new * lengths // old)
            parts = tf.reshape(tf.stack([kept, room // old * new - kept], 1), [-1])  # each, and what is behind it
            made = tf.RaggedTensor.from_row_lengths(made[: tf.reduce_sum(parts)], parts, validate=False)
            made = tf.gather(made, 2 * tf.range(tf.size(lengths)))
            return (made, tf.fill(tf.shape(lengths), tf.constant(self.rate_hz, tf.int64))) if per_record else made

        return kernel


@lru_cache(maxsize=16)
def _filters(old: int, new: int, method: _sinc.Method) -> npt.NDArray[np.float32]:
    """float32[blocks, m old, m new]: the kernel cut into blocks, for a convolution of stride 1.

    A few samples at a time would make it slow, 20 times from 8 to 16 kHz: `m` repeats of the kernel, each `old` samples
    after the last, stand side by side.
    """
    kernel = _sinc.kernel(old, new, method)
    repeats = max(1, _CHANNELS // max(old, new))
    block = repeats * old
    blocks = -(-(block - old + kernel.shape[1]) // block)
    held = np.zeros((repeats, new, blocks * block), np.float32)
    for repeat in range(repeats):
        held[repeat, :, repeat * old : repeat * old + kernel.shape[1]] = kernel
    return held.reshape(repeats * new, blocks, block).transpose(1, 2, 0).copy()


@lru_cache(maxsize=16)
def _torch_resampler(old: int, new: int, method: _sinc.Method, device: Any) -> Any:
    """torchaudio's resampler with a kernel computed in float64 (its float32 one is off by up to 7e-6)."""
    import torch
    from torchaudio.transforms import Resample as Resampler

    made = Resampler(
        old,
        new,
        "sinc_interp_hann" if method == "hann" else "sinc_interp_kaiser",
        _sinc.WIDTH[method],
        _sinc.ROLLOFF[method],
        beta=_sinc.BETA if method == "kaiser" else None,
        dtype=torch.float64,
    )
    return made.float().to(device)


def _one_after_the_other(waves: list[torch.Tensor], old: int, new: int, method: _sinc.Method) -> list[torch.Tensor]:
    """Waveforms float32[..., time] of one rate as one product of matrices, zeros between them.

    That is the convolution of torchaudio's resampler with the outputs in blocks: from 8 to 16 kHz it takes a fifth of
    the time, since a convolution with one channel is slow, and no waveform is padded to the longest.
    """
    import torch

    channels = [channel for wave in waves for channel in (wave.flatten(0, -2) if wave.ndim > 1 else (wave,))]
    lengths = [channel.shape[-1] for channel in channels]
    at_least_torch(channels[lengths.index(min(lengths))], 1, "sample")
    filters = _filters(old, new, method)
    block, made_block = filters.shape[1:]
    reach = _sinc.width(old, new, method)
    window = block + 2 * reach
    table = torch.from_numpy(filters.reshape(-1, made_block)[:window])
    made_lengths = [-(-new * length // old) for length in lengths]
    between = -(-2 * reach // block)  # blocks of zeros, so that no window holds samples of two
    blocks = [-(-length // made_block) + between for length in made_lengths]
    blocks[-1] += 1  # for the last window
    behind = [count * block - length for count, length in zip(blocks, lengths, strict=True)]
    zeros = torch.zeros(sum(behind) + 2 * reach).split([reach, *behind[:-1], behind[-1] + reach])
    # many pieces in one call each: a call costs more than the samples of one
    line = torch.cat([zeros[0], *(part for pair in zip(channels, zeros[1:], strict=True) for part in pair)])
    made = (line.unfold(0, window, block) @ table).flatten()
    sizes = ((length, count * made_block - length) for count, length in zip(blocks, made_lengths, strict=True))
    parts = iter(made.split([size for pair in sizes for size in pair])[::2])
    return [
        next(parts)
        if wave.ndim == 1
        else torch.stack([*islice(parts, wave.shape[:-1].numel())]).unflatten(0, wave.shape[:-1])
        for wave in waves
    ]
