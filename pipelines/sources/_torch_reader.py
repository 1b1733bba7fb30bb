"""Reads a data set of torchvision, torchaudio or torchtext. Runs in the process of _build alone."""

from __future__ import annotations

import importlib
import inspect
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from pipelines import companions
from pipelines.errors import RecordError, SourceError, nearest
from pipelines.sources import _encode
from pipelines.sources._build import NetworkError, Row, Rows
from pipelines.sources._files import read_file
from pipelines.sources._names import KNOWN, Names
from pipelines.sources.torchtext import ADVICE

CHECKED_PICKLES = ("CIFAR10", "CIFAR100")
"""Classes that unpickle files whose published MD5 the library has checked at construction."""
NO_DATASETS = ("DatasetFolder", "VisionDataset", "wrap_dataset_for_transforms_v2")


def read(request: Mapping[str, Any]) -> Rows:
    """The records of `request["dataset"]`, opened with its arguments."""
    library, name = request["library"], request["dataset"]
    if library == "torchtext" and (reason := companions.why_not(library)):
        raise SourceError(f"it does not load ({reason}). {ADVICE}")
    if library == "torchaudio" and not companions.usable("torchaudio.load"):
        torchaudio: Any = importlib.import_module("torchaudio")
        torchaudio.load = _by_soundfile
    datasets = importlib.import_module(f"{library}.datasets")
    known = [n for n in datasets.__all__ if n not in NO_DATASETS]
    if name not in known:
        hint = nearest(name, known) or f"; it has {', '.join(sorted(known))}"
        raise SourceError(f"there is no data set {name!r}{hint}")
    make = getattr(datasets, name)
    keywords = _keywords(make, name, request)
    if name not in CHECKED_PICKLES:
        _forbid_pickles(name)
    if library == "torchtext" and not request["download"]:
        keywords["root"] = _linked_root(make, Path(request["root"]))
    found = _open(make, keywords, request)
    name_parts = _namer(library, name, request["names"], getattr(found, "classes", None))
    if library == "torchvision" and isinstance(found, datasets.DatasetFolder):
        return Rows(_files(found, Path(request["root"]), name_parts), len(found.samples))
    if not hasattr(found, "__getitem__") or library == "torchtext":
        return Rows(_stream(found, name_parts, make, request), None)
    return Rows(_items(found, name_parts), len(found))


def _by_soundfile(path: str | os.PathLike[str], *_: Any, **__: Any) -> tuple[Any, int]:
    """float32[channel, time] and the rate, as torchaudio.load gave them before it left files to another library."""
    import soundfile
    import torch

    wave, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    return torch.from_numpy(wave).T, int(rate_hz)


