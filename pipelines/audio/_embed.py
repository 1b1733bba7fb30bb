"""Speech models of torchaudio.pipelines: their sizes, and how one is built without its recognizing layer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from pipelines.weights import fill_torch, from_hub, read_torch

if TYPE_CHECKING:
    import torch

RATE_HZ = 16000
CONVOLUTIONS = ((512, 10, 5), *((512, 3, 2),) * 4, *((512, 2, 2),) * 2)
_BASE = (
    "WAV2VEC2_BASE WAV2VEC2_ASR_BASE_10M WAV2VEC2_ASR_BASE_100H WAV2VEC2_ASR_BASE_960H HUBERT_BASE WAVLM_BASE"
    " WAVLM_BASE_PLUS VOXPOPULI_ASR_BASE_10K_DE VOXPOPULI_ASR_BASE_10K_EN VOXPOPULI_ASR_BASE_10K_ES"
    " VOXPOPULI_ASR_BASE_10K_FR VOXPOPULI_ASR_BASE_10K_IT"
)
_LARGE = (
    "WAV2VEC2_LARGE WAV2VEC2_LARGE_LV60K WAV2VEC2_ASR_LARGE_10M WAV2VEC2_ASR_LARGE_100H WAV2VEC2_ASR_LARGE_960H"
    " WAV2VEC2_ASR_LARGE_LV60K_10M WAV2VEC2_ASR_LARGE_LV60K_100H WAV2VEC2_ASR_LARGE_LV60K_960H WAV2VEC2_XLSR53"
    " WAV2VEC2_XLSR_300M HUBERT_LARGE HUBERT_ASR_LARGE MMS_FA WAVLM_LARGE"
)
_GROUPS = {
    (768, 12): _BASE,
    (1024, 24): _LARGE,
    (1280, 48): "WAV2VEC2_XLSR_1B HUBERT_XLARGE HUBERT_ASR_XLARGE",
    (1920, 48): "WAV2VEC2_XLSR_2B",
}
SIZES: Mapping[str, tuple[int, int]] = {name: size for size, names in _GROUPS.items() for name in names.split()}
"""Features and transformer layers of each model."""


class Architecture(BaseModel):
    """Sizes of a model of one's own, by torchaudio's names; those left out are the named model's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    extractor_conv_layer_config: (
        Annotated[tuple[tuple[PositiveInt, PositiveInt, PositiveInt], ...], Field(min_length=1)] | None
    ) = None
    encoder_embed_dim: PositiveInt | None = None
    encoder_pos_conv_kernel: PositiveInt | None = None
    encoder_pos_conv_groups: PositiveInt | None = None
    encoder_num_layers: PositiveInt | None = None
    encoder_num_heads: PositiveInt | None = None
    encoder_ff_interm_features: PositiveInt | None = None

    def frames(self, samples: int) -> int:
        """How many frames come of so many samples."""
        for _, kernel, stride in self.extractor_conv_layer_config or CONVOLUTIONS:
            samples = (samples - kernel) // stride + 1 if samples >= kernel else 0
        return samples

    def least(self) -> int:
        """The number of samples that give one frame."""
        samples = 1
        for _, kernel, stride in reversed(self.extractor_conv_layer_config or CONVOLUTIONS):
            samples = (samples - 1) * stride + kernel
        return samples


def licence(model: str) -> str:
    """The licence that torchaudio's documentation states for a model's weights."""
    return "CC BY-NC 4.0" if model.startswith("VOXPOPULI") or model == "MMS_FA" else "MIT"


def bundle_file(model: str) -> Path:
    """The file that torchaudio downloads of a model's weights."""
    from torchaudio import pipelines

    path = getattr(pipelines, model)._path
    url = path if path.startswith("https") else f"https://download.pytorch.org/torchaudio/models/{path}"
    return from_hub(url, f"torchaudio's {model}", hashed=False)


def build(model: str, sizes: Architecture) -> tuple[torch.nn.Module, bool]:
    """The encoder of a model, and whether it takes waveforms of mean 0 and deviation 1."""
    import torchaudio

    bundle = getattr(torchaudio.pipelines, model)
    factory = {"Wav2Vec2": torchaudio.models.wav2vec2_model, "WavLM": torchaudio.models.wavlm_model}[bundle._model_type]
    own = sizes.model_dump(exclude_none=True)
    convolutions = {"extractor_conv_layer_config": [*own.get("extractor_conv_layer_config", CONVOLUTIONS)]}
    params: dict[str, Any] = bundle._params | own | convolutions | {"aux_num_out": None}
    return factory(**params), bool(bundle._normalize_waveform)


def load(model: str, sizes: Architecture, path: Path) -> tuple[torch.nn.Module, bool]:
    """The encoder of a model with the weights of a file, in evaluation mode; see `build`."""
    module, normalizes = build(model, sizes)
    state = read_torch(path)
    if state and all(name.startswith("model.") for name in state):  # as get_model() of such a bundle wraps it
        state = {name.removeprefix("model."): value for name, value in state.items()}
    fill_torch(module, state, path, ("aux.",))
    return module, normalizes
