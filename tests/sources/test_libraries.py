"""Data sets of torchvision, torchaudio and torchtext: read once, equal to what the class itself gives."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image
from stacks import holds

from pipelines.catalog import find_source
from pipelines.errors import MissingLibrary, RecordError, SourceError
from pipelines.sources import _library
from pipelines.sources._base import Source
from pipelines.sources._kept import cache_folder
from pipelines.sources._store import Store
from pipelines.spec import Spec


def opened(name: str, **parameters: Any) -> Source:
    return find_source(name).model_validate(parameters).open()


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
    return opened(
        "torchvision", dataset="ImageFolder", root=data / "image_torchvision_assets/test/assets/fakedata/imagefolder"
    )


def test_ljspeech_holds_what_its_files_do(data: Path, ljspeech: Source) -> None:
    """Read without torchaudio, which has given up reading files and whose class cannot be asked on every stack."""
    held = next((data / "audio_ljspeech_mini").rglob("metadata.csv"))
    rows = [line.split("|") for line in held.read_text(encoding="utf-8").splitlines()]
    assert len(ljspeech) == len(rows) == 8
    for index, (name, *texts) in enumerate(rows):
        read = ljspeech.read(index, ["waveform", "sample_rate", "transcript", "normalized_transcript"])
        with wave.open(str(held.parent / "wavs" / f"{name}.wav")) as file:
            assert (file.getsampwidth(), file.getnchannels()) == (2, 1)
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / np.float32(32768)
            assert read["sample_rate"] == file.getframerate()
        np.testing.assert_array_equal(soundfile.read(io.BytesIO(read["waveform"]), dtype="float32")[0], samples)
        assert [read["transcript"], read["normalized_transcript"]] == texts


@pytest.mark.needs("torchaudio.load")
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


@pytest.mark.needs("torchtext")
def test_ag_news_equals_the_rows_of_its_file(data: Path, ag_news: Source) -> None:
    table = opened("manifest", path=data / "text_ag_news/test.csv", columns=["l", "t", "d"], types={"l": "int"})
    assert len(ag_news) == 7600  # the number torchtext documents
    assert everything(ag_news) == [{"label": row["l"], "text": f"{row['t']} {row['d']}"} for row in everything(table)]
    assert ag_news.values["label"] == Spec("int64")
    assert [ag_news.key(i) for i in (0, 7599)] == ["0", "7599"]


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


FILL_MANY = """
import json, os, sys
from pipelines.errors import SourceError
from pipelines.sources._build import fill, forbid_network
forbid_network()
answers = []
for request in json.load(sys.stdin):
    os.chdir(request["scratch"])
    try:
        answers.append(fill(request, sys.stderr))
    except SourceError as e:
        answers.append(str(e))