def _keywords(make: Any, name: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments to open the data set with, each one that it knows."""
    accepted = _parameters(make)
    given = dict(request["arguments"])
    if request["root"] is not None:
        given["root"] = request["root"]
    unknown = [argument for argument in given if argument not in accepted]
    if unknown:
        plain = [argument for argument in accepted if argument != "download"]
        raise SourceError(
            f"{name} takes no argument {unknown[0]!r}{nearest(unknown[0], plain)}; it takes {', '.join(plain)}"
        )
    missing = [p.name for p in accepted.values() if p.default is p.empty and p.name not in given]
    if missing:
        raise SourceError(f"{name} needs {' and '.join(repr(m) for m in missing)}")
    if "download" in accepted:
        given["download"] = request["download"]
    elif request["download"] and request["library"] != "torchtext":
        raise SourceError(f"{name} cannot download; put its files at `root` and leave `download` out")
    if request["library"] == "torchtext" and "split" in accepted and "split" not in given:
        raise SourceError(f"{name} needs `split`: one of {', '.join(accepted['split'].default)}")
    if request["download"]:
        os.makedirs(request["root"], exist_ok=True)
    return given


def _parameters(make: Any) -> dict[str, inspect.Parameter]:
    """What a class or function can be given by name; where it passes on `**kwargs`, its parents' too."""
    makers = [vars(c)["__init__"] for c in make.__mro__ if "__init__" in vars(c)] if inspect.isclass(make) else [make]
    found: dict[str, inspect.Parameter] = {}
    for maker in makers:
        parameters = inspect.signature(maker).parameters.values()
        passed_on = any(p.kind is p.VAR_KEYWORD for p in parameters)
        for p in parameters:
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self":
                found.setdefault(p.name, p)
        if not passed_on:
            break
    return found


def _open(make: Any, keywords: Mapping[str, Any], request: Mapping[str, Any]) -> Any:
    try:
        return make(**keywords)
    except SourceError:
        raise
    except ImportError as e:
        raise SourceError(f"it needs {e.name or e}, which is not installed") from e
    except Exception as e:  # each class has errors of its own for files that are not there
        hint = ""
        if "download" in keywords and not request["download"]:
            hint = "; `download: true` lets the library fetch it"
        raise SourceError(f"cannot open it at {request['root']}: {str(e) or type(e).__name__}{hint}") from e


def _forbid_pickles(name: str) -> None:
    """Unpickling runs code that a file names. Only plain tensors in torch's zip format are let through."""
    import torch

    def refuse(*_: Any, **__: Any) -> Any:
        raise SourceError(
            f"{name} unpickles a file without checking it, and a pickle can run any code; it is not read here. "
            "Write its records out as files, for the folder or the manifest source"
        )

    class NoUnpickler:
        __init__ = refuse

    load = torch.load

    def load_weights(file: Any, *args: Any, weights_only: bool = False, **rest: Any) -> Any:
        # torch's safe loader has known holes in the older formats
        if not weights_only or not isinstance(file, (str, PurePath)) or not zipfile.is_zipfile(file):
            refuse()
        return load(file, *args, weights_only=True, **rest)

    pickle.load = pickle.loads = refuse
    vars(pickle)["Unpickler"] = NoUnpickler  # of this process alone
    vars(torch)["load"] = load_weights


def _linked_root(make: Any, root: Path) -> str:
    """A folder laid out as torchtext wants it, with links to the files: nothing is written to `root`."""
    name = importlib.import_module(make.__module__).DATASET_NAME
    held = root / "datasets" / name
    held = held if held.is_dir() else root
    if not held.is_dir():
        raise SourceError(f"expected the files of {name} in a folder at {root}, there is none")
    for folder, _, files in os.walk(held):
        to = Path("datasets", name, os.path.relpath(folder, held))
        to.mkdir(parents=True, exist_ok=True)
        for file in files:
            (to / file).symlink_to(Path(folder, file).resolve())
    return os.getcwd()


Namer = Callable[[Any], dict[str, Any]]


def _namer(library: str, dataset: str, given: Sequence[str] | None, classes: Any) -> Namer:
    documented: tuple[Names, ...] = (tuple(given),) if given else KNOWN[library].get(dataset, ())

    def name_parts(item: Any) -> dict[str, Any]:
        if isinstance(item, Mapping):
            return dict(item)
        # torchtext's tagged sentences come as lists of columns
        parts = list(item) if isinstance(item, (tuple, list)) else [item]
        names = next((names for names in documented if len(names) == len(parts)), None)
        if names is None and not documented and _is_labelled_picture(parts):
            names = ("image", "label")
        if names is None:
            kinds = ", ".join(type(part).__name__ for part in parts)
            raise SourceError(
                f"{dataset} gives {len(parts)} parts ({kinds}); say what they are called: names: [..]"
                + (f", not {len(given)} names" if given else "")
            )
        values = dict(zip(names, parts, strict=True))
        if library == "torchaudio":
            return _with_sounds(values)
        label = values.get("label")
        if library == "torchvision" and isinstance(classes, (list, tuple)) and type(label) is int:
            values["label_name"] = _class_name(classes, label)
        return values

    return name_parts


def _is_labelled_picture(parts: Sequence[Any]) -> bool:
    if len(parts) != 2 or not (isinstance(parts[0], bytes) or type(parts[0]).__module__.startswith("PIL.")):
        return False
    return parts[1] is None or isinstance(parts[1], (int, str)) or hasattr(parts[1], "ndim")


def _class_name(classes: Sequence[Any], label: int) -> str | None:
    if not 0 <= label < len(classes):
        return None
    found = classes[label]
    return ", ".join(found) if isinstance(found, (tuple, list)) else str(found)


def _with_sounds(values: dict[str, Any]) -> dict[str, Any]:
    """Waveform tensors as WAV files, each with the rate that follows it (or the only one there is)."""
    rate = next((int(v) for n, v in values.items() if n.endswith("sample_rate")), None)
    out: dict[str, Any] = {}
    for name, value in reversed(list(values.items())):
        if name.endswith("sample_rate"):
            rate = int(value)
        out[name] = _sound(value, rate)
    return {name: out[name] for name in values}


def _sound(value: Any, rate: int | None) -> Any:
    if isinstance(value, (list, tuple)) and value and hasattr(value[0], "is_floating_point"):
        return {str(number): _sound(inner, rate) for number, inner in enumerate(value)}
    if rate is None or not hasattr(value, "is_floating_point") or not value.is_floating_point() or value.ndim > 2:
        return value
    return _encode.wav(value.numpy(), rate)


def _files(found: Any, root: Path, name_parts: Namer) -> Iterator[Row]:
    """The records of a class that lists its files: the files as they are."""
    for path, label in found.samples:
        key = os.path.relpath(path, root).replace(os.sep, "/")
        try:
            yield key, name_parts((read_file(path, key), label))
        except RecordError as e:
            yield key, e


def _items(found: Any, name_parts: Namer) -> Iterator[Row]:
    for number in range(len(found)):
        try:
            item = found[number]
        except (MemoryError, SourceError):
            raise
        except Exception as e:  # a damaged file raises whatever its decoder raises
            yield None, RecordError(_reason(e))
            continue
        yield None, _encode.plain(name_parts(item))


def _stream(found: Any, name_parts: Namer, make: Any, request: Mapping[str, Any]) -> Iterator[Row]:
    number = 0
    try:
        for item in found:
            yield None, _encode.plain(name_parts(item))
            number += 1
    except NetworkError as e:
        raise SourceError(_not_there(make, request)) from e
    except (MemoryError, SourceError):
        raise
    except Exception as e:  # the stream has ended, what follows cannot be read
        raise SourceError(f"reading stops after record {number}: {_reason(e)}") from e


def _not_there(make: Any, request: Mapping[str, Any]) -> str:
    module = importlib.import_module(make.__module__)
    url = getattr(module, "URL", "")
    url = url.get(request["arguments"].get("split"), "") if isinstance(url, Mapping) else url
    file = os.path.basename(getattr(module, "_PATH", None) or url or "its files")
    root = Path(request["root"])
    held = next((p for p in (root / "datasets" / module.DATASET_NAME / file, root / file) if p.exists()), None)
    if held is not None:
        return f"{held} is not the published file: its MD5 is another; `download: true` fetches the right one"
    return f"expected {file} in {root} or {root}/datasets/{module.DATASET_NAME}; `download: true` fetches it"


def _reason(error: Exception) -> str:
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"{type(error).__name__}: {first}"
