"""Text encoders of torchtext and keras-hub: their sizes, and how each is built."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt

from pipelines import companions
from pipelines.errors import SpecError
from pipelines.weights import downloading, fill_keras, fill_torch, from_hub, need_keras, read_torch

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Sizes:
    """What must be known of an encoder before it is built."""

    features: int
    vocabulary: int
    longest: int
    pad: int


TORCHTEXT: Mapping[str, tuple[int, int, int]] = {
    "ROBERTA_BASE_ENCODER": (768, 50265, 12),
    "ROBERTA_DISTILLED_ENCODER": (768, 50265, 6),
    "ROBERTA_LARGE_ENCODER": (1024, 50265, 24),
    "XLMR_BASE_ENCODER": (768, 250002, 12),
    "XLMR_LARGE_ENCODER": (1024, 250002, 24),
}
"""Features, vocabulary and layers of torchtext's encoders."""

KERAS_HUB: Mapping[str, int] = {
    **dict.fromkeys(("AlbertBackbone", "BertBackbone", "DebertaV3Backbone", "DistilBertBackbone"), 0),
    "ElectraBackbone": 0,
    "FNetBackbone": 3,
    "RobertaBackbone": 1,
    "XLMRobertaBackbone": 1,
}
"""Encoders of keras-hub, each with the id that pads in its own vocabularies."""

_BERT = {"en_uncased": 30522, "en": 28996, "zh": 21128, "multi": 119547}
PRESETS: Mapping[str, tuple[str, int, int]] = {
    **{f"bert_{name}_en_uncased": ("BertBackbone", n, 30522) for name, n in (("tiny", 128), ("small", 512))},
    "bert_medium_en_uncased": ("BertBackbone", 512, 30522),
    **{f"bert_base_{name}": ("BertBackbone", 768, count) for name, count in _BERT.items()},
    **{f"bert_large_{name}": ("BertBackbone", 1024, _BERT[name]) for name in ("en_uncased", "en")},
    **{f"distil_bert_base_{name}": ("DistilBertBackbone", 768, _BERT[name]) for name in ("en_uncased", "en", "multi")},
    "roberta_base_en": ("RobertaBackbone", 768, 50265),
    "roberta_large_en": ("RobertaBackbone", 1024, 50265),
    "xlm_roberta_base_multi": ("XLMRobertaBackbone", 768, 250002),
    "xlm_roberta_large_multi": ("XLMRobertaBackbone", 1024, 250002),
}
"""Presets that keras-hub downloads: encoder, features and vocabulary of each."""


class Architecture(BaseModel):
    """Sizes of a model of one's own, by torchtext's names; those left out are the named model's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vocab_size: PositiveInt | None = None
    embedding_dim: PositiveInt | None = None
    ffn_dimension: PositiveInt | None = None
    padding_idx: NonNegativeInt | None = None
    max_seq_len: PositiveInt | None = None
    num_attention_heads: PositiveInt | None = None
    num_encoder_layers: PositiveInt | None = None


def torchtext_sizes(model: str, own: Architecture) -> Sizes:
    """Sizes of a model of torchtext."""
    features, vocabulary, _ = TORCHTEXT[model]
    pad = 1 if own.padding_idx is None else own.padding_idx
    longest = (own.max_seq_len or 514) - pad - 1  # positions are counted from the padding's id on
    return Sizes(own.embedding_dim or features, own.vocab_size or vocabulary, longest, pad)


def keras_config(model: str, file: Path) -> dict[str, int | float | str | bool | None]:
    """The parameters of an encoder, from the config.json that keras-hub's save_to_preset puts beside its weights."""
    path = file.with_name("config.json")
    try:
        held = json.loads(path.read_text("utf-8"))
        name, config = held["class_name"], dict(held["config"])
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}; save_to_preset writes it beside the weights") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SpecError(f"{path} does not describe an encoder of keras-hub: {error!r}") from error
    if name != model:
        raise SpecError(f"{path} describes {name}, expected {model}")
    kept = {key: value for key, value in config.items() if key not in ("name", "trainable", "dtype")}
    odd = [key for key, value in kept.items() if not isinstance(value, int | float | str | bool | None)]
    if odd:  # such as a serialized object, which would name code
        raise SpecError(f"{path}: expected numbers and words, got others in {', '.join(odd)}")
    return kept


