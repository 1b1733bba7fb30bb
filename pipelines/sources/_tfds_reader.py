"""Reads a data set of TensorFlow Datasets. Runs in the process of _build alone."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.errors import RecordError, SourceError, nearest
from pipelines.sources import _encode
from pipelines.sources._build import Row, Rows


def read(request: Mapping[str, Any]) -> Rows:
    """The records of `request["builder"]`, or of the folder of pictures at `request["root"]`."""
    from tensorflow_datasets import public_api as tfds  # the package itself hides why it does not load

    builder = tfds.ImageFolder(request["root"]) if request["builder"] is None else _builder(request)
    split = request["split"]
    base = re.split(r"[\[+]", split)[0].strip()
    if base not in builder.info.splits and base != "all":
        known = list(builder.info.splits)
        raise SourceError(
            f"there is no split {base!r} at {request['root']}{nearest(base, known)}; there are: {', '.join(known)}"
        )
    features = builder.info.features
    config = tfds.ReadConfig(add_tfds_id=request["builder"] is not None, interleave_cycle_length=1)
    data = builder.as_dataset(split=split, decoders=_undecoded(features), read_config=config, shuffle_files=False)
    total = None if base == "all" else int(builder.info.splits[split].num_examples)
    if request["builder"] is None:
        return Rows(_pictures(data, features, request["root"]), total)
    return Rows(_records(data, features), total)


def _builder(request: Mapping[str, Any]) -> Any:
    import tensorflow_datasets as tfds

    name, where = request["builder"], request["root"]
    _need_own_features(Path(where, name.split("/")[0].split(":")[0]))
    try:
        builder = tfds.builder(name, data_dir=where)
    except tfds.core.DatasetNotFoundError as e:
        raise SourceError(f"{name!r} is neither in {where} nor known to the library") from e
    if request["download"]:
        builder.download_and_prepare()
    elif not builder.is_prepared():
        raise SourceError(f"expected the prepared data set at {builder.data_dir}; `download: true` makes it")
    return builder


def _need_own_features(prepared: Path) -> None:
    """SourceError when a prepared data set describes its features by classes of others, which would be imported."""
    for path in sorted(prepared.rglob("features.json")):
        try:
            waiting = [json.loads(path.read_bytes())]
        except (OSError, ValueError) as e:
            raise SourceError(f"{path} is damaged: {e}") from e
        while waiting:
            part = waiting.pop()
            inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
            waiting += [value for value in inner if isinstance(value, (dict, list))]
            for key in ("pythonClassName", "type") if isinstance(part, dict) else ():
                named = part.get(key)
                if isinstance(named, str) and "." in named and not named.startswith("tensorflow_datasets."):
                    raise SourceError(f"{path} names {named}; expected features of tensorflow_datasets alone")


def _undecoded(features: Any) -> Any:
    """Decoders that leave each picture as the file it is."""
    import tensorflow_datasets as tfds

    if isinstance(features, tfds.features.FeaturesDict):
        inner = {name: _undecoded(feature) for name, feature in features.items()}
        return {name: decoder for name, decoder in inner.items() if decoder}
    return tfds.decode.SkipDecoding() if type(features) is tfds.features.Image else None


def _records(data: Any, features: Any) -> Iterator[Row]:
    number = 0
    try:
        for example in data:
            key = example.pop("tfds_id").numpy().decode()
            yield key, _values(example, features)
            number += 1
    except RecordError:
        raise
    except Exception as e:  # the stream has ended, what follows cannot be read
        raise SourceError(f"reading stops after record {number}: {_reason(e)}") from e


def _pictures(data: Any, features: Any, root: str) -> Iterator[Row]:
    import tensorflow as tf

    stream = iter(data)
    number = 0
    while True:
        try:
            example = next(stream)
        except StopIteration:
            return
        except tf.errors.OpError as e:  # this file alone: the stream goes on with the next one
            yield f"unreadable {number}", RecordError(_reason(e).replace(f"{root}/", ""))
        else:
            values = _values(example, features)
            path = os.path.relpath(values["image/filename"], root).replace(os.sep, "/")
            yield path, {**values, "image/filename": path}
        number += 1


def _values(example: Mapping[str, Any], features: Any) -> dict[str, Any]:
    import tensorflow_datasets as tfds

    out: dict[str, Any] = {}
    for name, value in example.items():
        feature = features[name]
        if isinstance(value, Mapping) and isinstance(feature, tfds.features.FeaturesDict):
            out[name] = _values(value, feature)
        elif isinstance(feature, tfds.features.ClassLabel):
            out[name] = int(value)
            out[f"{name}_name"] = feature.int2str(int(value)) if int(value) >= 0 else None
        elif isinstance(feature, tfds.features.Audio):
            out[name] = _sound(value.numpy(), feature)
        else:
            out[name] = _value(value, feature)
    return out


def _value(value: Any, feature: Any) -> Any:
    import tensorflow as tf
    import tensorflow_datasets as tfds

    if isinstance(value, tf.RaggedTensor):
        return value.to_list()
    if isinstance(value, Mapping):
        return {name: _value(inner, feature) for name, inner in value.items()}
    array = value.numpy()
    if isinstance(array, bytes):
        return array if isinstance(feature, tfds.features.Image) else _text(array)
    return _texts(array.tolist()) if array.dtype == object else array


def _text(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _texts(value: Any) -> Any:
    return [_texts(inner) for inner in value] if isinstance(value, list) else _text(value)


def _sound(samples: np.ndarray[Any, Any], feature: Any) -> Any:
    """16-bit samples with a known rate as a WAV file; other sounds as the numbers they are."""
    rate = feature.sample_rate
    fits = samples.dtype.kind == "i" and samples.ndim <= 2 and np.all(np.abs(samples) <= 32767)
    if not rate or not fits:
        return samples
    return _encode.wav(samples.astype(np.int16).T if samples.ndim == 2 else samples.astype(np.int16), int(rate))


def _reason(error: Exception) -> str:
    return str(getattr(error, "message", "") or error).strip().splitlines()[0]
