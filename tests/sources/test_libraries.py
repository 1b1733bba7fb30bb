"""Data sets of torchvision, torchaudio and torchtext: read once, equal to what the class itself gives."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from pipelines.catalog import find_source
from pipelines.errors import MissingLibrary, RecordError, SourceError
from pipelines.sources import _library
from pipelines.sources._base import Source
from pipelines.sources._kept import cache_folder
from pipelines.spec import Spec


def opened(name: str, **parameters: Any) -> Source:
    return find_source(name).model_validate(parameters).open()


def no_stores(label: str) -> bool:
    """Whether the cache holds neither a store of `label` nor a half-made one."""
    return all(path.suffix == ".lock" for path in (cache_folder() / "sources").glob(f"{label}-*"))


def everything(source: Source) -> list[dict[str, Any]]:
    return [source.read(i, list(source.values)) for i in range(len(source))]


@pytest.fixture(scope="module")
def ljspeech(data: Path) -> Source:
    return opened("torchaudio", dataset="LJSPEECH", root=data / "audio_ljspeech_mini")


@pytest.fixture(scope="module")
def ag_news(data: Path) -> Source:
    return opened("torchtext", dataset="AG_NEWS", root=data / "text_ag_news", split="test")


@pytest.fixture(scope="module")
def pictures(data: Path) -> Source:
    return opened("torchvision", dataset="ImageFolder", root=data / "image_torchvision_assets/test/assets/fakedata/imagefolder")


def test_ljspeech_equals_the_class(data: Path, ljspeech: Source) -> None:
    import torchaudio

    expected = torchaudio.datasets.LJSPEECH(data / "audio_ljspeech_mini")
    assert len(ljspeech) == len(expected) == 8
    for index, (waveform, rate, *texts) in enumerate(expected):
        read = ljspeech.read(index, ["waveform", "sample_rate", "transcript", "normalized_transcript"])
        samples, read_rate = soundfile.read(io.BytesIO(read["waveform"]), dtype="float32", always_2d=True)
        np.testing.assert_array_equal(samples.T, waveform.numpy())  # without loss
        assert (read_rate, read["sample_rate"]) == (rate, rate)
        assert [read["transcript"], read["normalized_transcript"]] == texts
    assert dict(ljspeech.values) == {
        "waveform": Spec("bytes"),
        "sample_rate": Spec("int64"),
        "transcript": Spec("text"),
        "normalized_transcript": Spec("text"),
    }


def test_ag_news_equals_the_rows_of_its_file(data: Path, ag_news: Source) -> None:
    table = opened("manifest", path=data / "text_ag_news/test.csv", columns=["l", "t", "d"], types={"l": "int"})
    assert len(ag_news) == 7600  # the number torchtext documents
    assert everything(ag_news) == [
        {"label": row["l"], "text": f"{row['t']} {row['d']}"} for row in everything(table)
    ]
    assert ag_news.values["label"] == Spec("int64")
    assert [ag_news.key(i) for i in (0, 7599)] == ["0", "7599"]


def test_the_same_rows_from_torchtexts_own_layout(data: Path, ag_news: Source, tmp_path: Path) -> None:
    held = tmp_path / "datasets/AG_NEWS"
    held.mkdir(parents=True)
    (held / "test.csv").symlink_to(data / "text_ag_news/test.csv")
    source = opened("torchtext", dataset="AG_NEWS", root=tmp_path, split="test")
    assert everything(source)[::500] == everything(ag_news)[::500]
    assert os.listdir(held) == ["test.csv"]  # nothing is written to the root


def test_image_folder_keeps_the_files(data: Path, pictures: Source) -> None:
    import torchvision

    root = data / "image_torchvision_assets/test/assets/fakedata/imagefolder"
    expected = torchvision.datasets.ImageFolder(str(root))
    for index, (image, label) in enumerate(expected):
        read = pictures.read(index, ["image", "label", "label_name"])
        path = Path(expected.samples[index][0])
        assert read["image"] == path.read_bytes()
        assert Image.open(io.BytesIO(read["image"])).convert("RGB").tobytes() == image.tobytes()
        assert (read["label"], read["label_name"]) == (label, expected.classes[label])
        assert pictures.key(index) == path.relative_to(root).as_posix()
    assert len(pictures) == len(expected) == 7


def mnist(root: Path, pictures: np.ndarray[Any, Any], labels: list[int]) -> None:
    raw = root / "MNIST/raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        head = struct.pack(">IIII", 0x803, *pictures.shape)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(head + pictures.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, len(labels)) + bytes(labels))


def test_pictures_without_files_become_png_without_loss(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    mnist(tmp_path, levels, [3, 1, 4, 1, 5])
    source = opened("torchvision", dataset="MNIST", root=tmp_path, train=False)
    read = everything(source)
    assert all(record["image"].startswith(b"\x89PNG") for record in read)
    np.testing.assert_array_equal([np.asarray(Image.open(io.BytesIO(r["image"]))) for r in read], levels)
    assert [(r["label"], r["label_name"]) for r in read[:2]] == [(3, "3 - three"), (1, "1 - one")]
    # the store is used again, without a reader; other arguments are another store
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_library, "build", lambda *_: pytest.fail("read a second time"))
        again = opened("torchvision", dataset="MNIST", root=tmp_path, train=False)
    assert again.fingerprint() == source.fingerprint()
    assert opened("torchvision", dataset="MNIST", root=tmp_path, train=True).fingerprint() != source.fingerprint()


def test_a_damaged_file_fails_alone(tmp_path: Path) -> None:
    folder = tmp_path / "waves_yesno"
    folder.mkdir()
    for number in range(3):
        tone = np.sin(np.arange(800) * 0.1 * (number + 1)).astype("float32")
        soundfile.write(folder / f"0_0_0_0_1_1_1_{number}.wav", tone, 8000, subtype="FLOAT")
    damaged = folder / "0_0_0_0_1_1_1_1.wav"
    damaged.write_bytes(damaged.read_bytes()[:20])
    source = opened("torchaudio", dataset="YESNO", root=tmp_path)
    assert source.values["labels"].shape == (8,)
    np.testing.assert_array_equal(source.read(2, ["labels"])["labels"], [0, 0, 0, 0, 1, 1, 1, 2])
    with pytest.raises(RecordError, match="LibsndfileError: Error opening"):
        source.read(1, ["waveform"])
    assert [source.key(i) for i in range(3)] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("torchvision", {"dataset": "CIFAR11"}, "torchvision CIFAR11: there is no data set 'CIFAR11'; did you mean 'CIFAR10"),
        ("torchvision", {"dataset": "FakeData", "arguments": {"sise": 3}}, "no argument 'sise'; did you mean 'size'"),
        ("torchvision", {"dataset": "CIFAR10"}, "CIFAR10 needs 'root'"),
        ("torchvision", {"dataset": "MNIST", "root": "."}, "not found.*`download: true` lets the library fetch it"),
        ("torchvision", {"dataset": "Kitti2012Stereo", "root": ".", "download": True}, "cannot download"),
        ("torchaudio", {"dataset": "LJSPEECH", "root": "."}, "`download: true` lets the library fetch it"),
        ("torchtext", {"dataset": "AG_NEWS", "root": "."}, "needs `split`: one of train, test"),
        ("torchtext", {"dataset": "AG_NEWS", "root": ".", "split": "trian"}, "choose from .*train.*test"),
        ("torchtext", {"dataset": "AG_NEWS", "root": "nowhere", "split": "test"}, "there is none"),
        ("torchtext", {"dataset": "AG_NEWS", "root": ".", "split": "train"}, "expected train.csv in .*download: true"),
    ],
)
def test_what_is_missing_is_told(tmp_path: Path, name: str, parameters: dict[str, Any], message: str) -> None:
    if "root" in parameters:
        parameters = {**parameters, "root": tmp_path / parameters["root"]}
    with pytest.raises(SourceError, match=message):
        opened(name, **parameters)
    assert no_stores(f"{name}-{parameters['dataset']}") or parameters["dataset"] in ("MNIST", "LJSPEECH", "AG_NEWS")


def test_a_file_that_is_not_the_published_one(data: Path, tmp_path: Path) -> None:
    shutil.copy(data / "text_tokenizer_files/SST2/SST-2.zip", tmp_path)  # torchtext's own small test copy
    with pytest.raises(SourceError, match=r"SST-2\.zip is not the published file: its MD5 is another"):
        opened("torchtext", dataset="SST2", root=tmp_path, split="dev")
    assert os.listdir(tmp_path) == ["SST-2.zip"]


class Bomb:
    """A pickle that makes a folder when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_pickles_are_not_read(tmp_path: Path) -> None:
    import torch

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"):
        (folder / name).write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    with pytest.raises(SourceError, match="not found or corrupted"):  # the library checks the published MD5
        opened("torchvision", dataset="CIFAR10", root=tmp_path)
    processed = tmp_path / "MNIST/processed"
    processed.mkdir(parents=True)
    for name in ("training.pt", "test.pt"):
        torch.save((torch.zeros(1, 28, 28), torch.zeros(1)), processed / name, _use_new_zipfile_serialization=False)
    with pytest.raises(SourceError, match="MNIST unpickles a file without checking it"):
        opened("torchvision", dataset="MNIST", root=tmp_path)
    assert not (tmp_path / "ran").exists()