def keras_sizes(model: str, config: Mapping[str, Any], path: Path) -> Sizes:
    """Sizes of an encoder of keras-hub."""
    vocabulary = config.get("vocabulary_size", config.get("vocab_size"))
    found = (config.get("hidden_dim"), vocabulary, config.get("max_sequence_length", 512))
    if not all(isinstance(value, int) and value > 0 for value in found):
        raise SpecError(f"{path}: expected hidden_dim, vocabulary_size and max_sequence_length, got {list(config)}")
    features, vocabulary, longest = found
    return Sizes(int(features or 0), int(vocabulary or 0), int(longest or 0), KERAS_HUB[model])


def need(library: str) -> None:
    """SpecError unless the companion library works here."""
    reason = companions.why_not(library)
    if reason is not None:
        raise SpecError(f"{library} cannot be used here ({reason}); pipelines doctor tells more")


def torchtext_config(model: str, own: Architecture) -> dict[str, int]:
    """The parameters of an encoder of torchtext, by its names."""
    features, vocabulary, layers = TORCHTEXT[model]
    named = {
        "vocab_size": vocabulary,
        "embedding_dim": features,
        "ffn_dimension": 4 * features,
        "padding_idx": 1,
        "max_seq_len": 514,
        "num_attention_heads": features // 64,
        "num_encoder_layers": layers,
    }
    return named | own.model_dump(exclude_none=True)


def torchtext_file(model: str) -> Path:
    """The file of a model's weights that torchtext downloads."""
    name = model.lower().replace("_", ".")
    return from_hub(f"https://download.pytorch.org/models/text/{name}.pt", f"torchtext's {model}", hashed=False)


def build_torchtext(model: str, own: Architecture) -> torch.nn.Module:
    """An encoder of torchtext without weights."""
    config = torchtext_config(model, own)
    if not companions.usable("torchtext"):
        from pipelines.text._roberta import Roberta

        return Roberta(config)
    from torchtext import models

    module: torch.nn.Module = models.RobertaModel(models.RobertaEncoderConf(**config))
    # nested tensors shorten a batch to its longest row, and take for granted that padding comes last
    module.encoder.transformer.layers.use_nested_tensor = False
    return module


def load_torchtext(model: str, own: Architecture, path: Path) -> torch.nn.Module:
    """An encoder of torchtext with the weights of a file, in evaluation mode."""
    module = build_torchtext(model, own)
    state = read_torch(path)
    if not companions.usable("torchtext"):
        from pipelines.text._roberta import renamed

        state = renamed(state)
    fill_torch(module, state, path, ("head.",))
    return module


def build_keras(model: str, config: Mapping[str, Any]) -> Any:
    """An encoder of keras-hub without weights."""
    need_keras()
    need("keras_hub")
    import keras_hub
    import tensorflow as tf

    with tf.device("CPU:0"):  # where the graph runs
        return getattr(keras_hub.models, model)(**config, dtype="float32")


def load_keras(model: str, file: Path) -> Any:
    """An encoder of keras-hub with the weights of a file and the sizes in the config.json beside it."""
    config = keras_config(model, file)
    try:
        built = build_keras(model, config)
    except (TypeError, ValueError) as error:
        raise SpecError(f"{file.with_name('config.json')} does not fit {model}: {error}") from error
    fill_keras(built, file)
    return built


def fetch_keras(preset: str) -> Any:
    """An encoder of keras-hub with the weights of a preset, which keras-hub downloads."""
    need_keras()
    need("keras_hub")
    import keras_hub
    import tensorflow as tf

    model, features, vocabulary = PRESETS[preset]
    with downloading(f"keras-hub's {preset}"), tf.device("CPU:0"):
        built = getattr(keras_hub.models, model).from_preset(preset, dtype="float32")
    found = (built.hidden_dim, built.vocabulary_size)
    if found != (features, vocabulary):
        raise SpecError(f"{preset} has {found} features and ids, expected {(features, vocabulary)}")
    built.trainable = False
    return built
