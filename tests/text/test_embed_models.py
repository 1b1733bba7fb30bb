"""What is known of text encoders before a library is loaded, and what is said of wrong parameters and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from text.texts import TEXT_OPS, no_library

from pipelines.errors import SpecError
from pipelines.text import Embed, _embed, _library
from pipelines.text._seams import ids


def test_every_encoder_of_torchtext_is_known() -> None:
    from torchtext import models

    names = {name for name in dir(models) if name.endswith("_ENCODER") and not name.startswith(("T5", "FLAN"))}
    assert names == _embed.TORCHTEXT.keys()
    for name in names:
        conf, step = getattr(models, name).encoderConf, Embed(model=name, library="torchtext", download=True)
        found = step.found()
        assert (found.features, found.vocabulary) == (conf.embedding_dim, conf.vocab_size)
        assert (found.pad, found.longest) == (conf.padding_idx, conf.max_seq_len - conf.padding_idx - 1)
        assert str(step.known_licence()).replace("-", " ") in getattr(models, name).__doc__


@pytest.mark.parametrize("name", [*_embed.PRESETS] * TEXT_OPS)
def test_presets_are_those_of_keras_nlp(name: str) -> None:
    import keras_nlp

    assert name in getattr(keras_nlp.models, _embed.PRESETS[name][0]).presets


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"model": "ROBERTA_BASE"}, "none of the models of torchtext .*did you mean 'ROBERTA_BASE_ENCODER'"),
        ({"library": "keras_nlp"}, "none of the models of keras_nlp"),
        ({"pad": 1}, "pad is for library: keras_nlp"),
        ({"sizes": {"num_attention_heads": 5}}, "num_attention_heads must divide embedding_dim"),
        ({"file": None, "download": "V1"}, "torchtext has one set of weights"),
        (
            {"model": "BertBackbone", "library": "keras_nlp", "sizes": {"vocab_size": 3}},
            "sizes is for library: torchtext",
        ),
        (
            {"model": "BertBackbone", "library": "keras_nlp", "file": None, "download": "bert_tiny_uncased"},
            r"expected a preset of BertBackbone \(bert_tiny_en_uncased, .*did you mean 'bert_tiny_en_uncased'",
        ),
        ({"model": "FNetBackbone", "library": "keras_nlp", "file": None, "download": True}, "none is known"),
    ],
)
def test_wrong_parameters(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Embed.model_validate({"model": "ROBERTA_BASE_ENCODER", "library": "torchtext", "file": "w.pt", **given})


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (None, r"cannot read .*config\.json: No such file.*save_to_preset writes it"),
        ("[1]", "does not describe an encoder of keras-nlp"),
        ({"class_name": "AlbertBackbone", "config": {}}, "describes AlbertBackbone, expected BertBackbone"),
        (
            {"class_name": "BertBackbone", "config": {"num_layers": {"module": "os"}}},
            "numbers and words, got others in num",
        ),
        ({"class_name": "BertBackbone", "config": {"num_layers": 2}}, "expected hidden_dim, vocabulary_size"),
    ],
)
def test_a_wrong_config_beside_the_weights(config: Any, says: str, tmp_path: Path) -> None:
    (tmp_path / "w.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    if config is not None:
        text = config if isinstance(config, str) else json.dumps(config)
        (tmp_path / "config.json").write_text(text, "utf-8")
    step = Embed(model="BertBackbone", library="keras_nlp", file=tmp_path / "w.h5")
    with pytest.raises(SpecError, match=says):
        step.out_spec(ids(5))


@pytest.mark.parametrize("library", ["torchtext", "keras_nlp"])
def test_a_library_that_cannot_be_used_is_said(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_library, "why_not", no_library)
    with pytest.raises(SpecError, match=f"{library} cannot be used here .*it is built for"):
        _embed.need(library)
