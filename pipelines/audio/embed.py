"""Features of a pretrained speech model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import PositiveInt, model_validator

from pipelines.audio import _checks, _embed
from pipelines.audio._embed import Architecture
from pipelines.errors import SpecError
from pipelines.spec import Axis, Spec, waveform
from pipelines.step import Close, Example, Kernel
from pipelines.weights import WeightsStep, need_model, on_device_of

_TINY = {
    "extractor_conv_layer_config": [[16, 10, 5], [16, 3, 2]],
    "encoder_embed_dim": 24,
    "encoder_pos_conv_kernel": 8,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 2,
    "encoder_num_heads": 4,
    "encoder_ff_interm_features": 32,
}


def _seeded(model: str) -> Any:
    """Writes small weights of no worth, the same for each run, for an example."""

    def write(folder: Path) -> dict[str, str]:
        import torch

        torch.manual_seed(0)
        path = folder / f"{model}.pth"
        torch.save(_embed.build(model, Architecture.model_validate(_TINY))[0].state_dict(), path)
        return {"file": str(path)}

    return write


class Embed(WeightsStep):
    """Features of a waveform by a pretrained speech model of torchaudio.

    Takes  float32[..., time]            waveform at 16000 Hz
    Gives  float32[..., feature]         the mean over all frames; pooling="none": float32[..., frame, feature]

    Runs on torch only, so a config with this step is exempt from parity. `model` is a bundle of torchaudio.pipelines:
    WAV2VEC2_BASE, HUBERT_LARGE, WAVLM_BASE_PLUS and the like. `layer` is the transformer layer whose output is
    given, from 1; left out, the model's own output: that of the last layer, normalized where the model does so.
    `file` holds weights: a state dict in .pt, .pth or .safetensors, with or without the recognizing layer;
    `download: true` has torchaudio get its own, of which it publishes no hash. `sizes` is for weights of one's own, of
    a model smaller or larger than the named one. `licence` is that of the weights, for the manifest. Fails for a
    waveform too short for one frame: 400 samples.

    Source: torchaudio.models.wav2vec2_model and wavlm_model with the bundle's parameters. Bundles that normalize
    waveforms do so over the whole batch, so that records would change each other; here each is normalized by itself.
    """

    library: Literal["torchaudio"] = "torchaudio"
    layer: PositiveInt | None = None
    pooling: Literal["mean", "none"] = "mean"
    sizes: Architecture = Architecture()

    agreement = Close(of_peak=2e-6, why="one framework only: float32 sums in another order in a batch")
    examples = (
        Example(waveform(16000), {"model": "WAV2VEC2_BASE", "sizes": _TINY}, files=_seeded("WAV2VEC2_BASE")),
        Example(
            waveform(16000, channels=2),
            {"model": "HUBERT_LARGE", "sizes": _TINY, "pooling": "none", "layer": 1},
            files=_seeded("HUBERT_LARGE"),
        ),
        Example(
            waveform(16000, time=1999),
            {"model": "WAVLM_BASE", "sizes": _TINY, "pooling": "none"},
            files=_seeded("WAVLM_BASE"),
        ),
    )

    @model_validator(mode="after")
    def _known(self) -> Embed:
        need_model(self.model, self.library, _embed.SIZES)
        if isinstance(self.download, str):
            raise ValueError(f"expected download: true, since a bundle has one set of weights, got {self.download}")
        layers = self.sizes.encoder_num_layers or _embed.SIZES[self.model][1]
        if self.layer is not None and self.layer > layers:
            raise ValueError(f"layer={self.layer} must be <= {layers}, the layers of {self.model}")
        width = self.sizes.encoder_embed_dim or _embed.SIZES[self.model][0]
        for name in ("encoder_num_heads", "encoder_pos_conv_groups"):
            if width % (getattr(self.sizes, name) or 1):
                raise ValueError(f"{name}={getattr(self.sizes, name)} must divide encoder_embed_dim={width}")
        return self

    def out_spec(self, x: Spec) -> Spec:
        x.need(("float32",), last=("time",))
        if x.need_rate() != _embed.RATE_HZ:
            raise SpecError(f"expected {_embed.RATE_HZ} Hz, got {x}; put audio.resample before this step")
        time = x.size("time")
        frames = None if time is None else self.sizes.frames(time)
        if frames == 0:
            raise SpecError(f"expected at least {self.sizes.least()} samples, got {x}")
        self.need_file()
        feature = Axis("feature", self.sizes.encoder_embed_dim or _embed.SIZES[self.model][0])
        kept = (feature,) if self.pooling == "mean" else (Axis("frame", frames), feature)
        return Spec("float32", (*x.axes[:-1], *kept), "feature")

    def fetched(self) -> Path:
        return _embed.bundle_file(self.model)

    def known_licence(self) -> str | None:
        return _embed.licence(self.model)

    def bind_torch(self, x: Spec) -> Kernel:
        import torch

        module, normalizes = _embed.load(self.model, self.sizes, self.weights())
        model, least = on_device_of(module), self.sizes.least()

        @torch.no_grad()
        def kernel(waves: torch.Tensor) -> torch.Tensor:
            _checks.at_least_torch(waves, least, "samples")
            flat = waves.reshape(-1, waves.shape[-1])
            if normalizes:
                flat = torch.nn.functional.layer_norm(flat, flat.shape[-1:])
            encoder: Any = model(flat)
            found = encoder(flat)[0] if self.layer is None else encoder.extract_features(flat, None, self.layer)[0][-1]
            pooled: torch.Tensor = found.mean(-2) if self.pooling == "mean" else found
            return pooled.reshape(*waves.shape[:-1], *pooled.shape[1:])

        return kernel
