"""Features of a pretrained text encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import NonNegativeInt, model_validator

from pipelines.errors import RecordError, SpecError, nearest
from pipelines.guard import after
from pipelines.spec import Axis, Spec
from pipelines.step import Close, Example, Kernel
from pipelines.text import _embed
from pipelines.text._embed import Architecture
from pipelines.text._seams import ids
from pipelines.weights import WeightsStep, need_model, on_device_of, values_sha256

_TINY = {
    "vocab_size": 40,
    "embedding_dim": 16,
    "ffn_dimension": 24,
    "max_seq_len": 34,
    "num_attention_heads": 2,
    "num_encoder_layers": 2,
}
_TINY_BERT = {
    "vocabulary_size": 40,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 24,
    "max_sequence_length": 32,
}


def _seeded_torchtext(folder: Path) -> dict[str, str]:
    """Writes small weights of no worth, the same for each run, for an example."""
    import torch

    torch.manual_seed(0)
    path = folder / "encoder.pt"
    torch.save(_embed.build_torchtext("ROBERTA_BASE_ENCODER", Architecture.model_validate(_TINY)).state_dict(), path)
    return {"file": str(path)}


def _seeded_keras(folder: Path) -> dict[str, str]:
    """The same with keras-hub."""
    import keras

    keras.utils.set_random_seed(0)
    path = folder / "model.weights.h5"
    _embed.build_keras("BertBackbone", _TINY_BERT).save_weights(path)
    described = {"class_name": "BertBackbone", "config": _TINY_BERT}
    path.with_name("config.json").write_text(json.dumps(described), "utf-8")
    return {"file": str(path)}


class Embed(WeightsStep):
    """Features of a text by a pretrained encoder of torchtext or keras-hub.

    Takes  int64[..., token]             ids of the vocabulary that the model was trained on, with its special tokens
    Gives  float32[..., feature]         what the last layer gives for the first token, or with pooling="mean" the mean
                                         over all tokens that do not pad; a row of padding alone gives 0

    `library` torchtext runs on torch only, keras_hub (by its former name keras_nlp) on TensorFlow only: a config with
    this step is exempt from parity. `model` is one of torchtext.models (ROBERTA_BASE_ENCODER, XLMR_LARGE_ENCODER) or an
    encoder of keras_hub.models (BertBackbone, DistilBertBackbone). `file` holds weights: a state dict in .pt, .pth or
    .safetensors for torchtext; for keras_hub model.weights.h5, beside the config.json that save_to_preset writes.
    `download: true` gets torchtext's own, of which it publishes no hash; `download: bert_tiny_en_uncased` a preset of
    keras_hub. `sizes` is for torchtext weights of one's own, of a model smaller or larger than the named one. `pad` is
    the id that is not looked at: the model's own if left out. `licence` is that of the weights, for the manifest.
    Fails for a text without tokens or with more than the model has positions for.

    Source: torchtext.models.RobertaModel, or where torchtext does not load torch.nn.TransformerEncoder with the same
    weights; keras_hub.models.
    """

    library: Literal["torchtext", "keras_hub", "keras_nlp"]
    pooling: Literal["first", "mean"] = "first"
    pad: NonNegativeInt | None = None
    sizes: Architecture = Architecture()

    agreement = Close(of_peak=1e-6, why="one framework only: float32 sums in another order, in a batch and in a graph")
    examples = (
        Example(
            ids(40),
            {"model": "ROBERTA_BASE_ENCODER", "library": "torchtext", "sizes": _TINY, "pooling": "mean"},
            files=_seeded_torchtext,
        ),
        Example(
            ids(40, 9),
            {"model": "ROBERTA_BASE_ENCODER", "library": "torchtext", "sizes": _TINY},
            files=_seeded_torchtext,
        ),
        Example(ids(40), {"model": "BertBackbone", "library": "keras_hub"}, files=_seeded_keras, needs="keras_hub"),
        Example(
            ids(33, 9),
            {"model": "BertBackbone", "library": "keras_nlp", "pooling": "mean", "pad": 3},
            files=_seeded_keras,
            needs="keras_hub",
        ),
    )

    @model_validator(mode="after")
    def _known(self) -> Embed:
        torchtext = self.library == "torchtext"
        need_model(self.model, self.library, _embed.TORCHTEXT if torchtext else _embed.KERAS_HUB)
        if torchtext and isinstance(self.download, str):
            raise ValueError(f"expected download: true, since torchtext has one set of weights, got {self.download}")
        if torchtext and self.pad is not None:
            raise ValueError("pad is for library: keras_hub; torchtext's models know their padding (sizes.padding_idx)")
        if torchtext and (self.sizes.embedding_dim or _embed.TORCHTEXT[self.model][0]) % (
            self.sizes.num_attention_heads or 1
        ):
            raise ValueError("num_attention_heads must divide embedding_dim")
        if not torchtext and self.sizes != Architecture():
            raise ValueError("sizes is for library: torchtext; keras_hub has config.json beside the weights")
        if not torchtext and self.download is not False:
            known = [name for name, (model, *_) in _embed.PRESETS.items() if model == self.model]
            if self.download not in known:
                near = nearest(str(self.download), known)
                raise ValueError(f"expected a preset of {self.model} ({', '.join(known) or 'none is known'}){near}")
        return self

    def found(self) -> _embed.Sizes:
        """Sizes of the model; SpecError when the file that should say them does not."""
        if self.library == "torchtext":
            return _embed.torchtext_sizes(self.model, self.sizes)
        if self.file is None:
            _, features, vocabulary = _embed.PRESETS[str(self.download)]
            return _embed.Sizes(features, vocabulary, 512, _embed.KERAS_HUB[self.model])
        config = _embed.keras_config(self.model, self.file)
        return _embed.keras_sizes(self.model, config, self.file.with_name("config.json"))

    def files(self) -> tuple[Path, ...]:
        if self.file is None or self.library == "torchtext":
            return super().files()
        return (self.file, self.file.with_name("config.json"))

    def out_spec(self, x: Spec) -> Spec:
        x.need(("int64",), last=("token",))
        self.need_file()
        sizes = self.found()
        if x.range is None or not (x.range[0] >= 0 and x.range[1] < sizes.vocabulary):
            raise SpecError(f"expected ids in [0, {sizes.vocabulary - 1}], the vocabulary of {self.model}, got {x}")
        tokens = x.size("token")
        if tokens is not None and not 0 < tokens <= sizes.longest:
            raise SpecError(f"expected 1 to {sizes.longest} tokens, got {x}")
        return Spec("float32", (*x.axes[:-1], Axis("feature", sizes.features)), "feature")

    def fetched(self) -> Path:
        return _embed.torchtext_file(self.model)

    def known_licence(self) -> str | None:
        if self.library != "torchtext":
            return None
        return "Apache-2.0" if self.model == "ROBERTA_DISTILLED_ENCODER" else "MIT"

    def entry(self) -> dict[str, str]:
        if self.library == "torchtext" or self.file is not None:
            return super().entry()
        values = _embed.fetch_keras(str(self.download)).get_weights()
        return self.described(f"{self.download}, by their values", values_sha256(values))

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        model = on_device_of(_embed.load_torchtext(self.model, self.sizes, self.weights()))
        sizes = self.found()

        @torch.no_grad()
        def kernel(tokens: torch.Tensor) -> torch.Tensor:
            if not 0 < tokens.shape[-1] <= sizes.longest:
                raise RecordError(f"expected 1 to {sizes.longest} tokens, got {tokens.shape[-1]}")
            flat = tokens.reshape(-1, tokens.shape[-1])
            kept = (flat != sizes.pad)[..., None]
            states = torch.where(kept, model(flat)(flat), 0.0)  # attention over padding alone is not a number
            pooled = states[:, 0] if self.pooling == "first" else states.sum(1) / kept.sum(1).clamp(min=1)
            return pooled.reshape(*tokens.shape[:-1], sizes.features)

        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        model = _embed.load_keras(self.model, self.file) if self.file else _embed.fetch_keras(str(self.download))
        sizes, names = self.found(), [put.name for put in model.inputs]
        pad = sizes.pad if self.pad is None else self.pad

        def kernel(tokens: tf.Tensor) -> tf.Tensor:
            shape = tf.shape(tokens)
            says = f"expected 1 to {sizes.longest} tokens"
            checks = [
                tf.debugging.assert_positive(shape[-1], says),
                tf.debugging.assert_less_equal(shape[-1], sizes.longest, says),
            ]
            flat = tf.reshape(after(checks, tokens), [tf.reduce_prod(shape[:-1]), shape[-1]])
            kept = flat != pad
            given: dict[str, Any] = {
                "token_ids": tf.cast(flat, tf.int32),
                "padding_mask": tf.cast(kept, tf.int32),
                "segment_ids": tf.zeros_like(flat, tf.int32),
            }
            states = model({name: given[name] for name in names}, training=False)
            states = states["sequence_output"] if isinstance(states, dict) else states
            states = tf.where(kept[..., None], states, 0.0)
            count = tf.maximum(tf.reduce_sum(tf.cast(kept, tf.float32), -1, keepdims=True), 1.0)
            pooled = states[:, 0] if self.pooling == "first" else tf.reduce_sum(states, 1) / count
            pooled = tf.reshape(pooled, tf.concat([shape[:-1], [sizes.features]], 0))
            return tf.ensure_shape(pooled, [*tokens.shape[:-1], sizes.features])

        return kernel
