"""Weights of pretrained models: where they are, whose licence they have, and how they are read.

Nothing is unpickled: torch weights are read as names and tensors (`weights_only`) or as safetensors, Keras weights
from HDF5, and a model's structure never comes from a file that could name code.
"""

from __future__ import annotations

import copy
import importlib
import threading
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlparse

import numpy as np
from pydantic import Field, model_validator

from pipelines.errors import MissingLibrary, SourceError, SpecError, UserError, nearest
from pipelines.spec import Framework
from pipelines.step import ConfigPath, Step

if TYPE_CHECKING:
    import torch

FRAMEWORK_OF: Mapping[str, Framework] = {
    "torchvision": "torch",
    "torchaudio": "torch",
    "torchtext": "torch",
    "keras": "tensorflow",
    "keras_hub": "tensorflow",
    "keras_nlp": "tensorflow",
}
"""The framework that each library's models run in."""

SUFFIXES: Mapping[Framework, tuple[str, ...]] = {
    "torch": (".pt", ".pth", ".safetensors"),
    "tensorflow": (".h5",),
}
_BEGINNINGS = {".pt": (b"PK", b"\x80"), ".pth": (b"PK", b"\x80"), ".h5": (b"\x89HDF\r\n\x1a\n",)}
SHOWN = 3  # entries that do not fit, in a message


class WeightsStep(Step):
    """A step that runs a library's pretrained model, in evaluation mode, with weights that belong to one framework.

    The weights are in `file`, or `download` has the library get its own: true for those it calls its default, or a
    set by name. `licence` is that of the weights, for the manifest.
    """

    model: Annotated[str, Field(min_length=1)]
    library: str
    file: ConfigPath | None = None
    download: bool | Annotated[str, Field(min_length=1)] = False
    licence: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_place(self) -> WeightsStep:
        if (self.file is None) is not bool(self.download):
            found = "neither" if self.file is None else "both"
            raise ValueError(f"expected either file, with weights, or download: true, got {found}")
        return self

    @property
    def frameworks(self) -> tuple[Framework, ...]:
        return (FRAMEWORK_OF[self.library],)

    @property
    def why_one_framework(self) -> str:
        return f"its weights belong to {self.library}"

    def files(self) -> tuple[Path, ...]:
        return () if self.file is None else (self.file,)

    def need_file(self) -> None:
        """SpecError unless the weights' file, where one is named, is there and looks like one. Loads no framework."""
        if self.file is None:
            return
        suffixes = SUFFIXES[self.frameworks[0]]
        if self.file.suffix not in suffixes:
            how = "model.state_dict()" if self.frameworks[0] == "torch" else "model.save_weights(..)"
            raise SpecError(f"expected weights in a file {' or '.join(suffixes)}, as of {how}, got {self.file.name}")
        try:
            with self.file.open("rb") as held:
                begins = held.read(8)
        except OSError as error:
            raise SpecError(f"cannot read the weights {self.file}: {error.strerror}") from error
        if not begins.startswith(_BEGINNINGS.get(self.file.suffix, b"")):
            raise SpecError(f"{self.file} holds no weights: it begins with {begins!r}")

    @abstractmethod
    def fetched(self) -> Path:
        """The file that the library keeps of what it has downloaded, if need be just now."""

    def weights(self) -> Path:
        """The file with the weights; SourceError when the library cannot get it."""
        return self.fetched() if self.file is None else self.file

    def known_licence(self) -> str | None:
        """The licence that the library states for what it downloads."""
        return None

    def entry(self) -> dict[str, str]:
        """What a manifest says of the weights: where they are from, the file's hash, the licence."""
        path = self.weights()
        return self.described(path.name, file_sha256(path))

    def described(self, weights: str, digest: str) -> dict[str, str]:
        """An entry of a manifest."""
        licence = self.licence or (None if self.file else self.known_licence()) or "not stated"
        found = {"model": self.model, "library": self.library, "weights": weights}
        return found | {"sha256": digest, "licence": licence}


def need_model(name: str, library: str, known: Iterable[str]) -> None:
    """ValueError with the nearest name unless `library` is known to have the model."""
    if name not in known:
        raise ValueError(f"model={name!r} is none of the models of {library} that give features{nearest(name, known)}")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    try:
        found = path.stat()
        return _sha256(path, found.st_size, found.st_mtime_ns)
    except OSError as error:
        raise SourceError(f"cannot read the weights {path}: {error.strerror}") from error


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, changed: int) -> str:
    digest = sha256()
    with path.open("rb") as held:
        while block := held.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def values_sha256(arrays: Iterable[np.ndarray[Any, Any]]) -> str:
    """SHA-256 of weights themselves, for a library that does not tell which file it has read."""
    digest = sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@contextmanager
