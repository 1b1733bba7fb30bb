"""What works on this machine: companion libraries, GPUs, threads and known traps.

Each library is imported and used once in a process of its own, since some install and pass every
check but fail, hang or abort on first use. Nothing heavy is loaded here.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any, Literal

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from pipelines.companions import INSTEAD
from pipelines.report.progress import progress
from pipelines.report.tables import show
from pipelines.runtime._lanes import cores

SECONDS_PER_LIBRARY = 120.0
_MARK, _ERROR = "doctor-facts:", "doctor-error:"
# an error's first lines say what it is, its last ones may be a library's list of arguments
_TOLD = f"""import json, sys
sys.excepthook = lambda kind, error, _: print(
    "\\n{_ERROR}" + json.dumps(f"{{kind.__name__}}: {{error}}".rstrip(": ")), file=sys.stderr, flush=True)"""

State = Literal["works", "missing", "fails"]


@dataclass(frozen=True)
class Probe:
    """How one library is tried, and what happens without it.

    `use` is the Python that a fresh process runs; names it puts into `facts` come back. `without` says what cannot be
    done then, and `instead` names what gives the same values for all else. `part` is what of the library is tried.
    """

    distribution: str
    use: str
    without: str = ""
    instead: str = ""
    part: str = ""


_TORCH_ONLY = "the torch framework cannot be used"
_TENSORFLOW_ONLY = "the tensorflow framework cannot be used"

PROBES: tuple[Probe, ...] = (
    Probe(
        "torch",
        """
