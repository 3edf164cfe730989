"""The parts of LLaMA that InternVL is built from, computed as by transformers' modules, to the last bit.

They are here because importing transformers' models takes 3 s of CPU in every actor, mostly for torchvision and
torch._dynamo, which nothing here uses. Parameters are named as in the published weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.io.model_files import Activation

Activate = Callable[[Tensor], Tensor]


def _gelu_new(x: Tensor) -> Tensor:
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


def _gelu_fast(x: Tensor) -> Tensor:
    return 0.5 * x * (1.0 + torch.tanh(x * 0.7978845608 * (1.0 + 0.044715 * x * x)))


ACTIVATIONS: dict[Activation, Activate] = {
    "gelu": F.gelu,
    "gelu_new": _gelu_new,
    "gelu_fast": _gelu_fast,
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
}
"""By their names in transformers."""


class RMSNorm(nn.Module):
    """Divides by the root mean square, computed in float32; the weight is applied in the dtype of the input."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, states: Tensor) -> Tensor:
        """[..., width] to [..., width]."""
        exact = states.float()
        exact = exact * torch.rsqrt(exact.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * exact.to(states.dtype)


class SelfAttention(nn.Module):
    """Attention with rotary embeddings, without biases; it hides only what the mask hides."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.head_dim = width // heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, states: Tensor, positions: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """[B, L, C] to [B, L, C].

        Args:
            states: [B, L, C].
            positions: cosines and sines [1, L, d] of the rotary embedding.
            mask: bool [B, 1, L, L], True where a row may attend to a column; None allows all.
        """

        def split(layer: nn.Linear) -> Tensor:
            return layer(states).view(*states.shape[:-1], -1, self.head_dim).transpose(1, 2)  # type: ignore[no-any-return]

        q, k, v = split(self.q_proj), split(self.k_proj), split(self.v_proj)
        q, k = _rotate(q, positions), _rotate(k, positions)
        attended = F.scaled_dot_product_attention(q, k, v, mask, scale=self.head_dim**-0.5)
        output: Tensor = self.o_proj(attended.transpose(1, 2).reshape(states.shape))
        return output


class MLP(nn.Module):
    """A gated MLP without biases."""

    def __init__(self, width: int, inner: int, activation: Activation) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = (nn.Linear(width, inner, bias=False) for _ in range(2))
        self.down_proj = nn.Linear(inner, width, bias=False)
        self.activate = ACTIVATIONS[activation]

    def forward(self, states: Tensor) -> Tensor:
        """[..., C] to [..., C]."""
        output: Tensor = self.down_proj(self.activate(self.gate_proj(states)) * self.up_proj(states))
        return output


def _rotate(x: Tensor, positions: tuple[Tensor, Tensor]) -> Tensor:
    """[B, H, L, d], each pair (i, i + d / 2) turned by the angle of its position."""
    cosines, sines = (part[:, None] for part in positions)
    first, second = x.chunk(2, -1)
    return (x * cosines) + (torch.cat((-second, first), -1) * sines)
