"""Models of torchvision and of Keras without their classifying layer: their features, and how each is built."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import SpecError, nearest
from pipelines.weights import downloading, fill_keras, fill_torch, from_hub, need_keras, read_torch

if TYPE_CHECKING:
    import torch

_TORCHVISION = {
    400: "regnet_x_400mf",
    440: "regnet_y_400mf",
    512: "maxvit_t resnet18 resnet34",
    672: "regnet_x_800mf",
    768: "convnext_small convnext_tiny swin_s swin_t swin_v2_s swin_v2_t vit_b_16 vit_b_32",
    784: "regnet_y_800mf",
    888: "regnet_y_1_6gf",
    912: "regnet_x_1_6gf",
    1008: "regnet_x_3_2gf",
    1024: "convnext_base densenet121 googlenet mobilenet_v3_small shufflenet_v2_x0_5 shufflenet_v2_x1_0"
    " shufflenet_v2_x1_5 swin_b swin_v2_b vit_l_16 vit_l_32",
    1280: "efficientnet_b0 efficientnet_b1 efficientnet_v2_l efficientnet_v2_m efficientnet_v2_s mnasnet0_5 mnasnet0_75"
    " mnasnet1_0 mnasnet1_3 mobilenet_v2 mobilenet_v3_large vit_h_14",
    1408: "efficientnet_b2",
    1512: "regnet_y_3_2gf",
    1536: "convnext_large efficientnet_b3",
    1664: "densenet169",
    1792: "efficientnet_b4",
    1920: "densenet201 regnet_x_8gf",
    2016: "regnet_y_8gf",
    2048: "efficientnet_b5 inception_v3 regnet_x_16gf resnet101 resnet152 resnet50 resnext101_32x8d resnext101_64x4d"
    " resnext50_32x4d shufflenet_v2_x2_0 wide_resnet101_2 wide_resnet50_2",
    2208: "densenet161",
    2304: "efficientnet_b6",
    2520: "regnet_x_32gf",
    2560: "efficientnet_b7",
    3024: "regnet_y_16gf",
    3712: "regnet_y_32gf",
    4096: "alexnet vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn",
    7392: "regnet_y_128gf",
}
_KERAS = {
    512: "VGG16 VGG19",
    576: "MobileNetV3Small",
    768: "ConvNeXtSmall ConvNeXtTiny",
    960: "MobileNetV3Large",
    1024: "ConvNeXtBase DenseNet121 MobileNet",
    1056: "NASNetMobile",
    1280: "EfficientNetB0 EfficientNetB1 EfficientNetV2B0 EfficientNetV2B1 EfficientNetV2L EfficientNetV2M "
    "EfficientNetV2S MobileNetV2",
    1408: "EfficientNetB2 EfficientNetV2B2",
    1536: "ConvNeXtLarge EfficientNetB3 EfficientNetV2B3 InceptionResNetV2",
    1664: "DenseNet169",
    1792: "EfficientNetB4",
    1920: "DenseNet201",
    2048: "ConvNeXtXLarge EfficientNetB5 InceptionV3 ResNet101 ResNet101V2 ResNet152 ResNet152V2 ResNet50 ResNet50V2"
    " Xception",
    2304: "EfficientNetB6",
    2560: "EfficientNetB7",
    4032: "NASNetLarge",
}
FEATURES: Mapping[str, Mapping[str, int]] = {
    library: {name: count for count, names in table.items() for name in names.split()}
    for library, table in (("torchvision", _TORCHVISION), ("keras", _KERAS))
}
"""Features of each model. torchvision's squeezenets classify by a convolution and have no vector of features."""

_PREPARED_BY = {
    "ConvNeXt": "convnext",
    "DenseNet": "densenet",
    "EfficientNetB": "efficientnet",
    "EfficientNetV2": "efficientnet_v2",
    "InceptionResNetV2": "inception_resnet_v2",
    "InceptionV3": "inception_v3",
    "MobileNet": "mobilenet",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV3": "mobilenet_v3",
    "NASNet": "nasnet",
    "ResNet": "resnet",
    "VGG16": "vgg16",
    "VGG19": "vgg19",
    "Xception": "xception",
}
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)")


