"""Features of pretrained text encoders: the library's own encoder, called directly, gives the same."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pretrained import no_network, one_thread, planned, written  # noqa: F401  # fixtures among them
from text.texts import TEXT_OPS, no_library

from pipelines import cli, companions
from pipelines.errors import ConfigError, RecordError, SourceError, SpecError
from pipelines.spec import Axis, Spec
from pipelines.text import Embed, _embed
from pipelines.text._roberta import _FORMER, Roberta
from pipelines.text._seams import ids

pytestmark = pytest.mark.usefixtures("one_thread")
CLOSE = 1e-5  # of the peak: float32 sums of one text and of several come in another order
ROBERTA: dict[str, Any] = {
    "vocab_size": 60,
    "embedding_dim": 24,
    "ffn_dimension": 32,
    "max_seq_len": 22,
    "num_attention_heads": 4,
    "num_encoder_layers": 3,
}
SIZES = _embed.Architecture.model_validate(ROBERTA)
BERT: dict[str, Any] = {
    "vocabulary_size": 60,
    "num_layers": 2,
    "num_heads": 4,
    "hidden_dim": 24,
    "intermediate_dim": 32,
    "max_sequence_length": 20,
}
BACKBONES = {
    **dict.fromkeys(("BertBackbone", "DistilBertBackbone", "RobertaBackbone", "XLMRobertaBackbone"), BERT),
    "DebertaV3Backbone": BERT | {"bucket_size": 8},
    "AlbertBackbone": BERT | {"embedding_dim": 8},
    "FNetBackbone": {key: value for key, value in BERT.items() if key != "num_heads"},
    "ElectraBackbone": {
        "vocab_size": 60,
        "embedding_dim": 24,
        **{k: v for k, v in BERT.items() if k != "vocabulary_size"},
    },
}
PADDED = np.array([[0, 9, 33, 59, 2, 1, 1, 1], [0, 7, 2, 1, 1, 1, 1, 1], [0, 5, 6, 7, 8, 9, 3, 2]])


def near(found: Any, wanted: Any) -> None:
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=CLOSE * np.abs(wanted).max(), rtol=0)
    assert np.ptp(wanted) > 0


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seeded weights in a file."""
    torch.manual_seed(2)
    path = tmp_path_factory.mktemp("weights") / "roberta.pt"
    torch.save(Roberta(_embed.torchtext_config("ROBERTA_BASE_ENCODER", SIZES)).state_dict(), path)
    return path


def of_torchtext(path: Path, **given: Any) -> Embed:
    return Embed.model_validate(
        {"model": "ROBERTA_BASE_ENCODER", "library": "torchtext", "file": path, "sizes": ROBERTA, **given}
    )