def test_parts_that_have_no_name(tmp_path: Path) -> None:
    """VOCSegmentation is in the table; LFWPairs asked for with too few names is not guessed."""
    small = {"dataset": "FakeData", "arguments": {"size": 3, "image_size": [3, 17, 11], "num_classes": 4}}
    with pytest.raises(SourceError, match=r"gives 2 parts \(Image, int\); .*names: \[\.\.\], not 3 names"):
        opened("torchvision", **small, names=["a", "b", "c"])
    source = opened("torchvision", **small, names=["photo", "kind"])
    assert list(source.values) == ["photo", "kind"]
    assert Image.open(io.BytesIO(source.read(2, ["photo"])["photo"])).size == (11, 17)


def test_a_library_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_library, "find_spec", lambda name: None if name == "torchdata" else object())
    with pytest.raises(MissingLibrary, match=r"torchdata is not installed.*multimodal-pipelines\[torch\]"):
        opened("torchtext", dataset="AG_NEWS", root=".", split="test")
    monkeypatch.setattr(_library, "find_spec", lambda name: None)
    with pytest.raises(MissingLibrary, match=r"tensorflow_datasets is not installed.*\[tensorflow\]"):
        opened("tfds", builder="mnist", split="train")


HUGE = {"dataset": "FakeData", "arguments": {"size": 10_000_000}}


