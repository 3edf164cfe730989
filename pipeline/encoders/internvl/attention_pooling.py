"""InternVL's attention pooling: a cross-attention from the mean token to all tokens. After the vision tower, a site."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.encoders.sites import Site


class AttentionPooling(nn.Module):
    """One vector from all tokens of a photo: [B, N, C] to [B, D]."""

    def __init__(self, width: int, heads: int, dim: int) -> None:
        super().__init__()
        self.norm1_q, self.norm1_k, self.norm1_v = (nn.LayerNorm(width) for _ in range(3))
        self.cross_attn = PoolingAttention(width, heads, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """The query is the mean of all tokens, including [CLS]."""
        query = self.norm1_q(tokens.mean(1, keepdim=True))
        pooled: Tensor = self.cross_attn(query, self.norm1_k(tokens), self.norm1_v(tokens))
        return pooled.squeeze(1)


class PoolingAttention(Site):
    """A cross-attention with the biases of its queries, keys and values separate from their weights."""

    def __init__(self, width: int, heads: int, dim: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.q_bias, self.k_bias, self.v_bias = (nn.Parameter(torch.zeros(width)) for _ in range(3))
        self.proj = nn.Linear(width, dim)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Queries [B, Q, C] look at keys and values [B, N, C]: [B, Q, D]."""

        def part(x: Tensor, layer: nn.Linear, bias: Tensor) -> Tensor:
            return F.linear(x, layer.weight, bias).view(*x.shape[:2], self.num_heads, -1).transpose(1, 2)

        q = part(query, self.q, self.q_bias)
        k, v = self.seen(lambda: (part(key, self.k, self.k_bias), part(value, self.v, self.v_bias)))
        attended = F.scaled_dot_product_attention(self.enhance(q, k), k, v, self.masked(None, q))
        output: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return output
