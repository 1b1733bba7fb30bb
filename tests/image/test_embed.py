"""Features of pretrained models of pictures: the library's own model, called directly, gives the same."""

from __future__ import annotations

import hashlib
import importlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from image.conftest import Run
from PIL import Image
from pretrained import no_network, one_thread, planned, written  # noqa: F401  # fixtures among them
from torchvision import models
from torchvision.transforms._presets import ImageClassification

import pipelines
from pipelines import cli
from pipelines.errors import ConfigError, SourceError, SpecError
from pipelines.image import Embed, _embed
from pipelines.native import to_native
from pipelines.spec import picture

pytestmark = pytest.mark.usefixtures("one_thread")
CLOSE = 1e-5  # of the peak: float32 sums of one picture and of three come in another order


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


def full_model(name: str, **options: Any) -> torch.nn.Module:
    """A model with its classifying layer, and statistics of its own in its normalizations."""
    torch.manual_seed(3)
    model: torch.nn.Module = models.get_model(name, weights=None, **options).eval()
    for buffer_name, buffer in model.named_buffers():
        if buffer_name.endswith(("running_mean", "running_var")):
            torch.nn.init.uniform_(buffer, *((0.5, 1.5) if buffer_name.endswith("var") else (-0.2, 0.2)))
    return model


def handed_to_the_last(model: torch.nn.Module, pictures: torch.Tensor) -> np.ndarray[Any, Any]:
    """What the last linear layer is handed: seen by a hook, not by cutting the layer off."""
    seen: list[torch.Tensor] = []
    last = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)][-1]
    handle = last.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        model(pictures)
    handle.remove()
    return np.asarray(seen[0])


def levels(rng: np.random.Generator, size: int = 64) -> np.ndarray[Any, Any]:
    return rng.integers(0, 256, (3, size, size, 3), dtype=np.uint8)


def near(found: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> None:
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=CLOSE * np.abs(wanted).max(), rtol=0)
    assert np.ptp(wanted) > 0


@pytest.mark.parametrize(
    ("name", "options"),
    [("resnet18", {}), ("mobilenet_v3_small", {}), ("densenet121", {}), ("googlenet", {"transform_input": True})],
)
def test_torchvision(name: str, options: dict[str, Any], folder: Path, run: Run, rng: np.random.Generator) -> None:
    model = full_model(name, **options, **({"init_weights": False} if name == "googlenet" else {}))
    path = folder / f"{name}.pth"
    torch.save(model.state_dict(), path)
    step, spec = Embed(model=name, library="torchvision", file=path), picture(64, 64)
    prepared = ImageClassification(crop_size=64, resize_size=64)  # of the library's own weights
    for value in levels(rng):
        wanted = handed_to_the_last(model, prepared(to_native(value, spec, "torch"))[None])[0]
        near(run(step, spec, value, "torch"), wanted)
    assert step.out_spec(spec).shape == wanted.shape


def test_normalized_pictures_go_to_the_model_as_they_are(folder: Path, run: Run, rng: np.random.Generator) -> None:
    model, spec = full_model("resnet18"), picture(70, 45, dtype="float32").but(range=(-2.2, 2.7))
    path = folder / "as_it_is.pt"
    torch.save({n: v for n, v in model.state_dict().items() if not n.startswith("fc.")}, path)  # without the last layer
    step = Embed(model="resnet18", library="torchvision", file=path, prepare=False)
    value = rng.normal(size=(70, 45, 3)).astype(np.float32)
    near(run(step, spec, value, "torch"), handed_to_the_last(model, to_native(value, spec, "torch")[None])[0])
    with pytest.raises(SpecError, match=r"expected levels in \[0, 1\], got .*prepare: false"):
        Embed(model="resnet18", library="torchvision", file=path).out_spec(spec)


def test_old_names_of_densenet_are_known(folder: Path, run: Run, rng: np.random.Generator) -> None:
    """torchvision's own densenet files say norm.1 where its layers are called norm1."""
    state = full_model("densenet121").state_dict()
    paths = [folder / "new.pth", folder / "old.pth"]
    torch.save(state, paths[0])
    dotted = {  # and counts no batches
        n.replace("norm1", "norm.1").replace("norm2", "norm.2").replace("conv1", "conv.1").replace("conv2", "conv.2")
        if "denselayer" in n
        else n: v
        for n, v in state.items()
        if not n.endswith("tracked")
    }
    assert dotted.keys() != state.keys()
    torch.save(dotted, paths[1])
    steps = [Embed(model="densenet121", library="torchvision", file=path) for path in paths]
    new, old = (run(step, picture(64, 64), levels(rng)[0] * 0 + 99, "torch") for step in steps)
    assert np.array_equal(new, old)