def downloading(what: str) -> Iterator[None]:
    """Turns whatever goes wrong in a library's download into one sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # no network, a wrong hash, a full disk: each library raises kinds of its own
        raise SourceError(
            f"the weights of {what} could not be downloaded ({_in_one_line(error)}); "
            "get the file where there is a network, and give its path as file"
        ) from error


def from_hub(url: str, what: str, *, hashed: bool) -> Path:
    """The file that torch.hub, which torch's companions use, keeps of `url`; `hashed` if its name has a hash."""
    import torch

    name = Path(urlparse(url).path).name
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.is_file():
        with downloading(what):
            torch.hub.load_state_dict_from_url(
                url, map_location="cpu", progress=False, check_hash=hashed, weights_only=True
            )
    if hashed and not file_sha256(path).startswith(path.stem.rpartition("-")[2]):
        raise SourceError(f"{path} is damaged: its SHA-256 is not the one in its name; remove it")
    return path


def read_torch(path: Path) -> dict[str, torch.Tensor]:
    """The state dict in a file: names and tensors, nothing else."""
    import torch

    try:
        if path.suffix == ".safetensors":
            state = _safetensors(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception as error:  # what a damaged file raises depends on where it is damaged
        raise SpecError(
            f"{path} holds no weights that can be read without unpickling: {_in_one_line(error)}"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        found = f"entries {', '.join(map(repr, list(state)[:SHOWN]))}" if isinstance(state, Mapping) else type(state)
        raise SpecError(f"{path}: expected names and tensors, as of model.state_dict(), got {found}")
    return dict(state)


def _safetensors(path: Path) -> Any:
    try:
        library = importlib.import_module("safetensors.torch")
    except ImportError as error:
        raise SpecError(f"{path} needs the library safetensors: pip install safetensors") from error
    return library.load_file(path)


def fill_torch(module: torch.nn.Module, state: Mapping[str, torch.Tensor], path: Path, leave: tuple[str, ...]) -> None:
    """Put weights into a module, for evaluation; entries whose names begin with one of `leave` are not used.

    Raises SpecError with the first entries that do not fit.
    """
    used = {name: value for name, value in state.items() if not name.startswith(leave)} if leave else dict(state)
    try:
        missing, unknown = module.load_state_dict(used, strict=False)
    except RuntimeError as error:
        _misfit(path, [line.strip() for line in str(error).splitlines()[1:]])
    _misfit(path, [f"it has no {name}" for name in missing] + [f"{name} has no place" for name in unknown])
    module.eval().requires_grad_(False)


def _misfit(path: Path, faults: list[str]) -> None:
    if faults:
        more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise SpecError(f"{path} does not fit the model: {'; '.join(faults[:SHOWN])}{more}")


def on_device_of(module: torch.nn.Module) -> Callable[[torch.Tensor], torch.nn.Module]:
    """Called with a tensor, gives the module on that tensor's device: one copy for each."""
    import torch

    held = {torch.device("cpu"): module}
    lock = threading.Lock()

    def module_for(x: torch.Tensor) -> torch.nn.Module:
        if x.device not in held:
            with lock:
                if x.device not in held:
                    held[x.device] = copy.deepcopy(module).to(x.device)
        return held[x.device]

    return module_for


def fill_keras(model: Any, path: Path) -> None:
    """Put the weights of an HDF5 file into a built Keras model, or SpecError.

    Keras leaves a layer that the file does not have as it was, with a warning: so they all are no numbers before.
    """
    real = [weight for weight in model.weights if "float" in str(weight.dtype)]
    for weight in real:
        weight.assign(np.full(weight.shape, np.nan))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.load_weights(str(path))
    except Exception as error:  # h5py and Keras raise OSError, KeyError, ValueError, ...
        raise SpecError(f"{path} does not fit the model {model.name}: {_in_one_line(error)}") from error
    _misfit(path, [f"it has no {weight.path}" for weight in real if np.isnan(weight.numpy()).all()])
    model.trainable = False


def need_keras() -> Any:
    """Keras on TensorFlow, or MissingLibrary."""
    try:
        import keras
    except ImportError as error:
        raise MissingLibrary("keras", "tensorflow") from error
    if keras.backend.backend() != "tensorflow":
        raise SpecError(f"expected Keras to run on tensorflow, it runs on {keras.backend.backend()} (KERAS_BACKEND)")
    return keras


def _in_one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
