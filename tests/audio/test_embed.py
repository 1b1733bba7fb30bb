"""Features of pretrained speech models: a bundle of torchaudio, put together by torchaudio itself, gives the same."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from audio.conftest import Run
from pretrained import no_network, one_thread, planned, written  # noqa: F401  # fixtures among them
from torchaudio import pipelines as bundles

import pipelines
from pipelines import cli
from pipelines.audio import Embed, _embed
from pipelines.errors import ConfigError, RecordError, SourceError, SpecError
from pipelines.spec import PER_RECORD, waveform

pytestmark = pytest.mark.usefixtures("one_thread")
CLOSE = 1e-5  # of the peak: float32 sums of one wave and of several come in another order
SIZES: dict[str, Any] = {
    "extractor_conv_layer_config": ((16, 10, 5), (12, 3, 2), (12, 2, 2)),
    "encoder_embed_dim": 24,
    "encoder_pos_conv_kernel": 8,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 3,
    "encoder_num_heads": 4,
    "encoder_ff_interm_features": 32,
}
MODELS = ("WAV2VEC2_BASE", "WAV2VEC2_ASR_LARGE_LV60K_10M", "HUBERT_ASR_LARGE", "WAVLM_LARGE", "MMS_FA")


class Library:
    """torchaudio's own bundle, made small, with seeded weights instead of its download."""

    def __init__(self, name: str, folder: Path) -> None:
        published = getattr(bundles, name)
        torch.manual_seed(11)
        params = published._params | SIZES | {"extractor_conv_layer_config": list(SIZES["extractor_conv_layer_config"])}
        factory = torchaudio_factory(published._model_type)
        state = factory(**params).state_dict()  # with the recognizing layer, where the bundle has one
        self.file = folder / f"{name}.pth"
        torch.save(state, self.file)
        fields = (published._path, params, published._sample_rate, published._normalize_waveform, published._model_type)
        small = bundles.Wav2Vec2Bundle(*fields)
        small._get_state_dict = lambda dl_kwargs: torch.load(self.file, weights_only=True)
        self.model = small.get_model()

    def features(self, wave: np.ndarray[Any, Any], layer: int | None = None) -> np.ndarray[Any, Any]:
        """Of one wave alone."""
        with torch.no_grad():
            given = torch.from_numpy(wave)[None]
            if layer is not None:
                found: np.ndarray[Any, Any] = self.model.extract_features(given)[0][layer - 1][0].numpy()
                return found
            encoder = getattr(self.model, "model", self.model)
            encoder.aux = None  # what is handed to the recognizing layer
            last: np.ndarray[Any, Any] = self.model(given)[0][0].numpy()
            return last


def torchaudio_factory(kind: str) -> Any:
    from torchaudio import models

    return models.wavlm_model if kind == "WavLM" else models.wav2vec2_model


@pytest.fixture
def wave(rng: np.random.Generator) -> np.ndarray[Any, Any]:
    made = 0.3 * np.sin(np.arange(1777) / 9) + 0.1 * rng.normal(size=1777) + 0.05
    return np.asarray(made, np.float32)


def near(found: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> None:
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=CLOSE * np.abs(wanted).max(), rtol=0)
    assert np.ptp(wanted) > 0


@pytest.mark.parametrize("name", MODELS)
def test_torchaudios_own_bundle(name: str, tmp_path: Path, run: Run, wave: np.ndarray[Any, Any]) -> None:
    library = Library(name, tmp_path)
    for layer in (None, 1, 3):
        step = Embed(model=name, file=library.file, layer=layer, pooling="none", sizes=SIZES)
        wanted = library.features(wave, layer)
        found = run(step, waveform(16000), wave, "torch")
        near(found, wanted)
        assert step.out_spec(waveform(16000, time=1777)).shape == wanted.shape
        mean = step.model_copy(update={"pooling": "mean"})
        near(run(mean, waveform(16000), wave, "torch"), wanted.mean(0))