@pytest.mark.parametrize(("name", "pooling"), [("MobileNet", "mean"), ("MobileNetV3Small", "max"), ("VGG16", "mean")])
def test_keras(name: str, pooling: str, folder: Path, run: Run, rng: np.random.Generator) -> None:
    """Of three ways to prepare pictures: to [-1, 1], inside the model, and as Caffe did."""
    import keras

    keras.utils.set_random_seed(5)
    applications, path = keras.applications, folder / f"{name}.weights.h5"
    model = getattr(applications, name)(
        include_top=False, weights=None, input_shape=(64, 64, 3), pooling={"mean": "avg"}.get(pooling, pooling)
    )
    model.save_weights(path)
    prepare = {
        "MobileNet": applications.mobilenet.preprocess_input,
        "MobileNetV3Small": lambda pictures: pictures,
        "VGG16": applications.vgg16.preprocess_input,
    }[name]
    values = levels(rng)
    wanted = model.predict_on_batch(prepare(values.astype(np.float32)))
    step = Embed(model=name, library="keras", file=path, pooling=pooling)
    for value, features in zip(values, wanted, strict=True):
        near(run(step, picture(64, 64), value, "tensorflow"), features)


CONFIG = """\
framework: {framework}
source:
  folder: {{path: pictures, files: "*.png"}}
fields:
  features:
    from: file
    steps:
      - image.decode
      - image.resize: {{size: [64, 64]}}
      - image.embed: {{model: {model}, library: {library}, {weights}}}
batch: {{size: 2}}
"""


@pytest.fixture
def config(tmp_path: Path, rng: np.random.Generator) -> Path:
    (tmp_path / "pictures").mkdir()
    for number, value in enumerate(levels(rng)):
        Image.fromarray(value).save(tmp_path / "pictures" / f"{number}.png")
    torch.save(full_model("resnet18").state_dict(), tmp_path / "w.pth")
    path = tmp_path / "c.yaml"
    text = CONFIG.format(framework="torch", model="resnet18", library="torchvision", weights="file: w.pth")
    path.write_text(text, "utf-8")
    return path


def test_the_manifest_says_which_weights(config: Path, tmp_path: Path, no_network: list[Any]) -> None:  # noqa: F811
    entry = {"field": "features", "step": "image.embed", "model": "resnet18", "library": "torchvision"}
    entry |= {"weights": "w.pth", "sha256": hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()}
    manifest = written(config, tmp_path / "out")
    assert manifest["header"]["weights"] == [entry | {"licence": "not stated"}]
    assert manifest["counts"]["delivered"] == 3
    before = pipelines.load(config).state()["config"]
    config.write_text(config.read_text("utf-8").replace("w.pth", "w.pth, licence: CC0-1.0"), "utf-8")
    torch.save(full_model("resnet18").state_dict() | {"fc.bias": torch.ones(1000)}, tmp_path / "w.pth")
    assert written(config, tmp_path / "again")["header"]["weights"][0]["licence"] == "CC0-1.0"
    after = pipelines.load(config).state()["config"]
    assert [name for name in before if before[name] != after[name]] == ["fields.features"]
    assert no_network == []


def test_a_whole_run_on_tensorflow(config: Path, tmp_path: Path, no_network: list[Any]) -> None:  # noqa: F811
    import keras

    model = _embed.build_keras("VGG16", 64, 64, "mean")  # of few layers: it is built four times here
    model.save_weights(tmp_path / "w.weights.h5")
    weights = "file: w.weights.h5"
    config.write_text(CONFIG.format(framework="tensorflow", model="VGG16", library="keras", weights=weights), "utf-8")
    header = written(config, tmp_path / "out")["header"]
    assert header["weights"][0]["sha256"] == hashlib.sha256((tmp_path / "w.weights.h5").read_bytes()).hexdigest()
    pipe = pipelines.load(config)
    batches = list(pipe)
    assert [len(batch["key"]) for batch in batches] == [2, 1]
    for batch in batches:
        for key, found in zip(batch["key"], batch["features"], strict=True):
            raw = (tmp_path / "pictures" / key.numpy().decode()).read_bytes()
            near(pipe.apply({"file": raw})["features"].numpy(), found.numpy())
            given = np.asarray(Image.open(io.BytesIO(raw)), np.float32)[None]
            wanted = model.predict_on_batch(keras.applications.vgg16.preprocess_input(given))
            near(found.numpy(), wanted[0])
    with pytest.raises(ConfigError, match=r"image\.embed runs on tensorflow only, since its weights belong to keras"):
        planned(config, "torch")
    assert no_network == []


