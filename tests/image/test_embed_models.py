"""What is known of the models of pictures before a library is loaded is what the libraries say."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torchvision import models
from torchvision.models import regnet

from pipelines.image import Embed, _embed


def test_every_model_of_torchvision_is_known() -> None:
    names = {name for name in models.list_models(module=models) if not name.startswith("squeezenet")}
    assert _embed.FEATURES["torchvision"].keys() == names


@pytest.mark.parametrize(
    "name", [n for n in _embed.FEATURES["torchvision"] if n.startswith(("resn", "mn", "vgg", "sh"))]
)
def test_features_of_torchvision(name: str) -> None:
    """Of the families that are quick to make; a model that gives another number is refused when it is bound."""
    with torch.device("meta"):
        last = [layer for layer in models.get_model(name).modules() if isinstance(layer, torch.nn.Linear)][-1]
    assert last.in_features == _embed.FEATURES["torchvision"][name]


def test_features_of_regnets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regnet, "_regnet", lambda block_params, *rest, **options: block_params)
    names = [name for name in _embed.FEATURES["torchvision"] if name.startswith("regnet")]
    assert len(names) == 15
    assert {n: getattr(regnet, n)().widths[-1] for n in names} == {n: _embed.FEATURES["torchvision"][n] for n in names}


def test_own_normalization_of_torchvisions_weights() -> None:
    for name in _embed.FEATURES["torchvision"]:
        for weights in models.get_model_weights(name):
            if weights.name != "IMAGENET1K_FEATURES":  # VGG16 without its dense layers is not offered
                preset = weights.transforms()
                assert (tuple(preset.mean), tuple(preset.std)) == _embed.mean_and_deviation(name)


def test_every_model_of_keras_is_known_with_its_preparation() -> None:
    from keras import applications

    families = [module for _, module in inspect.getmembers(applications, inspect.ismodule)]
    names = {name for name, _ in inspect.getmembers(applications, inspect.isfunction)}
    assert _embed.FEATURES["keras"].keys() == names
    for name in names:
        own = [m.preprocess_input for m in families if hasattr(m, name)] or [applications.mobilenet_v3.preprocess_input]
        assert _embed.keras_prepares(name) in own, name


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"model": "resnet19"}, r"model='resnet19' is none of the models of torchvision .*did you mean 'resnet18'"),
        ({"model": "squeezenet1_0"}, "is none of the models of torchvision"),
        ({"model": "resnet18", "library": "keras"}, "is none of the models of keras"),
        ({"model": "resnet18", "pooling": "max"}, "pooling is for library: keras"),
        ({"model": "VGG16", "library": "keras", "file": None, "download": "V2"}, "expected download: true or imagenet"),
    ],
)
def test_wrong_parameters(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Embed.model_validate({"library": "torchvision", "file": "w.pth", **given})
