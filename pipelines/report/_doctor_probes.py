"""The companion libraries, and the program that tries each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Literal

from pipelines.companions import INSTEAD

State = Literal["works", "missing", "fails"]
Family = Literal["torch", "tensorflow", "neither"]


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
class Probe:
    """How one library is tried, and what happens without it.

    `use` is the Python that a fresh process runs; names it puts into `facts` come back. `family` is whom it may share
    that process with. `without` says what cannot be done then, and `instead` names what gives the same values for all
    else. `part` is what of the library is tried.
    """

    distribution: str
    use: str
    family: Family
    without: str = ""
    instead: str = ""
    part: str = ""

    @property
    def title(self) -> str:
        """The library, and the part of it that is tried."""
        return f"{self.distribution}.{self.part}" if self.part else self.distribution

    def found(self, state: State, reason: str = "", facts: Mapping[str, object] | None = None) -> Library:
        """What there is to tell of it."""
        names = (self.distribution, installed_version(self.distribution), state, reason)
        return Library(*names, self.without, facts or {}, self.instead, self.part)


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
        "torch",
        _TORCH_ONLY,
    ),
    Probe(
        "torchaudio",
        "import torch, torchaudio\nassert torchaudio.functional.resample(torch.ones(80), 8, 16).shape == (160,)",
        "torch",
        "audio steps do not run on torch, and its data sets cannot be read",
    ),
    Probe(
        "torchaudio",
        "import torchaudio\nassert 'soundfile' in torchaudio.list_audio_backends()",
        "torch",
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
        "torch",
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
        "torch",
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
        "torch",
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
        "tensorflow",
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
        "tensorflow",
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
        "tensorflow",
        instead=INSTEAD["tensorflow_text"],
    ),
    Probe(
        "tensorflow-datasets",
        """
from tensorflow_datasets import public_api as tfds  # the package itself hides why it does not load
assert tfds.builder_cls("mnist").name == "mnist"
""",
        "tensorflow",
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
        "tensorflow",
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
        "tensorflow",
        instead=INSTEAD["keras_hub.StartEndPacker"],
        part="StartEndPacker",
    ),
    Probe(
        "tokenizers",
        """
from tokenizers import Tokenizer, models
assert Tokenizer(models.WordLevel({"a": 0}, "a")).encode("a").ids == [0]
""",
        "neither",
        "text.wordpiece and text.bpe do not run",
    ),
    Probe(
        "sentencepiece",
        "import sentencepiece\nsentencepiece.SentencePieceProcessor()",
        "neither",
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
        "neither",
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
        "neither",
        "image.decode does not run",
    ),
    Probe(
        "pyarrow",
        "import pyarrow.parquet as parquet, pyarrow\nassert pyarrow.array([1]).to_pylist() == [1]",
        "neither",
        "Parquet cannot be read or written",
    ),
)


def installed_version(distribution: str) -> str:
    """The version of what is installed under that name, "" for nothing."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