def test_records_of_a_batch_do_not_change_each_other(tmp_path: Path, wave: np.ndarray[Any, Any]) -> None:
    """torchaudio normalizes a batch as a whole; a quiet wave beside a loud one would get other features."""
    library = Library("HUBERT_LARGE", tmp_path)
    spec = waveform(16000, time=len(wave))
    kernel = Embed(model="HUBERT_LARGE", file=library.file, pooling="none", sizes=SIZES).bind_torch(spec)
    batch = np.stack([wave, 40 * wave[::-1] - 3, 0 * wave])
    found = kernel(torch.from_numpy(batch)).numpy()
    for row, one in zip(found, batch, strict=True):
        np.testing.assert_allclose(row, library.features(one), atol=CLOSE * np.abs(row).max())
    with torch.no_grad():
        together = library.model(torch.from_numpy(batch))[0].numpy()
    assert np.abs(together - found).max() > 0.01


def test_weights_of_a_whole_bundle_are_taken(tmp_path: Path, run: Run, wave: np.ndarray[Any, Any]) -> None:
    """get_model() of a bundle that normalizes puts the model inside another; its state dict says model. everywhere."""
    library = Library("WAVLM_LARGE", tmp_path)
    assert all(name.startswith("model.") for name in library.model.state_dict())
    torch.save(library.model.state_dict(), tmp_path / "wrapped.pt")
    files = (library.file, tmp_path / "wrapped.pt")
    steps = [Embed(model="WAVLM_LARGE", file=file, sizes=SIZES) for file in files]
    one, other = (run(step, waveform(16000), wave, "torch") for step in steps)
    assert np.array_equal(one, other)


def test_every_bundle_is_known() -> None:
    found = {n: getattr(bundles, n) for n in bundles.__all__ if hasattr(getattr(bundles, n), "_model_type")}
    assert _embed.SIZES.keys() == found.keys()
    for name, bundle in found.items():
        params = bundle._params
        assert _embed.SIZES[name] == (params["encoder_embed_dim"], params["encoder_num_layers"])
        assert tuple(params["extractor_conv_layer_config"]) == _embed.CONVOLUTIONS
        assert bundle.sample_rate == _embed.RATE_HZ
        said = bundle.__doc__.replace("CC-BY-NC", "CC BY-NC")
        assert [one for one in ("MIT", "CC BY-NC 4.0") if f"{one} " in said] == [_embed.licence(name)], name


@pytest.mark.parametrize("samples", [400, 719, 720, 16000])
def test_frames_of_the_published_models(samples: int) -> None:
    """Counted by the convolutions themselves."""
    layers = [torch.nn.Conv1d(1, 1, kernel, stride) for _, kernel, stride in _embed.CONVOLUTIONS]
    with torch.no_grad():
        assert torch.nn.Sequential(*layers)(torch.zeros(1, 1, samples)).shape[-1] == _embed.Architecture().frames(
            samples
        )
    assert _embed.Architecture().least() == 400
    assert _embed.Architecture().frames(399) == 0