print(json.dumps(answers))
"""


def request_of(folder: Path, source: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """What the reading process is asked for when a config says so."""
    held: list[dict[str, Any]] = []

    def hold(request: dict[str, Any], work: Path, title: str) -> None:
        held.append({**request, "out": str(folder / "out"), "scratch": str(folder / "scratch")})
        raise SourceError(title)

    (folder / "out").mkdir(parents=True)
    (folder / "scratch").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_library, "build", hold)
        with pytest.raises(SourceError):
            opened(source, **parameters)
    return held[0]


def fill_many(folder: Path, wanted: dict[str, tuple[str, dict[str, Any]]]) -> dict[str, Source | str]:
    """Read several data sets in one process, as starting one takes seconds: each one's store, or the reason."""
    requests = [request_of(folder / name, *config) for name, config in wanted.items()]
    done = subprocess.run(
        [sys.executable, "-c", FILL_MANY], input=json.dumps(requests), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    return {
        name: Store(folder / name / "out", "") if answer is None else answer
        for name, answer in zip(wanted, answers, strict=True)
    }


LEVELS = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
SMALL = {"dataset": "FakeData", "arguments": {"size": 3, "image_size": [3, 17, 11], "num_classes": 4}}


def mnist(root: Path) -> Path:
    raw = root / "MNIST/raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        head = struct.pack(">IIII", 0x803, *LEVELS.shape)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(head + LEVELS.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, 5) + bytes([3, 1, 4, 1, 5]))
    return root


def yesno(root: Path) -> Path:
    folder = root / "waves_yesno"
    folder.mkdir(parents=True)
    for number in range(3):
        tone = np.sin(np.arange(800) * 0.1 * (number + 1)).astype("float32")
        soundfile.write(folder / f"0_0_0_0_1_1_1_{number}.wav", tone, 8000, subtype="FLOAT")
    damaged = folder / "0_0_0_0_1_1_1_1.wav"
    damaged.write_bytes(damaged.read_bytes()[:20])
    return root


class Bomb:
    """A pickle that makes a folder when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def bombs(root: Path) -> Path:
    """CIFAR-10 and, in an old layout and format, MNIST, whose files run code when they are unpickled."""
    (root / "cifar-10-batches-py").mkdir(parents=True)
    (root / "MNIST/processed").mkdir(parents=True)
    names = [
        f"cifar-10-batches-py/{n}" for n in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")
    ]
    for name in (*names, "MNIST/processed/training.pt", "MNIST/processed/test.pt"):
        (root / name).write_bytes(pickle.dumps(Bomb(root / "ran")))
    return root


@pytest.fixture(scope="module")
def filled(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Source | str]]:
    root = tmp_path_factory.mktemp("filled")
    empty = root / "empty"
    empty.mkdir()
    own_layout = root / "own_layout/datasets/AG_NEWS"
    own_layout.mkdir(parents=True)
    (own_layout / "test.csv").symlink_to(data / "text_ag_news/test.csv")
    (root / "sst2").mkdir()
    shutil.copy(data / "text_tokenizer_files/SST2/SST-2.zip", root / "sst2")  # torchtext's own small test copy
    news = {"dataset": "AG_NEWS", "root": empty}
    texts = {
        "own layout": ("torchtext", {"dataset": "AG_NEWS", "root": root / "own_layout", "split": "test"}),
        "not published": ("torchtext", {"dataset": "SST2", "root": root / "sst2", "split": "dev"}),
        "no split": ("torchtext", news),
        "other split": ("torchtext", {**news, "split": "trian"}),
        "nowhere": ("torchtext", {**news, "root": root / "nowhere", "split": "test"}),
        "no file": ("torchtext", {**news, "split": "train"}),
    }
    return root, fill_many(
        root / "stores",
        {
            "cifar bombs": ("torchvision", {"dataset": "CIFAR10", "root": bombs(root / "bombs")}),
            "mnist bombs": ("torchvision", {"dataset": "MNIST", "root": root / "bombs"}),
            "mnist": ("torchvision", {"dataset": "MNIST", "root": mnist(root / "mnist"), "train": False}),
            "small": ("torchvision", {**SMALL, "names": ["photo", "kind"]}),
            "three names": ("torchvision", {**SMALL, "names": ["a", "b", "c"]}),
            "unknown": ("torchvision", {"dataset": "CIFAR11"}),
            "argument": ("torchvision", {"dataset": "FakeData", "arguments": {"sise": 3}}),
            "no root": ("torchvision", {"dataset": "CIFAR10"}),
            "not found": ("torchvision", {"dataset": "MNIST", "root": empty}),
            "no download": ("torchvision", {"dataset": "Kitti2012Stereo", "root": empty, "download": True}),
            "yesno": ("torchaudio", {"dataset": "YESNO", "root": yesno(root / "yesno")}),
            "no audio": ("torchaudio", {"dataset": "LJSPEECH", "root": empty}),
            **(texts if holds("torchtext") else {}),
        },
    )


def of_torchtext(*values: str) -> Any:
    """Parameters of a test of torchtext."""
    return pytest.param(*values, marks=pytest.mark.needs("torchtext"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar bombs", "not found or corrupted"),  # the library has checked the published MD5 first
        ("mnist bombs", "MNIST unpickles a file without checking it"),
        ("three names", r"gives 2 parts \(Image, int\); .*names: \[\.\.\], not 3 names"),
        ("unknown", "there is no data set 'CIFAR11'; did you mean 'CIFAR10"),
        ("argument", "FakeData takes no argument 'sise'; did you mean 'size'"),
        ("no root", "CIFAR10 needs 'root'"),
        ("not found", "not found.*`download: true` lets the library fetch it"),
        ("no download", "Kitti2012Stereo cannot download"),
        ("no audio", "`download: true` lets the library fetch it"),
        of_torchtext("not published", r"SST-2\.zip is not the published file: its MD5 is another"),
        of_torchtext("no split", "needs `split`: one of train, test"),
        of_torchtext("other split", "choose from .*train.*test"),
        of_torchtext("nowhere", "there is none"),
        of_torchtext("no file", "expected train.csv in .*download: true"),
    ],
)
def test_what_is_wrong_is_told(filled: tuple[Path, dict[str, Source | str]], name: str, message: str) -> None:
    found = filled[1][name]
    assert isinstance(found, str)
    assert re.search(message, found)


def test_no_code_ran_and_no_root_was_written_to(filled: tuple[Path, dict[str, Source | str]]) -> None:
    root, _ = filled
    assert sorted(os.listdir(root / "bombs")) == ["MNIST", "cifar-10-batches-py"]
    assert os.listdir(root / "own_layout/datasets/AG_NEWS") == ["test.csv"]
    assert os.listdir(root / "sst2") == ["SST-2.zip"]
    assert os.listdir(root / "empty") == []
    # the bombs are bombs
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        pickle.loads((root / "bombs/MNIST/processed/test.pt").read_bytes())
    assert (root / "bombs/ran").is_dir()


def stored(filled: tuple[Path, dict[str, Source | str]], name: str) -> Source:
    found = filled[1][name]
    assert isinstance(found, Source), found
    return found


@pytest.mark.needs("torchtext")
def test_the_same_rows_from_torchtexts_own_layout(
    filled: tuple[Path, dict[str, Source | str]], ag_news: Source
) -> None:
    assert everything(stored(filled, "own layout")) == everything(ag_news)


def test_pictures_without_files_become_png_without_loss(filled: tuple[Path, dict[str, Source | str]]) -> None:
    read = everything(stored(filled, "mnist"))
    assert all(record["image"].startswith(b"\x89PNG") for record in read)
    np.testing.assert_array_equal([np.asarray(Image.open(io.BytesIO(r["image"]))) for r in read], LEVELS)
    assert [(r["label"], r["label_name"]) for r in read[:2]] == [(3, "3 - three"), (1, "1 - one")]


def test_names_of_ones_own(filled: tuple[Path, dict[str, Source | str]]) -> None:
    small = stored(filled, "small")
    assert list(small.values) == ["photo", "kind"]
    assert Image.open(io.BytesIO(small.read(2, ["photo"])["photo"])).size == (11, 17)


def test_a_damaged_file_fails_alone(filled: tuple[Path, dict[str, Source | str]]) -> None:
    source = stored(filled, "yesno")
    assert source.values["labels"].shape == (8,)
    np.testing.assert_array_equal(source.read(2, ["labels"])["labels"], [0, 0, 0, 0, 1, 1, 1, 2])
    with pytest.raises(RecordError, match="LibsndfileError: Error opening"):
        source.read(1, ["waveform"])
    assert [source.key(i) for i in range(3)] == ["0", "1", "2"]


def test_a_store_is_read_again_without_a_reader(data: Path, pictures: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(request: dict[str, Any], work: Path, title: str) -> None:
        raise SourceError("a reader was started")

    monkeypatch.setattr(_library, "build", fail)
    root = data / "image_torchvision_assets/test/assets/fakedata/imagefolder"
    again = opened("torchvision", dataset="ImageFolder", root=root)
    assert again.fingerprint() == pictures.fingerprint()
    for other in ({"names": ["a", "b"]}, {"arguments": {"allow_empty": True}}, {"root": root.parent}):
        with pytest.raises(SourceError, match="a reader was started"):
            opened("torchvision", **{"dataset": "ImageFolder", "root": root, **other})


def test_a_library_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_library, "find_spec", lambda name: None if name == "torchdata" else object())
    with pytest.raises(MissingLibrary, match=r"torchdata is not installed.*multimodal-pipelines\[full\]"):
        opened("torchtext", dataset="AG_NEWS", root=".", split="test")
    monkeypatch.setattr(_library, "find_spec", lambda name: None)
    with pytest.raises(MissingLibrary, match=r"tensorflow_datasets is not installed.*\[tensorflow\]"):
        opened("tfds", builder="mnist", split="train")


def test_torchtext_that_is_missing_or_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As beside a later torch: what reads the same files is told, not only that an older torch be installed."""
    (tmp_path / "torchtext.py").write_text("raise OSError('libtorchtext.so: undefined symbol')")
    for module in ("torchdata", "portalocker"):
        (tmp_path / f"{module}.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(SourceError, match=r"torchtext AG_NEWS: it does not load \(OSError: lib.*the source `manifest`"):
        opened("torchtext", dataset="AG_NEWS", root=tmp_path, split="test")
    monkeypatch.setattr(_library, "find_spec", lambda name: None)
    with pytest.raises(MissingLibrary, match=r"\[full\]'\. torchtext ended with torch 2\.3.*`manifest`"):
        opened("torchtext", dataset="AG_NEWS", root=tmp_path, split="test")


HUGE = {"dataset": "FakeData", "arguments": {"size": 10_000_000}}


def test_a_reader_that_is_killed_leaves_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(process: subprocess.Popen[str]) -> None:
        home = cache_folder() / "sources"
        while not list(home.glob("torchvision-FakeData-*.building-*/part-0.arrow")):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)

    class Watched(subprocess.Popen[str]):
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
    try:
        reader = int(run.stdout.readline())
        # generous: the reader loads torch, which takes a minute on a machine with other work
        deadline = time.monotonic() + 240
        while not list(tmp_path.glob("sources/*.building-*/part-0.arrow")):
            assert time.monotonic() < deadline, "the reader never began"
            time.sleep(0.05)
    finally:
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


@pytest.mark.needs("torchtext")
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
    done = subprocess.run(
        [sys.executable, "-c", SUBPROCESS, json.dumps(wanted)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["8", "7600", "7", "500"]


def test_the_check_for_frameworks_can_fail(tmp_path: Path) -> None:
    (tmp_path / "torch.py").touch()  # any module of that name will do, and loads at once
    done = subprocess.run(
        [sys.executable, "-c", SUBPROCESS, "[]", "torch"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "loaded ['torch']" in done.stderr