def mean_and_deviation(model: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What torchvision's own weights of a model want levels in [0, 1] normalized by."""
    return ((0.5,) * 3, (0.5,) * 3) if model == "efficientnet_v2_l" else _IMAGENET


def torchvision_set(model: str, name: str | bool) -> Any:
    """One of torchvision's sets of weights for a model: its default, or the one called `name`."""
    from torchvision import models

    sets = models.get_model_weights(model)
    known = [one.name for one in sets if one.name != "IMAGENET1K_FEATURES"]  # VGG16 without its dense layers
    if isinstance(name, str) and name not in (*known, "DEFAULT"):
        raise SpecError(
            f"torchvision has no weights {name!r} of {model}{nearest(name, known)}; it has {', '.join(known)}"
        )
    return sets["DEFAULT" if name is True else str(name)]


def torchvision_file(model: str, name: str | bool) -> Path:
    """The file that torchvision downloads of a set of weights, with the hash in its name checked."""
    return from_hub(torchvision_set(model, name).url, f"torchvision's {model}", hashed=True)


def build_torchvision(model: str, height: int, width: int) -> tuple[torch.nn.Module, tuple[str, ...]]:
    """A model of torchvision that gives what its last linear layer is handed, and the names that it does not need."""
    from torch import nn
    from torchvision import models

    options: dict[str, Any] = {}
    if model.startswith("vit_"):
        if height != width:
            raise SpecError(f"{model} takes square pictures, got {height} x {width}")
        options["image_size"] = height
    elif model in ("googlenet", "inception_v3"):  # their published weights want it so
        options = {"transform_input": True, "aux_logits": False, "init_weights": False}
    try:
        module: nn.Module = models.get_model(model, weights=None, **options)
    except Exception as error:  # such as a ViT's picture that is no multiple of its patches
        raise SpecError(f"{model} takes no pictures of {height} x {width}: {error}") from error
    head = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)][-1]
    parent, _, last = head.rpartition(".")
    setattr(module.get_submodule(parent), last, nn.Identity())
    return module, (f"{head}.", "aux1.", "aux2.", "AuxLogits.")


def load_torchvision(model: str, height: int, width: int, path: Path) -> torch.nn.Module:
    """A model of torchvision with the weights of a file, in evaluation mode."""
    module, unused = build_torchvision(model, height, width)
    state = read_torch(path)
    if model.startswith("densenet"):  # torchvision's own files are older than the names of its layers
        state = {_OLD_DENSENET.sub(r"\1", name): value for name, value in state.items()}
    fill_torch(module, state, path, unused)
    return module


def build_keras(model: str, height: int, width: int, pooling: str, weights: str | None = None) -> Any:
    """A model of keras.applications that gives pooled features; `weights` "imagenet" has Keras download its own."""
    import tensorflow as tf

    keras = need_keras()
    try:
        with tf.device("CPU:0"):  # where the graph runs
            return getattr(keras.applications, model)(
                include_top=False,
                weights=weights,
                input_shape=(height, width, 3),
                pooling={"mean": "avg", "max": "max"}[pooling],
            )
    except ValueError as error:
        raise SpecError(f"{model} takes no pictures of {height} x {width}: {error}") from error


def load_keras(model: str, height: int, width: int, pooling: str, path: Path) -> Any:
    """A model of keras.applications with the weights of a file."""
    built = build_keras(model, height, width, pooling)
    fill_keras(built, path)
    return built


def keras_prepares(model: str) -> Any:
    """The function of keras.applications that brings levels in [0, 255] to what a model's own weights want."""
    version = "V2" if model.startswith("ResNet") and model.endswith("V2") else ""
    family = max((name for name in _PREPARED_BY if model.startswith(name)), key=len)
    module = _PREPARED_BY[family] + ("_v2" if version else "")
    return getattr(need_keras().applications, module).preprocess_input


def fetch_keras(model: str, height: int, width: int, pooling: str) -> Any:
    """A model of keras.applications with the weights that Keras downloads for it."""
    with downloading(f"Keras's {model}"):
        built = build_keras(model, height, width, pooling, "imagenet")
    built.trainable = False
    return built
