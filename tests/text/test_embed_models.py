"""What is known of text encoders before a library is loaded, and what is said of wrong parameters and files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from text.texts import TEXT_OPS, no_library

from pipelines import companions
from pipelines.errors import SpecError
from pipelines.text import Embed, _embed
from pipelines.text._seams import ids


@pytest.mark.needs("torchtext")
def test_every_encoder_of_torchtext_is_known() -> None:
    from torchtext import models

    names = {name for name in dir(models) if name.endswith("_ENCODER") and not name.startswith(("T5", "FLAN"))}
    assert names == _embed.TORCHTEXT.keys()
    for name in names:
        bundle, step = getattr(models, name), Embed(model=name, library="torchtext", download=True)
        conf = bundle.encoderConf
        known = _embed.torchtext_config(name, _embed.Architecture())
        assert known.items() <= asdict(conf).items()
        assert asdict(conf).items() - known.items() == {
            ("dropout", 0.1),
            ("scaling", None),
            ("normalize_before", False),
        }
        found = step.found()
        assert (found.features, found.vocabulary) == (conf.embedding_dim, conf.vocab_size)
        assert (found.pad, found.longest) == (conf.padding_idx, conf.max_seq_len - conf.padding_idx - 1)
        assert str(step.known_licence()).replace("-", " ") in getattr(models, name).__doc__


@pytest.mark.parametrize("name", [*_embed.PRESETS] * TEXT_OPS)
def test_presets_are_those_of_keras_hub(name: str) -> None:
    import keras_hub

    assert name in getattr(keras_hub.models, _embed.PRESETS[name][0]).presets


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"model": "ROBERTA_BASE"}, "none of the models of torchtext .*did you mean 'ROBERTA_BASE_ENCODER'"),
        ({"library": "keras_hub"}, "none of the models of keras_hub"),
        ({"pad": 1}, "pad is for library: keras_hub"),
        ({"sizes": {"num_attention_heads": 5}}, "num_attention_heads must divide embedding_dim"),
        ({"file": None, "download": "V1"}, "torchtext has one set of weights"),
        (
            {"model": "BertBackbone", "library": "keras_hub", "sizes": {"vocab_size": 3}},
            "sizes is for library: torchtext",
        ),
        (
            {"model": "BertBackbone", "library": "keras_hub", "file": None, "download": "bert_tiny_uncased"},
            r"expected a preset of BertBackbone \(bert_tiny_en_uncased, .*did you mean 'bert_tiny_en_uncased'",
        ),
        ({"model": "FNetBackbone", "library": "keras_hub", "file": None, "download": True}, "none is known"),
    ],
)
def test_wrong_parameters(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Embed.model_validate({"model": "ROBERTA_BASE_ENCODER", "library": "torchtext", "file": "w.pt", **given})


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (None, r"cannot read .*config\.json: No such file.*save_to_preset writes it"),
        ("[1]", "does not describe an encoder of keras-hub"),
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
    step = Embed(model="BertBackbone", library="keras_hub", file=tmp_path / "w.h5")
    with pytest.raises(SpecError, match=says):
        step.out_spec(ids(5))


@pytest.mark.parametrize("library", ["keras_hub"])
def test_a_library_that_cannot_be_used_is_said(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(companions, "why_not", no_library)
    with pytest.raises(SpecError, match=f"{library} cannot be used here .*pipelines doctor"):
        _embed.need(library)
