"""RoBERTa's encoder in torch alone, for where torchtext cannot be loaded: the same weights, the same numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import nn


class _Positions(nn.Module):
    """Learnt vectors of places, which are counted from the padding's id on."""

    def __init__(self, longest: int, features: int, pad: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(longest, features, pad)
        self.pad = pad

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        kept = (tokens != self.pad).long()
        found: torch.Tensor = self.embedding(kept.cumsum(1) * kept + self.pad)
        return found


class _Transformer(nn.Module):
    def __init__(self, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.pad, features = sizes["padding_idx"], sizes["embedding_dim"]
        self.token_embedding = nn.Embedding(sizes["vocab_size"], features, self.pad)
        layer = nn.TransformerEncoderLayer(
            features,
            sizes["num_attention_heads"],
            sizes["ffn_dimension"],
            dropout=0.1,
            activation="gelu",
            batch_first=True,
        )
        self.layers = nn.TransformerEncoder(layer, sizes["num_encoder_layers"], enable_nested_tensor=False)
        self.positional_embedding = _Positions(sizes["max_seq_len"], features, self.pad)
        self.embedding_layer_norm = nn.LayerNorm(features)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        embedded = self.embedding_layer_norm(self.token_embedding(tokens) + self.positional_embedding(tokens))
        states: torch.Tensor = self.layers(embedded, src_key_padding_mask=tokens == self.pad)
        return states


class _Encoder(nn.Module):
    def __init__(self, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.transformer = _Transformer(sizes)


class Roberta(nn.Module):
    """int64[batch, token] to float32[batch, token, feature]: what the last layer gives for each token.

    `sizes` has torchtext's names: vocab_size, embedding_dim, ffn_dimension, padding_idx, max_seq_len,
    num_attention_heads, num_encoder_layers. Source: Liu et al., "RoBERTa" (2019); equals torchtext.models.RobertaModel.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.encoder = _Encoder(sizes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.encoder.transformer(tokens)
        return states


_FORMER = {
    "attention.input_projection.weight": "self_attn.in_proj_weight",
    "attention.input_projection.bias": "self_attn.in_proj_bias",
    "attention.output_projection": "self_attn.out_proj",
    "residual_mlp.mlp.0": "linear1",
    "residual_mlp.mlp.3": "linear2",
    "attention_layer_norm": "norm1",
    "final_layer_norm": "norm2",
}
_LAYER = re.compile(rf"(encoder\.transformer\.layers\.)(\d+\.)({'|'.join(map(re.escape, _FORMER))})")


def renamed(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights by the names that `Roberta` has; torchtext's published files are older than these."""
    return {_LAYER.sub(lambda m: f"{m[1]}layers.{m[2]}{_FORMER[m[3]]}", name): value for name, value in state.items()}