def former(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights by the names that torchtext's published files have."""
    named = {new: old for old, new in _FORMER.items()}
    changed = re.compile(rf"layers\.layers\.(\d+\.)({'|'.join(map(re.escape, named))})")
    return {changed.sub(lambda m: f"layers.{m[1]}{named[m[2]]}", name): value for name, value in state.items()}


@pytest.mark.needs("torchtext")
@pytest.mark.parametrize("names", ["today's", "of published files"])
@pytest.mark.parametrize("hidden", [False, True], ids=["with torchtext", "without"])
@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_torchtext(
    pooling: str, hidden: bool, names: str, roberta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each text of a padded batch is as torchtext gives it alone, without padding; also where it cannot be loaded."""
    from torchtext.models import RobertaBundle, RobertaEncoderConf

    state = torch.load(roberta, weights_only=True)
    model = RobertaBundle.build_model(RobertaEncoderConf(**ROBERTA), checkpoint=dict(state)).eval()
    path = tmp_path / "w.pt"
    torch.save(state if names == "today's" else former(state), path)
    if hidden:
        monkeypatch.setattr(companions, "why_not", no_library)
    found = of_torchtext(path, pooling=pooling).bind_torch(ids(60, 8))(torch.from_numpy(PADDED))
    for row, tokens in zip(found, PADDED, strict=True):
        with torch.no_grad():
            states = model(torch.from_numpy(tokens[tokens != 1])[None])[0]
        near(row, states[0] if pooling == "first" else states.mean(0))


def test_a_row_of_padding_is_0(roberta: Path) -> None:
    for pooling in ("first", "mean"):
        kernel = of_torchtext(roberta, pooling=pooling).bind_torch(ids(60, 8))
        found = kernel(torch.from_numpy(np.vstack([PADDED, np.ones((1, 8), np.int64)])))
        assert not found[-1].any()
        assert found[:-1].any(1).all()
        near(found[:-1], kernel(torch.from_numpy(PADDED)))


def test_padding_may_come_first(roberta: Path) -> None:
    """With nested tensors, torchtext would take the first tokens of such a row for its text."""
    kernel = of_torchtext(roberta, pooling="mean").bind_torch(ids(60))
    near(kernel(torch.tensor([1, 1, 0, 9, 33])), kernel(torch.tensor([0, 9, 33])))


@pytest.fixture(scope="module")
def presets(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """presets(name): a seeded encoder of keras-hub, and the folder that its own save_to_preset has written."""
    made: dict[str, tuple[Any, Path]] = {}

    def make(name: str) -> tuple[Any, Path]:
        if name not in made:
            import keras
            import keras_hub

            keras.utils.set_random_seed(4)
            model = getattr(keras_hub.models, name)(**BACKBONES[name])
            folder = tmp_path_factory.mktemp(name)
            model.save_to_preset(str(folder))
            made[name] = model, folder
        return made[name]

    return make


@pytest.mark.parametrize("name", BACKBONES if TEXT_OPS else [])
def test_keras_hub(name: str, presets: Any) -> None:
    model, folder = presets(name)
    step = Embed(model=name, library="keras_hub", file=folder / "model.weights.h5", pooling="mean", pad=1)
    first = step.model_copy(update={"pooling": "first"})
    spec = ids(60, 8)
    given = {"token_ids": PADDED, "padding_mask": (PADDED != 1).astype(int), "segment_ids": PADDED * 0}
    states = model.predict_on_batch({put.name: given[put.name] for put in model.inputs})
    states = states["sequence_output"] if isinstance(states, dict) else states
    near(first.bind_tensorflow(spec)(PADDED), states[:, 0])
    means = np.stack([rows[kept].mean(0) for rows, kept in zip(states, PADDED != 1, strict=True)])
    near(step.bind_tensorflow(spec)(PADDED), means)
    assert step.out_spec(spec).shape == (24,)


@pytest.mark.parametrize("name", ["BertBackbone"] * TEXT_OPS)
def test_the_file_of_a_preset_is_what_keras_hub_loads(name: str, presets: Any) -> None:
    import keras_hub

    model, folder = presets(name)
    loaded = getattr(keras_hub.models, name).from_preset(str(folder))
    ours = _embed.load_keras(name, folder / "model.weights.h5")
    for one, other, third in zip(model.weights, loaded.weights, ours.weights, strict=True):
        assert np.array_equal(one, other)
        assert np.array_equal(one, third)
    assert model.get_config().items() >= _embed.keras_config(name, folder / "model.weights.h5").items()


@pytest.mark.parametrize("name", ["BertBackbone"] * TEXT_OPS)
def test_a_record_without_tokens_or_with_too_many(name: str, presets: Any, roberta: Path) -> None:
    import tensorflow as tf

    kernel = of_torchtext(roberta).bind_torch(ids(60))
    assert kernel(torch.zeros(20, dtype=torch.int64)).shape == (24,)
    step = Embed(model=name, library="keras_hub", file=presets(name)[1] / "model.weights.h5")
    graph = tf.function(step.bind_tensorflow(ids(60)), input_signature=[tf.TensorSpec([None], tf.int64)])
    assert graph(tf.zeros([20], tf.int64)).shape == (24,)
    for count in (0, 21):
        with pytest.raises(RecordError, match=f"expected 1 to 20 tokens, got {count}"):
            kernel(torch.zeros(count, dtype=torch.int64))
        with pytest.raises(tf.errors.InvalidArgumentError, match="expected 1 to 20 tokens"):
            graph(tf.zeros([count], tf.int64))


def test_what_flows_in(roberta: Path) -> None:
    step = of_torchtext(roberta)
    assert step.out_spec(ids(60)) == Spec("float32", (Axis("feature", 24),), "feature")
    for spec, says in [
        (ids(61), r"expected ids in \[0, 59\], the vocabulary of ROBERTA_BASE_ENCODER, got"),
        (ids(60).but(range=None), "expected ids in"),
        (ids(60, 21), "expected 1 to 20 tokens"),
        (Spec("text", (Axis("token"),)), "expected int64"),
    ]:
        with pytest.raises(SpecError, match=says):
            step.out_spec(spec)


def test_weights_of_another_model(tmp_path: Path, roberta: Path) -> None:
    step = of_torchtext(roberta, sizes=ROBERTA | {"num_encoder_layers": 4})
    with pytest.raises(
        SpecError, match=r"roberta\.pt does not fit the model: it has no encoder\.transformer\.layers\."
    ):
        step.bind_torch(ids(60))


def test_downloads_without_a_network(no_network: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    step = Embed(model="ROBERTA_DISTILLED_ENCODER", library="torchtext", download=True)
    assert step.out_spec(ids(50265)).shape == (768,)
    with pytest.raises(
        SourceError, match="the weights of torchtext's ROBERTA_DISTILLED_ENCODER could not be downloaded"
    ):
        step.bind_torch(ids(50265))
    assert no_network
    keras = Embed(model="BertBackbone", library="keras_hub", download="bert_tiny_en_uncased")
    assert keras.out_spec(ids(30522)).shape == (128,)
    if TEXT_OPS:
        with pytest.raises(
            SourceError, match="the weights of keras-hub's bert_tiny_en_uncased could not be downloaded"
        ):
            keras.bind_tensorflow(ids(30522))


CONFIG = """\
framework: torch
source: {lines: {path: lines.txt}}
fields:
  features:
    from: text
    steps:
      - text.basic_english
      - text.vocab: {file: words.txt}
      - text.truncate: {length: 20}
      - text.embed:
          {model: ROBERTA_BASE_ENCODER, library: torchtext, file: w.pt, sizes: SIZES}
batch: {size: 2}
"""


def test_a_whole_run(
    tmp_path: Path,
    roberta: Path,
    no_network: list[Any],  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG.replace("SIZES", json.dumps(ROBERTA)), "utf-8")
    (tmp_path / "lines.txt").write_text("a red circle\nbelow a blue square it is\na\n", "utf-8")
    (tmp_path / "words.txt").write_text("<s>\n<pad>\n<unk>\na\nred\ncircle\nbelow\n", "utf-8")
    (tmp_path / "w.pt").write_bytes(roberta.read_bytes())
    manifest = written(path, tmp_path / "out")
    digest = hashlib.sha256(roberta.read_bytes()).hexdigest()
    entry = {"field": "features", "step": "text.embed", "model": "ROBERTA_BASE_ENCODER", "library": "torchtext"}
    assert manifest["header"]["weights"] == [entry | {"weights": "w.pt", "sha256": digest, "licence": "not stated"}]
    assert manifest["counts"]["delivered"] == 3
    assert no_network == []
    with pytest.raises(ConfigError, match=r"c\.yaml:10: text\.embed runs on torch only, since its weights belong"):
        planned(path, "tensorflow")
    cli.app(["check", str(path)], standalone_mode=False)
    assert "one framework, exempt from parity" in " ".join(capsys.readouterr().out.split())