def test_another_framework_is_a_fault_of_the_config(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    says = (
        "image.embed runs on torch only, since its weights belong to torchvision; expected framework: torch, got tensor"
    )
    with pytest.raises(ConfigError) as error:
        planned(config, "tensorflow")
    assert str(error.value).startswith(f"{config}:10: {says}")
    step = Embed(model="resnet18", library="torchvision", file=config.with_name("w.pth"))
    with pytest.raises(SpecError, match="runs on torch only"):
        pipelines.as_keras(step, spec=picture(64, 64))
    cli.app(["check", str(config)], standalone_mode=False)
    said = " ".join(capsys.readouterr().out.split())
    assert "one framework, exempt from parity: features: image.embed runs on torch only, since its weights" in said


def test_pictures_that_a_model_cannot_take(folder: Path) -> None:
    path = folder / "resnet.pth"
    torch.save(full_model("resnet18").state_dict(), path)
    step = Embed(model="resnet18", library="torchvision", file=path)
    for spec, says in [
        (picture(), "one size"),
        (picture(64, 64, 1), "3 channels"),
        (picture(0, 8), "takes no pictures"),
    ]:
        with pytest.raises(SpecError, match=says):
            step.bind_torch(spec) if spec.size("height") == 0 else step.out_spec(spec)
    for name, size, says in [("vit_b_16", (64, 48), "square"), ("vit_b_16", (50, 50), "takes no pictures of 50 x 50")]:
        with pytest.raises(SpecError, match=says):
            _embed.build_torchvision(name, *size)
    with pytest.raises(SpecError, match="MobileNet takes no pictures of 16 x 16"):
        _embed.build_keras("MobileNet", 16, 16, "mean")


def test_weights_of_another_model(folder: Path) -> None:
    path, keras_path = folder / "other.pth", folder / "other.weights.h5"
    torch.save(full_model("resnet34").state_dict(), path)
    with pytest.raises(SpecError, match=r"other\.pth does not fit the model: layer1\.2\.conv1\.weight has no place"):
        Embed(model="resnet18", library="torchvision", file=path).bind_torch(picture(64, 64))
    built = _embed.build_keras("VGG16", 64, 64, "mean")
    built.save_weights(keras_path)
    with pytest.raises(SpecError, match=r"other\.weights\.h5 does not fit the model mobilenet"):
        Embed(model="MobileNet", library="keras", file=keras_path).bind_tensorflow(picture(64, 64))
    with importlib.import_module("h5py").File(keras_path, "r+") as held:
        del held["layers/conv2d_1"]  # Keras may leave such a layer as chance has made it
    with pytest.raises(SpecError, match=r"other\.weights\.h5 does not fit the model vgg16: .*block1_conv2"):
        Embed(model="VGG16", library="keras", file=keras_path).bind_tensorflow(picture(64, 64))


def test_downloads_without_a_network(no_network: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    step = Embed(model="resnet18", library="torchvision", download=True)
    assert step.out_spec(picture(64, 64)).shape == (512,)
    with pytest.raises(SourceError, match=r"the weights of torchvision's resnet18 could not be downloaded"):
        step.bind_torch(picture(64, 64))
    with pytest.raises(SpecError, match=r"no weights 'IMAGENET1K_V2' of resnet18; did you mean 'IMAGENET1K_V1'"):
        step.model_copy(update={"download": "IMAGENET1K_V2"}).bind_torch(picture(64, 64))
    assert step.known_licence() is None
    swag = Embed(model="vit_b_16", library="torchvision", download="IMAGENET1K_SWAG_LINEAR_V1")
    assert str(swag.known_licence()).endswith("SWAG/blob/main/LICENSE")
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: "/nowhere")
    with pytest.raises(SourceError, match=r"the weights of Keras's MobileNet could not be downloaded"):
        Embed(model="MobileNet", library="keras", download=True).bind_tensorflow(picture(64, 64))
    assert no_network
    assert torchvision.__version__


def test_check_finds_weights_that_do_not_fit_with_their_line(tmp_path: Path) -> None:
    from PIL import Image

    from pipelines.config import read_config
    from pipelines.pipeline import weights_faults
    from pipelines.plan import compile_plan

    Image.new("RGB", (70, 70)).save(tmp_path / "a.png")
    torch.save(full_model("resnet34").state_dict(), tmp_path / "other.pth")
    path = tmp_path / "c.yaml"
    path.write_text(
        "framework: torch\nsource: {folder: {path: ., files: '*.png'}}\nfields:\n  x:\n    from: file\n    steps:\n"
        "      - image.decode\n      - image.resize: {size: [64, 64]}\n"
        "      - image.embed: {model: resnet18, library: torchvision, file: other.pth}\n"
    )
    config = read_config(path)
    plan, _ = compile_plan(config)
    (fault,) = weights_faults(config, plan)
    assert fault.place == f"{path}:9"
    assert "image.embed: " in fault.message
    assert "other.pth does not fit the model" in fault.message
