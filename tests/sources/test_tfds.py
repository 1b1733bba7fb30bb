"""Data sets of TensorFlow Datasets: a folder of pictures, and a prepared builder of every kind of feature."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image
from pydantic import ValidationError

from pipelines.errors import RecordError, SourceError
from pipelines.sources import _library
from pipelines.sources._base import Source
from pipelines.sources._build import fill
from pipelines.sources.tfds import Tfds
from pipelines.spec import Spec


def opened(**parameters: Any) -> Source:
    return Tfds.model_validate(parameters).open()


def filled(folder: Path, **parameters: Any) -> Source:
    """The same store as `opened` gives, filled by this process: starting another takes many seconds."""
    work = Path(tempfile.mkdtemp(dir=folder.parent))

    def fill_here(request: dict[str, Any], out: Path, title: str) -> None:
        fill({**request, "out": str(out)}, io.StringIO())

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINES_CACHE", str(work))
        patch.setattr(_library, "build", fill_here)
        return opened(**parameters)


def test_cifar_as_a_folder_of_pictures(data: Path) -> None:
    import tensorflow_datasets as tfds

    root = data / "image_cifar10_jpeg"
    source = opened(image_folder=root, split="test")
    files = sorted(path.relative_to(root).as_posix() for path in root.glob("test/*/*.jpg"))
    assert sorted(source.key(i) for i in range(len(source))) == files
    builder = tfds.ImageFolder(str(root))
    for index, example in enumerate(builder.as_dataset(split="test", decoders={"image": tfds.decode.SkipDecoding()})):
        read = source.read(index, list(source.values))
        assert read["image"] == example["image"].numpy() == (root / source.key(index)).read_bytes()
        assert read["label"] == int(example["label"])
        assert (
            read["label_name"] == builder.info.features["label"].names[read["label"]] == source.key(index).split("/")[1]
        )
        assert read["image/filename"] == source.key(index)
    assert source.values["label"] == Spec("int64")


def test_a_picture_that_cannot_be_read_fails_alone(data: Path, tmp_path: Path) -> None:
    pictures = sorted((data / "image_cifar10_jpeg/test/cat").iterdir())[:4]
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for picture in pictures:
            (tmp_path / "train" / name / picture.name).symlink_to(picture)
    (tmp_path / "train/dog" / pictures[1].name).unlink()
    (tmp_path / "train/dog" / pictures[1].name).mkdir()
    source = filled(tmp_path, image_folder=tmp_path, split="train")
    failed = []
    for index in range(len(source)):
        try:
            assert source.read(index, ["image"])["image"] == (tmp_path / source.key(index)).read_bytes()
        except RecordError as e:
            failed.append(str(e))
    assert len(source) == 8
    assert len(failed) == 1
    assert f"train/dog/{pictures[1].name}" in failed[0]
    assert str(tmp_path) not in failed[0]
    with pytest.raises(SourceError, match=r"no split 'tain' .*did you mean 'train'\?; there are: train"):
        filled(tmp_path, image_folder=tmp_path, split="tain")


def test_a_prepared_builder_by_name(data: Path, tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    jpeg = sorted((data / "image_cifar10_jpeg/test/cat").iterdir())
    rng = np.random.default_rng(0)
    records = [
        {
            "image": str(jpeg[n]),
            "label": n % 2,
            "text": f"text {n} 猫",
            "sound": rng.integers(-32767, 32768, 50 + n),
            "pair": {"a": n, "b": np.full((2, 3), n / 2, np.float32)},
            "words": ["w"] * n,
            "box": tfds.features.BBox(0.0, 0.25, 0.5, 1.0),
        }
        for n in range(5)
    ]
    tfds.dataset_builders.store_as_tfds_dataset(
        name="small_set",
        version="1.2.3",
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(32, 32, 3), encoding_format="jpeg"),
                "label": tfds.features.ClassLabel(names=["even", "odd"]),
                "text": tfds.features.Text(),
                "sound": tfds.features.Audio(sample_rate=8000),
                "pair": {"a": np.int32, "b": tfds.features.Tensor(shape=(2, 3), dtype=np.float32)},
                "words": tfds.features.Sequence(tfds.features.Text()),
                "box": tfds.features.BBoxFeature(),
            }
        ),
        split_datasets={"train": list(enumerate(records))},
        data_dir=tmp_path,
        disable_shuffling=True,
    )
    source = filled(tmp_path, builder="small_set", split="train", data_dir=tmp_path)
    assert [source.key(i) for i in range(5)] == [f"small_set-train.tfrecord-00000-of-00001__{n}" for n in range(5)]
    for number, record in enumerate(records):
        read = source.read(number, list(source.values))
        assert read["image"] == jpeg[number].read_bytes()  # the original file, not decoded and encoded again
        assert Image.open(io.BytesIO(read["image"])).size == (32, 32)
        assert (read["label"], read["label_name"]) == (number % 2, ["even", "odd"][number % 2])
        assert (read["text"], read["pair.a"], list(read["words"])) == (record["text"], number, record["words"])
        samples, rate = soundfile.read(io.BytesIO(read["sound"]), dtype="int16")
        assert rate == 8000
        np.testing.assert_array_equal(samples, record["sound"])
        np.testing.assert_array_equal(read["pair.b"], record["pair"]["b"])
        assert read["pair.b"].dtype == np.float32
        np.testing.assert_array_equal(read["box"], [0.0, 0.25, 0.5, 1.0])
    part = filled(tmp_path, builder="small_set:1.2.3", split="train[1:3]", data_dir=tmp_path)
    assert [part.key(i) for i in range(len(part))] == [source.key(1), source.key(2)]
    with pytest.raises(SourceError, match=r"no split 'test'.*there are: train"):
        filled(tmp_path, builder="small_set", split="test", data_dir=tmp_path)


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"expected the prepared data set at .*mnist.*`download: true` makes it"):
        filled(tmp_path, builder="mnist", split="train", data_dir=tmp_path)
    with pytest.raises(SourceError, match="split/class/file at"):
        opened(image_folder=tmp_path / "none", split="train")


@pytest.mark.parametrize(
    "parameters",
    [{}, {"builder": "mnist", "image_folder": "x"}, {"image_folder": "x", "download": True}, {"builder": "a b"}],
)
def test_parameters_that_contradict(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Tfds.model_validate({"split": "train", **parameters})
