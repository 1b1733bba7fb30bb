"""Features of a pretrained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from pipelines.errors import SpecError
from pipelines.image import _embed
from pipelines.spec import Axis, Spec, picture
from pipelines.step import Close, Example, Kernel
from pipelines.weights import WeightsStep, need_model, on_device_of, values_sha256


def _seeded(library: str, model: str, pooling: str = "mean") -> Any:
    """Writes small weights of no worth, the same for each run, for an example."""

    def write(folder: Path) -> dict[str, str]:
        path = folder / (f"{model}.pth" if library == "torchvision" else f"{model}.{pooling}.weights.h5")
        if library == "torchvision":
            import torch

            torch.manual_seed(0)
            torch.save(_embed.build_torchvision(model, 64, 64)[0].state_dict(), path)
        else:
            import keras

            keras.utils.set_random_seed(0)
            _embed.build_keras(model, 64, 64, pooling).save_weights(path)
        return {"file": str(path)}

    return write


class Embed(WeightsStep):
    """Features of a picture by a pretrained model of torchvision or of Keras.

    Takes  uint8[..., height, width, channel 3] in [0, 255] or float32 in [0, 1], one size for all pictures
    Gives  float32[..., feature]   torchvision: what the model's last linear layer, which classifies, is handed;
           Keras: the mean, or with pooling="max" the maximum, of each channel of the last layer's map

    `library` torchvision runs on torch only, keras on TensorFlow only: a config with this step is exempt from parity.
    `model` is a function of torchvision.models (resnet18, vit_b_16) or keras.applications (ResNet50, MobileNetV2).
    `file` holds weights: a state dict in .pt, .pth or .safetensors for torchvision, with or without the classifying
    layer; .weights.h5 or .h5 of the model without its top for Keras. `download: true` has the library get its own,
    `download: IMAGENET1K_V2` a set of torchvision's. `licence` is that of the weights, for the manifest. With `prepare`
    levels are brought to what the library's own weights want; without, float32 of any range goes to the model as it
    is, say after image.normalize.

    Source: torchvision.models.get_model; keras.applications with include_top=False, and its preprocess_input.
    """

    library: Literal["torchvision", "keras"]
    pooling: Literal["mean", "max"] = "mean"
    prepare: bool = True

    agreement = Close(of_peak=5e-6, why="one framework only: float32 sums in another order, in a batch and in a graph")
    examples = (
        Example(
            picture(64, 64),
            {"model": "shufflenet_v2_x0_5", "library": "torchvision"},
            files=_seeded("torchvision", "shufflenet_v2_x0_5"),
        ),
        Example(
            picture(64, 48, dtype="float32").but(range=None),
            {"model": "resnet18", "library": "torchvision", "prepare": False},
            files=_seeded("torchvision", "resnet18"),
        ),
        Example(picture(64, 64), {"model": "MobileNet", "library": "keras"}, files=_seeded("keras", "MobileNet")),
        Example(
            picture(64, 48, dtype="float32"),
            {"model": "MobileNet", "library": "keras", "pooling": "max"},
            files=_seeded("keras", "MobileNet", "max"),
        ),
    )

    @model_validator(mode="after")
    def _known(self) -> Embed:
        need_model(self.model, self.library, _embed.FEATURES[self.library])
        if self.library == "torchvision" and self.pooling != "mean":
            raise ValueError("pooling is for library: keras; models of torchvision pool as they were trained to")
        if self.library == "keras" and isinstance(self.download, str) and self.download != "imagenet":
            raise ValueError(f"expected download: true or imagenet, the weights that Keras has, got {self.download}")
        return self

    def out_spec(self, x: Spec) -> Spec:
        x.need(("uint8", "float32") if self.prepare else ("float32",), last=("height", "width", "channel"))
        if x.size("channel") != 3:
            raise SpecError(f"expected 3 channels, got {x}")
        if None in x.shape[-3:]:
            raise SpecError(f"expected pictures of one size, got {x}; put image.resize or image.crop before this step")
        if self.prepare and x.dtype == "float32" and x.range not in (None, (0.0, 1.0)):
            raise SpecError(f"expected levels in [0, 1], got {x}; prepare: false gives the model what is normalized")
        self.need_file()
        return Spec("float32", (*x.axes[:-3], Axis("feature", _embed.FEATURES[self.library][self.model])), "feature")

    def fetched(self) -> Path:
        return _embed.torchvision_file(self.model, self.download)

    def known_licence(self) -> str | None:
        if self.library == "keras":
            return None
        found = _embed.torchvision_set(self.model, self.download).meta.get("license")
        return None if found is None else str(found)

    def entry(self) -> dict[str, str]:
        if self.library != "keras" or self.file is not None:
            return super().entry()
        least = 331 if self.model == "NASNetLarge" else 224
        values = _embed.fetch_keras(self.model, least, least, self.pooling).get_weights()
        return self.described("imagenet, by their values", values_sha256(values))

    def bind_torch(self, x: Spec) -> Kernel:
        import torch
        from torchvision.transforms.v2 import functional as F

        (height, width), features = self._sizes(x), _embed.FEATURES[self.library][self.model]
        module = _embed.load_torchvision(self.model, height, width, self.weights())
        model = on_device_of(module)
        mean, deviation = map(list, _embed.mean_and_deviation(self.model))

        @torch.no_grad()
        def kernel(pictures: torch.Tensor) -> torch.Tensor:
            flat = pictures.reshape(-1, 3, height, width)
            if self.prepare:
                flat = F.normalize(F.to_dtype(flat, torch.float32, scale=True), mean, deviation)
            found: torch.Tensor = model(flat)(flat)
            return found.reshape(*pictures.shape[:-3], features)

        try:
            kernel(torch.zeros(1, 3, height, width))
        except Exception as error:  # each model has its own least size, and its own way to say so
            raise SpecError(f"{self.model} takes no pictures of {height} x {width}: {error}") from error
        return kernel

    def bind_tensorflow(self, x: Spec) -> Kernel:
        import tensorflow as tf

        (height, width), out = self._sizes(x), self.out_spec(x)
        found = (self.model, height, width, self.pooling)
        model = _embed.fetch_keras(*found) if self.file is None else _embed.load_keras(*found, self.file)
        if model.output_shape[-1] != out.shape[-1]:
            raise SpecError(f"{self.model} gives {model.output_shape[-1]} features, expected {out.shape[-1]}")
        prepared = _embed.keras_prepares(self.model) if self.prepare else None

        def kernel(pictures: tf.Tensor) -> tf.Tensor:
            flat = tf.reshape(pictures, [-1, height, width, 3])
            if prepared is not None:
                flat = prepared(tf.image.convert_image_dtype(flat, tf.float32) * 255.0)
            features = tf.reshape(model(flat, training=False), tf.concat([tf.shape(pictures)[:-3], out.shape[-1:]], 0))
            return tf.ensure_shape(features, [*pictures.shape[:-3], *out.shape[-1:]])

        return kernel

    def _sizes(self, x: Spec) -> tuple[int, int]:
        return x.size("height") or 0, x.size("width") or 0
