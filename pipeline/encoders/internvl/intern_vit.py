"""InternViT-6B, the vision tower of InternVL-14B: pre-norm blocks with RMSNorm, normalised queries and LayerScale.

Parameters are named as in the published weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.encoders.internvl.config import InternVLConfig, VisionConfig
from pipeline.encoders.internvl.llama import ACTIVATIONS, RMSNorm


class InternViT(nn.Module):
    """From photos [B, 3, S, S] to image tokens [B, N, C], [CLS] first; no norm follows the last block."""

    def __init__(self, config: InternVLConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config.vision_config, config.image_tokens)
        self.encoder = Blocks(config.vision_config)

    def forward(self, pixels: Tensor) -> Tensor:
        """Image tokens, in the model's dtype."""
        tokens: Tensor = self.encoder(self.embeddings(pixels))
        return tokens


class Embeddings(nn.Module):
    """Patches by a convolution, with [CLS] in front and positions added."""

    def __init__(self, config: VisionConfig, tokens: int) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(torch.empty(1, 1, config.hidden_size))
        self.patch_embedding = nn.Conv2d(3, config.hidden_size, config.patch_size, stride=config.patch_size)
        self.position_embedding = nn.Parameter(torch.empty(1, tokens, config.hidden_size))

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, 3, S, S] to [B, N, C]."""
        patches = self.patch_embedding(pixels).flatten(2).mT
        return torch.cat([self.class_embedding.expand(len(pixels), -1, -1), patches], 1) + self.position_embedding


class Blocks(nn.Module):
    """The blocks in sequence."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, N, C] to [B, N, C]."""
        for layer in self.layers:
            tokens = layer(tokens)
        return tokens


class Block(nn.Module):
    """Attention and MLP, each applied to normed tokens and scaled by channel before it is added."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.attn = SelfAttention(config)
        self.mlp = MLP(config)
        self.norm1, self.norm2 = RMSNorm(width, eps), RMSNorm(width, eps)
        self.ls1 = nn.Parameter(torch.full((width,), config.initializer_factor))
        self.ls2 = nn.Parameter(torch.full((width,), config.initializer_factor))

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, N, C] to [B, N, C]."""
        tokens = tokens + self.attn(self.norm1(tokens)) * self.ls1
        moved: Tensor = tokens + self.mlp(self.norm2(tokens)) * self.ls2
        return moved


class SelfAttention(nn.Module):
    """Attention among the tokens; the RMSNorm of queries and keys spans all heads."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.qkv = nn.Linear(width, 3 * width, bias=config.qkv_bias)
        self.q_norm: nn.Module | None = None
        self.k_norm: nn.Module | None = None
        if config.qk_normalization:
            self.q_norm = RMSNorm(width, config.layer_norm_eps)
            self.k_norm = RMSNorm(width, config.layer_norm_eps)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, N, C] to [B, N, C]."""
        q, k, v = self.qkv(tokens).chunk(3, -1)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in (q, k, v))
        attended = F.scaled_dot_product_attention(q, k, v)
        output: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return output


class MLP(nn.Module):
    """Two layers with an activation between them."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.act = ACTIVATIONS[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, N, C] to [B, N, C]."""
        output: Tensor = self.fc2(self.act(self.fc1(tokens)))
        return output
