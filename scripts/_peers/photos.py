"""Photos, as each library's documentation does it: decode, short side 256, centre 224, turn, normalize, batch 32."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

THREADS, BATCH, SIZE, CUT, DEGREES = 2, 32, 256, 224, 10
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Epoch = Callable[[], Iterator[Any]]
"""Makes one pass over the records: the batches."""


def dali(folder: Path, turn: bool) -> Epoch:
    from nvidia.dali import fn, pipeline_def, types
    from nvidia.dali.plugin.base_iterator import LastBatchPolicy
    from nvidia.dali.plugin.pytorch import DALIGenericIterator

    @pipeline_def(batch_size=BATCH, num_threads=THREADS, device_id=None)
    def pipeline() -> Any:
        files, _ = fn.readers.file(files=_files(folder), random_shuffle=True, name="reader")
        pictures = fn.decoders.image(files, device="cpu", output_type=types.RGB)
        pictures = fn.resize(pictures, resize_shorter=SIZE, antialias=True)
        if turn:
            pictures = fn.crop(pictures, crop=(CUT, CUT))
            angle = fn.random.uniform(range=(-DEGREES, DEGREES))
            pictures = fn.rotate(pictures, angle=angle, keep_size=True, fill_value=0)
        scaled = {"mean": [255 * m for m in MEAN], "std": [255 * s for s in STD]}
        return fn.crop_mirror_normalize(pictures, crop=(CUT, CUT), dtype=types.FLOAT, output_layout="CHW", **scaled)

    made = pipeline()
    made.build()
    policy = LastBatchPolicy.PARTIAL
    loader = DALIGenericIterator([made], ["picture"], reader_name="reader", last_batch_policy=policy, auto_reset=True)
    return lambda: (outputs[0]["picture"] for outputs in loader)


def _files(folder: Path) -> list[str]:
    return sorted(map(str, folder.glob("*.JPEG")))


def _transforms(turn: bool, to_tensor: Any) -> Any:
    import torch
    from torchvision.transforms import InterpolationMode, v2

    turns = [v2.RandomRotation(DEGREES, InterpolationMode.BILINEAR)] if turn else []
    shape = [v2.Resize(SIZE, antialias=True), v2.CenterCrop(CUT), *turns]
    return v2.Compose([*shape, *to_tensor, v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])


class _Photos:
    """A torch data set of files: by Pillow, or as tensors."""

    def __init__(self, folder: Path, turn: bool, pillow: bool) -> None:
        from torchvision.transforms import v2

        self.files, self.pillow = _files(folder), pillow
        self.transforms = _transforms(turn, [v2.ToImage()] if pillow else [])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        if self.pillow:
            from PIL import Image

            return self.transforms(Image.open(self.files[index]).convert("RGB"))
        from torchvision.io import ImageReadMode, read_image

        return self.transforms(read_image(self.files[index], ImageReadMode.RGB))


def dataloader_pillow(folder: Path, turn: bool) -> Epoch:
    return _dataloader(folder, turn, pillow=True)


def dataloader_tensors(folder: Path, turn: bool) -> Epoch:
    return _dataloader(folder, turn, pillow=False)


def _dataloader(folder: Path, turn: bool, pillow: bool) -> Epoch:
    from torch.utils.data import DataLoader

    photos: Any = _Photos(folder, turn, pillow)
    loader = DataLoader(photos, BATCH, shuffle=True, num_workers=THREADS, persistent_workers=True)
    return lambda: iter(loader)


def tf_data(folder: Path, turn: bool) -> Epoch:
    import keras
    import tensorflow as tf

    rotate = keras.layers.RandomRotation(DEGREES / 360, fill_mode="constant", interpolation="bilinear")

    def load(path: tf.Tensor) -> tf.Tensor:
        picture = tf.io.decode_jpeg(tf.io.read_file(path), 3)
        shape = tf.cast(tf.shape(picture)[:2], tf.float32)
        size = tf.cast(shape * (SIZE / tf.reduce_min(shape)), tf.int32)
        picture = tf.image.resize(picture, size, antialias=True)
        picture = tf.image.resize_with_crop_or_pad(picture, CUT, CUT)
        return tf.ensure_shape(picture, (CUT, CUT, 3))

    def finish(pictures: tf.Tensor) -> tf.Tensor:
        if turn:
            pictures = rotate(pictures, training=True)
        return (pictures / 255 - MEAN) / STD

    data = tf.data.Dataset.from_tensor_slices(_files(folder)).shuffle(10_000)
    data = data.map(load, tf.data.AUTOTUNE).batch(BATCH).map(finish, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    return lambda: iter(data)


def spdl(folder: Path, turn: bool) -> Epoch:
    import torch
    from spdl.pipeline import PipelineBuilder

    torch.set_num_threads(1)
    photos = _Photos(folder, turn, pillow=False)

    def epoch() -> Iterator[Any]:
        order = random.sample(range(len(photos)), len(photos))
        stages = PipelineBuilder().add_source(order).pipe(photos.__getitem__, concurrency=THREADS)
        pipeline = stages.aggregate(BATCH).pipe(torch.stack).add_sink(3).build(num_threads=THREADS)
        with pipeline.auto_stop():
            yield from pipeline

    return epoch


def webdataset(folder: Path, turn: bool) -> Epoch:
    import webdataset as wds
    from torchvision.transforms import v2

    shards = [str(folder / f"shard-{number}.tar") for number in range(THREADS)]
    files = _files(folder)
    for number, shard in enumerate(shards):
        with wds.TarWriter(shard) as tar:
            for path in files[number::THREADS]:
                tar.write({"__key__": Path(path).stem.replace(".", "_"), "jpg": Path(path).read_bytes()})
    change = _transforms(turn, [v2.ToImage()])

    data = wds.WebDataset(shards, shardshuffle=THREADS, workersplitter=wds.split_by_worker).shuffle(1000)
    data = data.decode("pil").to_tuple("jpg").map_tuple(change)
    loader = wds.WebLoader(data.batched(BATCH), batch_size=None, num_workers=THREADS, persistent_workers=True)
    return lambda: (pictures for (pictures,) in loader)


def grain(folder: Path, turn: bool) -> Epoch:
    import grain as library
    import torch

    torch.set_num_threads(1)
    photos: Any = _Photos(folder, turn, pillow=False)
    read = library.ReadOptions(num_threads=THREADS, prefetch_buffer_size=2 * BATCH)
    data = library.MapDataset.source(range(len(photos))).shuffle(0).map(lambda i: photos[i].numpy())
    return lambda: iter(data.to_iter_dataset(read).batch(BATCH))


PEERS = {
    "NVIDIA DALI, CPU": dali,
    "DataLoader, torchvision on tensors": dataloader_tensors,
    "DataLoader, torchvision on Pillow": dataloader_pillow,
    "plain tf.data": tf_data,
    "SPDL, torchvision on tensors": spdl,
    "WebDataset, torchvision on Pillow": webdataset,
    "Grain, torchvision on tensors": grain,
}
