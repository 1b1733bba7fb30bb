"""Speech clips, as each library's documentation does it: decode, 8 to 16 kHz, 1 second, 64-band log-mel, batch 64."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

THREADS, BATCH, RATE, N_FFT, HOP, BANDS, FLOOR = 2, 64, 16000, 400, 160, 64, 1e-6
Epoch = Callable[[], Iterator[Any]]


def _files(folder: Path) -> list[str]:
    return sorted(map(str, folder.glob("*.wav")))


def dali(folder: Path, turn: bool) -> Epoch:
    from nvidia.dali import fn, pipeline_def
    from nvidia.dali.plugin.base_iterator import LastBatchPolicy
    from nvidia.dali.plugin.pytorch import DALIGenericIterator

    @pipeline_def(batch_size=BATCH, num_threads=THREADS, device_id=None)
    def pipeline() -> Any:
        files, _ = fn.readers.file(files=_files(folder), random_shuffle=True, name="reader")
        waves, _ = fn.decoders.audio(files, sample_rate=RATE, downmix=True)
        waves = fn.slice(waves, 0, RATE, axes=[0], out_of_bounds_policy="pad")
        power = fn.spectrogram(waves, nfft=N_FFT, window_length=N_FFT, window_step=HOP, reflect_padding=True)
        mel = fn.mel_filter_bank(power, sample_rate=RATE, nfilter=BANDS, mel_formula="htk", normalize=False)
        return fn.to_decibels(mel, multiplier=10.0, reference=1.0, cutoff_db=-60.0)

    made = pipeline()
    made.build()
    policy = LastBatchPolicy.PARTIAL
    loader = DALIGenericIterator([made], ["mel"], reader_name="reader", last_batch_policy=policy, auto_reset=True)
    return lambda: (outputs[0]["mel"] for outputs in loader)


class _Clips:
    """A torch data set of waveforms or of spectrograms."""

    def __init__(self, folder: Path, spectra: bool = True) -> None:
        from torchaudio.transforms import MelSpectrogram, Resample

        self.files, self.spectra = _files(folder), spectra
        self.resample = Resample(8000, RATE)
        self.mel = MelSpectrogram(RATE, N_FFT, hop_length=HOP, n_mels=BANDS)

    def __len__(self) -> int:
        return len(self.files)

    def wave(self, index: int) -> Any:
        import torchaudio
        from torch.nn.functional import pad

        wave, _ = torchaudio.load(self.files[index])
        wave = self.resample(wave[0])[:RATE]
        return pad(wave, (0, RATE - len(wave)))

    def spectrum(self, waves: Any) -> Any:
        return 10 * self.mel(waves).clamp_min(FLOOR).log10()

    def __getitem__(self, index: int) -> Any:
        return self.spectrum(self.wave(index)) if self.spectra else self.wave(index)


def dataloader(folder: Path, turn: bool) -> Epoch:
    from torch.utils.data import DataLoader

    clips: Any = _Clips(folder)
    loader = DataLoader(clips, BATCH, shuffle=True, num_workers=THREADS, persistent_workers=True)
    return lambda: iter(loader)


def spdl(folder: Path, turn: bool) -> Epoch:
    import torch
    from spdl.pipeline import PipelineBuilder

    torch.set_num_threads(1)
    clips = _Clips(folder, spectra=False)

    def epoch() -> Iterator[Any]:
        order = random.sample(range(len(clips)), len(clips))
        stages = PipelineBuilder().add_source(order).pipe(clips.wave, concurrency=THREADS).aggregate(BATCH)
        stages = stages.pipe(lambda waves: clips.spectrum(torch.stack(waves)), concurrency=THREADS)
        pipeline = stages.add_sink(3).build(num_threads=THREADS)
        with pipeline.auto_stop():
            yield from pipeline

    return epoch


def tf_data(folder: Path, turn: bool) -> Epoch:
    import tensorflow as tf
    import tensorflow_io as tfio

    filters = tf.signal.linear_to_mel_weight_matrix(BANDS, N_FFT // 2 + 1, RATE, 0, RATE / 2)

    def load(path: tf.Tensor) -> tf.Tensor:
        wave, _ = tf.audio.decode_wav(tf.io.read_file(path), 1)
        wave = tfio.audio.resample(wave, 8000, RATE)[:RATE, 0]
        return tf.ensure_shape(tf.pad(wave, [[0, RATE - tf.shape(wave)[0]]]), (RATE,))

    def finish(waves: tf.Tensor) -> tf.Tensor:
        waves = tf.pad(waves, [[0, 0], [N_FFT // 2, N_FFT // 2]], "REFLECT")
        power = tf.square(tf.abs(tf.signal.stft(waves, N_FFT, HOP, N_FFT)))
        mel = tf.linalg.matrix_transpose(power @ filters)
        return 10 / tf.math.log(10.0) * tf.math.log(tf.maximum(mel, FLOOR))

    data = tf.data.Dataset.from_tensor_slices(_files(folder)).shuffle(10_000)
    data = data.map(load, tf.data.AUTOTUNE).batch(BATCH).map(finish, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    return lambda: iter(data)


PEERS = {
    "NVIDIA DALI, CPU": dali,
    "DataLoader, torchaudio": dataloader,
    "plain tf.data, tensorflow-io": tf_data,
    "SPDL, torchaudio": spdl,
}