def test_a_reader_that_is_killed_leaves_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(process: subprocess.Popen[str]) -> None:
        home = cache_folder() / "sources"
        while not list(home.glob("torchvision-FakeData-*.building-*/part-0.arrow")):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)

    class Watched(subprocess.Popen):  # type: ignore[type-arg]  # it passes everything on
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            threading.Thread(target=kill, args=(self,), daemon=True).start()

    monkeypatch.setattr(subprocess, "Popen", Watched)
    before = {p for p in (cache_folder() / "sources").glob("torchvision-FakeData-*") if p.suffix != ".lock"}
    with pytest.raises(SourceError, match="FakeData: the reading process ended with status -9"):
        opened("torchvision", **HUGE)
    after = {p for p in (cache_folder() / "sources").glob("torchvision-FakeData-*") if p.suffix != ".lock"}
    assert after == before


def test_the_reader_ends_with_the_run_that_started_it(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys, json\n"
        "start = subprocess.Popen.__init__\n"
        "def told(self, *a, **k):\n    start(self, *a, **k)\n    print(self.pid, flush=True)\n"
        "subprocess.Popen.__init__ = told\n"
        "from pipelines.catalog import find_source\n"
        f"find_source('torchvision').model_validate(json.loads({json.dumps(json.dumps(HUGE))})).open()\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        env={**os.environ, "PIPELINES_CACHE": str(tmp_path)},
        text=True,
    )
    assert run.stdout is not None
    reader = int(run.stdout.readline())
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("sources/*.building-*/part-0.arrow")):
        assert time.monotonic() < deadline, "the reader never began"
        time.sleep(0.05)
    run.kill()
    run.communicate()
    while alive(reader):
        assert time.monotonic() < deadline, "the reader outlived the run"
        time.sleep(0.05)
    assert all(".building-" in path.name or path.suffix == ".lock" for path in (tmp_path / "sources").iterdir())


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


SUBPROCESS = """
import sys, json
from pipelines.catalog import find_source
for name, parameters in json.loads(sys.argv[1]):
    source = find_source(name).model_validate(parameters).open()
    for index in range(len(source)):
        source.key(index), source.read(index, list(source.values))
    source.fingerprint()
    print(len(source))
if len(sys.argv) > 2:
    __import__(sys.argv[2])
loaded = {name.split(".")[0] for name in sys.modules}
bad = loaded & {"torch", "torchvision", "torchaudio", "torchtext", "torchdata", "tensorflow", "tensorflow_datasets"}
sys.exit(f"loaded {sorted(bad)}" if bad else 0)
"""


def test_a_finished_store_is_read_without_any_framework(
    data: Path, ljspeech: Source, ag_news: Source, pictures: Source
) -> None:
    folder = data / "image_torchvision_assets/test/assets/fakedata/imagefolder"
    tfds_folder = data / "image_cifar10_jpeg"
    opened("tfds", image_folder=tfds_folder, split="test")
    wanted = [
        ("torchaudio", {"dataset": "LJSPEECH", "root": str(data / "audio_ljspeech_mini")}),
        ("torchtext", {"dataset": "AG_NEWS", "root": str(data / "text_ag_news"), "split": "test"}),
        ("torchvision", {"dataset": "ImageFolder", "root": str(folder)}),
        ("tfds", {"image_folder": str(tfds_folder), "split": "test"}),
    ]
    command = [sys.executable, "-c", SUBPROCESS, json.dumps(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["8", "7600", "7", "500"]
    # the check can fail
    done = subprocess.run([*command, "torchtext"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "loaded" in done.stderr