import torch
assert float(torch.stft(torch.ones(64), 16, window=torch.ones(16), return_complex=True).abs().max()) > 0
facts["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
facts["threads"] = f"{torch.get_num_threads()} in an operation, {torch.get_num_interop_threads()} side by side"
""",
        _TORCH_ONLY,
    ),
    Probe(
        "torchaudio",
        "import torch, torchaudio\nassert torchaudio.functional.resample(torch.ones(80), 8, 16).shape == (160,)",
        "audio steps do not run on torch, and its data sets cannot be read",
    ),
    Probe(
        "torchaudio",
        "import torchaudio\nassert 'soundfile' in torchaudio.list_audio_backends()",
        instead=INSTEAD["torchaudio.load"],
        part="load",
    ),
    Probe(
        "torchvision",
        """
import torch
from torchvision.transforms.v2 import functional
assert functional.resize(torch.zeros(3, 8, 6, dtype=torch.uint8), [4, 3], antialias=True).shape == (3, 4, 3)
""",
        "image steps do not run on torch, and its data sets cannot be read",
    ),
    Probe(
        "torchvision",
        """
import io, torch
from PIL import Image
from torchvision.io import decode_jpeg, decode_png
for kind, decode in (("JPEG", decode_jpeg), ("PNG", decode_png)):
    Image.new("RGB", (3, 2)).save(held := io.BytesIO(), kind)
    assert decode(torch.frombuffer(bytearray(held.getvalue()), dtype=torch.uint8)).shape == (3, 2, 3)
""",
        instead=INSTEAD["torchvision.io"],
        part="io",
    ),
    Probe(
        "torchtext",
        """
import torchtext
torchtext.disable_torchtext_deprecation_warning()
from torchtext.data.utils import get_tokenizer
import torchtext.datasets
assert get_tokenizer("basic_english")("A b!") == ["a", "b", "!"]
""",
        "its data sets cannot be read",
        f"{INSTEAD['torchtext']} and Python; torch for its encoders",
    ),
    Probe(
        "tensorflow",
        """
import tensorflow as tf
facts["gpus"] = [tf.config.experimental.get_device_details(g).get("device_name", g.name)
                 for g in tf.config.list_physical_devices("GPU")]
if not facts["gpus"]:
    assert float(tf.reduce_sum(tf.ones(4))) == 4
inside = tf.config.threading.get_intra_op_parallelism_threads() or "automatic"
beside = tf.config.threading.get_inter_op_parallelism_threads() or "automatic"
facts["threads"] = f"{inside} in an operation, {beside} side by side"
grows = [tf.config.experimental.get_memory_growth(g) for g in tf.config.list_physical_devices("GPU")]
facts["memory"] = "taken as needed" + (", in other programs than runs all at once" if not all(grows) else "")
""",
        _TENSORFLOW_ONLY,
    ),
    Probe(
        "tensorflow-io",
        """
import tensorflow as tf
tf.config.set_visible_devices([], "GPU")
import tensorflow_io as tfio
wave = tfio.audio.encode_flac(tf.zeros([16, 1], tf.int16), rate=8000)
assert tfio.audio.decode_flac(wave, dtype=tf.int16).shape[-1] == 1
""",
        instead=INSTEAD["tensorflow_io"],
    ),
    Probe(
        "tensorflow-text",
        """
import tensorflow as tf
tf.config.set_visible_devices([], "GPU")
import tensorflow_text as text
assert text.normalize_utf8(["a"], "NFKC").numpy().tolist() == [b"a"]
""",
        instead=INSTEAD["tensorflow_text"],
    ),
    Probe(
        "tensorflow-datasets",
        """
from tensorflow_datasets import public_api as tfds  # the package itself hides why it does not load
assert tfds.builder_cls("mnist").name == "mnist"
""",
        "the source tfds cannot be read",
    ),
    Probe(
        "keras-hub",
        """
import tensorflow as tf
tf.config.set_visible_devices([], "GPU")
import keras_hub
assert [int(value) for value in keras_hub.tokenizers.ByteTokenizer()("a")] == [97]
""",
        "text.embed does not run on tensorflow",
    ),
    Probe(
        "keras-hub",
        """
import tensorflow as tf
tf.config.set_visible_devices([], "GPU")
from keras_hub.layers import StartEndPacker
ids = StartEndPacker(2, pad_value=1, dtype="int64")(tf.constant([[0]], tf.int64))
words = StartEndPacker(2, pad_value="b", dtype="string")(tf.constant([["a"]]))
assert tf.convert_to_tensor(ids).dtype == tf.int64
assert tf.convert_to_tensor(words).numpy().tolist() == [[b"a", b"b"]]
""",
        instead=INSTEAD["keras_hub.StartEndPacker"],
        part="StartEndPacker",
    ),
    Probe(
        "tokenizers",
        """
from tokenizers import Tokenizer, models
assert Tokenizer(models.WordLevel({"a": 0}, "a")).encode("a").ids == [0]
""",
        "text.wordpiece and text.bpe do not run",
    ),
    Probe(
        "sentencepiece",
        "import sentencepiece\nsentencepiece.SentencePieceProcessor()",
        "text.sentencepiece does not run",
    ),
    Probe(
        "soundfile",
        """
import io, soundfile
soundfile.write(held := io.BytesIO(), [0.0] * 8, 8000, format="WAV")
held.seek(0)
assert soundfile.info(held).frames == 8
""",
        "audio.decode does not run",
    ),
    Probe(
        "pillow",
        """
import io
from PIL import Image
Image.new("RGB", (2, 2)).save(held := io.BytesIO(), "JPEG")
held.seek(0)
assert Image.open(held).size == (2, 2)
""",
        "image.decode does not run",
    ),
    Probe(
        "pyarrow",
        "import pyarrow.parquet as parquet, pyarrow\nassert pyarrow.array([1]).to_pylist() == [1]",
        "Parquet cannot be read or written",
    ),
)


@dataclass(frozen=True)
class Library:
    """One library as it was found: `reason` says why it fails, `facts` what it told about itself."""

    distribution: str
    version: str
    state: State
    reason: str
    without: str
    facts: Mapping[str, object] = field(default_factory=dict)
    instead: str = ""
    part: str = ""

    @property
    def title(self) -> str:
        """The library, and the part of it that was tried."""
        return f"{self.distribution}.{self.part}" if self.part else self.distribution


@dataclass(frozen=True)
class Report:
    """Everything `pipelines doctor` tells."""

    python: str
    machine: str
    libraries: tuple[Library, ...]
    settings: Mapping[str, str]
    traps: tuple[str, ...]

    def library(self, distribution: str) -> Library:
        """The library with that distribution name."""
        return next(found for found in self.libraries if found.title == distribution)

    def frameworks(self) -> tuple[str, ...]:
        """The frameworks a config can be run on here."""
        return tuple(name for name in ("torch", "tensorflow") if self.library(name).state == "works")

    def as_dict(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return asdict(self)

    def show(self) -> None:
        """Print the report to stdout."""
        show([self])

    def __rich__(self) -> RenderableType:
        columns = ("library", "version", "state", "why not, and what cannot be done", "used instead", "numbers")
        libraries = Table(*columns, title="Companion libraries")
        for found in self.libraries:
            works = found.state == "works"
            colour = "green" if works else "yellow" if found.instead else "red"
            words = "" if works else "; ".join(filter(None, (found.reason, found.without)))
            instead = ("", "") if works else (found.instead or "nothing", "the same" if found.instead else "none")
            state = f"[{colour}]{found.state}[/]"
            libraries.add_row(found.title, found.version, state, escape(words), *map(escape, instead))
        settings = Table("setting", "value", title="Machine")
        settings.add_row("Python", escape(self.python))
        settings.add_row("system", escape(self.machine))
        for name, value in self.settings.items():
            settings.add_row(name, escape(value))
        lines = [f"- {escape(trap)}" for trap in self.traps]
        return Group(libraries, settings, *(["Known traps that apply here:", *lines] if lines else []))


def doctor(seconds: float = SECONDS_PER_LIBRARY) -> Report:
    """Try every library, each for at most `seconds`, and report what works."""
    with (
        progress("try the libraries", len(PROBES), unit="libraries") as watch,
        ThreadPoolExecutor(max_workers=max(1, min(4, cores()))) as pool,
    ):
        tried = [pool.submit(try_library, probe, seconds) for probe in PROBES]
        for _ in as_completed(tried):
            watch(1)
    libraries = tuple(one.result() for one in tried)
    return Report(
        python=f"{platform.python_version()} at {sys.executable}",
        machine=f"{platform.system()} {platform.release()} {platform.machine()}",
        libraries=libraries,
        settings=_settings(libraries),
        traps=known_traps({found.distribution: found.version for found in libraries if found.version}),
    )


def try_library(probe: Probe, seconds: float) -> Library:
    """Import and use one library in a process of its own."""

    def found(state: State, reason: str, facts: Mapping[str, object]) -> Library:
        names = (probe.distribution, version, state, reason)
        return Library(*names, probe.without, facts, probe.instead, probe.part)

    version = _version(probe.distribution)
    if not version:
        return found("missing", "not installed", {})
    program = f"{_TOLD}\nfacts = {{}}\n{probe.use}\nprint({_MARK!r} + json.dumps(facts), flush=True)"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", program],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return found("fails", f"no answer within {seconds:g} s", {})
    told = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if done.returncode == 0 and told:
        return found("works", "", json.loads(told[-1].removeprefix(_MARK)))
    if done.returncode < 0:
        return found("fails", f"the process was ended by signal {-done.returncode}", {})
    said = [line.partition(_ERROR)[2] for line in done.stderr.splitlines() if line.startswith(_ERROR)]
    lines = _plain(json.loads(said[-1]))[:2] if said else _plain(done.stderr)[-1:]
    return found("fails", " ".join(lines)[:400] or f"ended with exit code {done.returncode}", {})


def _plain(text: str) -> list[str]:
    """The lines of a text that are not empty, without colours."""
    return [line.strip() for line in re.sub(r"\x1b\[[\d;]*m", "", text).splitlines() if line.strip()]


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _settings(libraries: tuple[Library, ...]) -> dict[str, str]:
    settings = {"cores this process may use": str(cores())}
    for found in libraries:
        if "threads" in found.facts:
            settings[f"threads of {found.distribution}"] = str(found.facts["threads"])
        gpus = found.facts.get("gpus")
        if isinstance(gpus, list):
            settings[f"GPUs that {found.distribution} sees"] = ", ".join(map(str, gpus)) or "none"
        if "memory" in found.facts:
            settings[f"GPU memory of {found.distribution}"] = str(found.facts["memory"])
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "CUDA_VISIBLE_DEVICES"):
        if name in os.environ:
            settings[name] = os.environ[name]
    return settings


def known_traps(versions: Mapping[str, str], python: tuple[int, int] = sys.version_info[:2]) -> tuple[str, ...]:
    """Traps that apply to these versions: combinations that install but fail, or run but surprise."""
    held = {name: _numbers(version) for name, version in versions.items()}
    for name in ("numpy", "protobuf", "tensorflow-metadata", "triton"):
        if name not in held and (version := _version(name)):
            held[name] = _numbers(version)
    traps = []
    if held.get("torch", (9,)) < (2, 4) and held.get("numpy", ()) >= (2,):
        traps.append("torch before 2.4 cannot share memory with NumPy 2: install numpy<2")
    if held.get("tensorflow", (9,)) < (2, 17) and held.get("protobuf", ()) >= (5,):
        traps.append("tensorflow before 2.17 needs protobuf<5")
    if held.get("tensorflow-metadata", ()) >= (1, 18) and (0,) < held.get("protobuf", ()) < (6, 31, 1):
        traps.append("tensorflow-metadata after 1.17 needs protobuf 6.31, or tensorflow-datasets fails: use 1.17.3")
    if "tensorflow" in held and python >= (3, 12) and "tensorflow-text" not in held:
        traps.append("tensorflow-text and keras-hub have no build of this stack for Python 3.12: use 3.10 or 3.11")
    traps += _misfits(versions, held)
    if {"torch", "tensorflow", "triton"} <= held.keys() and held["triton"] >= (3,):
        traps.append(
            "in a process that has loaded TensorFlow, loading torchvision ends the process (triton finds TensorFlow's "
            "LLVM): import torchvision first; pipelines, as_torch and compare see to it themselves"
        )
    if "tensorflow" in held:
        traps.append("a process that is forked after TensorFlow has worked hangs: give a DataLoader no fork workers")
    return tuple(traps)


_Version = tuple[int, ...]
_FITS: tuple[
    tuple[str, str, Callable[[_Version, _Version], bool], str], ...
] = (  # a companion, the framework it is built for, the versions of both that fit, what follows otherwise
    ("torchtext", "torch", lambda own, its: its[:2] == (2, own[1] - 15), "text steps use tokenizers and Python"),
    ("tensorflow-io", "tensorflow", lambda own, its: its[:2] == (2, own[1] - 21), "audio.decode uses soundfile"),
    ("tensorflow-text", "tensorflow", lambda own, its: own[:2] == its[:2], "text.wordpiece uses tokenizers"),
)


def _misfits(versions: Mapping[str, str], held: Mapping[str, _Version]) -> list[str]:
    """Companion libraries that are built for another version of their framework than the one here."""
    return [
        f"{name} {versions[name]} is not built for {framework} {versions[framework]}; {instead} instead, "
        "with the same numbers"
        for name, framework, fits, instead in _FITS
        if name in versions and framework in versions and not fits(held[name], held[framework])
    ]


def _numbers(version: str) -> _Version:
    parts = version.split("+")[0].split(".")
    return tuple(int(part) for part in parts if part.isdigit())