def test_what_flows_in(tmp_path: Path) -> None:
    library = Library("WAV2VEC2_BASE", tmp_path)
    step = Embed(model="WAV2VEC2_BASE", file=library.file, sizes=SIZES)
    least = step.sizes.least()
    refused = [
        (waveform(8000), "expected 16000 Hz, .*put audio.resample before"),
        (waveform(PER_RECORD), "each record has its own"),
        (waveform(16000, time=least - 1), f"expected at least {least} samples"),
    ]
    for spec, says in refused:
        with pytest.raises(SpecError, match=says):
            step.out_spec(spec)
    kernel = step.bind_torch(waveform(16000))
    assert kernel(torch.zeros(least)).shape == (24,)
    with pytest.raises(RecordError, match=f"expected at least {least} samples, got {least - 1}"):
        kernel(torch.zeros(least - 1))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"model": "WAV2VEC_BASE"}, "model='WAV2VEC_BASE' is none of the models of torchaudio .*mean 'WAV2VEC2_BASE'"),
        ({"model": "TACOTRON2_WAVERNN_CHAR_LJSPEECH"}, "none of the models of torchaudio"),
        ({"layer": 13}, "layer=13 must be <= 12, the layers of WAV2VEC2_BASE"),
        ({"file": None, "download": "V1"}, "expected download: true, since a bundle has one set of weights"),
        ({"sizes": {"encoder_num_heads": 7}}, "encoder_num_heads=7 must divide encoder_embed_dim=768"),
    ],
)
def test_wrong_parameters(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Embed.model_validate({"model": "WAV2VEC2_BASE", "file": "w.pth", **given})


def test_weights_of_another_model(tmp_path: Path) -> None:
    step = Embed(model="WAVLM_BASE", file=Library("WAV2VEC2_BASE", tmp_path).file, sizes=SIZES)
    with pytest.raises(SpecError, match=r"WAV2VEC2_BASE\.pth does not fit the model: it has no encoder\.transformer\."):
        step.bind_torch(waveform(16000))


def test_a_download_without_a_network(no_network: list[Any]) -> None:  # noqa: F811
    step = Embed(model="WAV2VEC2_BASE", download=True)
    assert step.out_spec(waveform(16000)).shape == (768,)
    with pytest.raises(SourceError, match=r"the weights of torchaudio's WAV2VEC2_BASE could not be downloaded"):
        step.bind_torch(waveform(16000))
    assert no_network


CONFIG = """\
framework: torch
source:
  folder: {path: sounds, files: "*.wav"}
fields:
  features:
    from: file
    steps:
      - audio.decode: {channels: mono}
      - audio.resample: {rate_hz: 16000}
      - audio.embed:
          model: HUBERT_BASE
          file: HUBERT_BASE.pth
          sizes: {extractor_conv_layer_config: [[16, 10, 5], [12, 3, 2], [12, 2, 2]], encoder_embed_dim: 24,
            encoder_pos_conv_kernel: 8, encoder_pos_conv_groups: 4, encoder_num_layers: 3, encoder_num_heads: 4,
            encoder_ff_interm_features: 32}
batch: {size: 2}
on_error: {at_most: 0.5}
"""


def test_a_whole_run(
    tmp_path: Path,
    wave: np.ndarray[Any, Any],
    no_network: list[Any],  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    library, path = Library("HUBERT_BASE", tmp_path), tmp_path / "c.yaml"
    path.write_text(CONFIG, "utf-8")
    (tmp_path / "sounds").mkdir()
    for name, samples in (("a", 1777), ("b", 900), ("short", 20)):
        soundfile.write(tmp_path / "sounds" / f"{name}.wav", wave[:samples], 16000, subtype="FLOAT")
    manifest = written(path, tmp_path / "out")
    digest = hashlib.sha256(library.file.read_bytes()).hexdigest()
    entry = {"field": "features", "step": "audio.embed", "model": "HUBERT_BASE", "library": "torchaudio"}
    entry |= {"weights": "HUBERT_BASE.pth", "sha256": digest, "licence": "not stated"}
    assert manifest["header"]["weights"] == [entry]
    assert (manifest["counts"]["delivered"], manifest["counts"]["quarantined"]) == (2, 1)  # one gives no frame
    batch = next(iter(pipelines.load(path)))
    near(batch["features"].numpy()[0], library.features(wave).mean(0))
    assert no_network == []
    with pytest.raises(ConfigError, match=r"c\.yaml:10: audio\.embed runs on torch only, since its weights belong"):
        planned(path, "tensorflow")
    cli.app(["check", str(path)], standalone_mode=False)
    assert "one framework, exempt from parity" in " ".join(capsys.readouterr().out.split())
