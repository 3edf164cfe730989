"""QLLaMA, InternVL-14B's LLaMA that reads texts and, with learned queries, photos.

Every second layer has a cross-attention between self-attention and MLP, by which the queries look at the image tokens:
these are the sites. A text passes through the same layers without them. Parameters are named as in the published
weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.encoders.internvl.config import InternVLConfig, QLlamaConfig
from pipeline.encoders.internvl.llama import MLP, RMSNorm, SelfAttention
from pipeline.encoders.sites import Site

_ROTARY_BASE = 10000.0


class QLlama(nn.Module):
    """The model and its language head, which retrieval does not use."""

    def __init__(self, config: InternVLConfig) -> None:
        super().__init__()
        sizes = config.qllama_config
        self.model = QLlamaModel(config)
        self.lm_head = nn.Linear(sizes.hidden_size, sizes.vocab_size, bias=False)


class QLlamaModel(nn.Module):
    """Word embeddings, layers and the last norm."""

    def __init__(self, config: InternVLConfig) -> None:
        super().__init__()
        sizes = config.qllama_config
        every, vision = config.cross_attention_frequency, config.vision_config.hidden_size
        # Not `nn.Embedding(...)`: drawing its weights on the meta device imports torch._dynamo, 2 s of CPU.
        self.embed_tokens = nn.Embedding.from_pretrained(  # type: ignore[no-untyped-call]
            torch.empty(sizes.vocab_size, sizes.hidden_size), freeze=False
        )
        self.layers = nn.ModuleList(
            QLlamaLayer(sizes, vision if layer % every == 0 else None) for layer in range(sizes.num_hidden_layers)
        )
        self.norm = RMSNorm(sizes.hidden_size, sizes.rms_norm_eps)

    def forward(self, states: Tensor, image_tokens: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Pass queries or embedded words [B, L, C] through all layers.

        Args:
            states: either queries or words; both together would serve captions, which are not supported.
            image_tokens: [B, N, C of the vision tower] for queries to look at.
            mask: bool [B, 1, L, L], True where a row may attend to a column; None allows all.

        Returns:
            States after the last norm, [B, L, C].
        """
        attention = self.layers[0].self_attn
        assert isinstance(attention, SelfAttention)
        positions = rotary(states.shape[1], attention.head_dim, states)
        for layer in self.layers:
            states = layer(states, image_tokens, mask, positions)
        normed: Tensor = self.norm(states)
        return normed


class QLlamaLayer(nn.Module):
    """LLaMA's decoder layer, with a cross-attention to image tokens of width `vision` unless that is None."""

    def __init__(self, config: QLlamaConfig, vision: int | None) -> None:
        super().__init__()
        self.self_attn = SelfAttention(config.hidden_size, config.num_attention_heads)
        self.cross_attn = None if vision is None else CrossAttention(config, vision)
        self.mlp = MLP(config.hidden_size, config.intermediate_size, config.hidden_act)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self, states: Tensor, image_tokens: Tensor | None, mask: Tensor | None, positions: tuple[Tensor, Tensor]
    ) -> Tensor:
        """[B, L, C] to [B, L, C]; arguments as in `QLlamaModel.forward`, and rotary (cos, sin) of the positions."""
        states = states + self.self_attn(self.input_layernorm(states), positions, mask)
        if self.cross_attn is not None and image_tokens is not None:
            states = states + self.cross_attn(states, image_tokens)
        moved: Tensor = states + self.mlp(self.post_attention_layernorm(states))
        return moved


class CrossAttention(Site):
    """Queries look at image tokens. It has its own norms for both, and no rotary embedding."""

    def __init__(self, config: QLlamaConfig, vision: int) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.q_proj, self.o_proj = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.k_proj, self.v_proj = (nn.Linear(vision, width, bias=False) for _ in range(2))
        self.norm1 = RMSNorm(width, config.rms_norm_eps)
        self.norm2 = RMSNorm(vision, config.rms_norm_eps)

    def forward(self, states: Tensor, image_tokens: Tensor) -> Tensor:
        """Queries [B, Q, C] look at [B, N, C of the vision tower]: [B, Q, C]."""

        def split(x: Tensor) -> Tensor:
            return x.view(*x.shape[:2], self.num_heads, -1).transpose(1, 2)

        def look() -> tuple[Tensor, Tensor]:
            normed = self.norm2(image_tokens)
            return split(self.k_proj(normed)), split(self.v_proj(normed))

        q, (k, v) = split(self.q_proj(self.norm1(states))), self.seen(look)
        attended = F.scaled_dot_product_attention(self.enhance(q, k), k, v, self.masked(None, q))
        output: Tensor = self.o_proj(attended.transpose(1, 2).flatten(2))
        return output


def rotary(length: int, dim: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines [1, length, dim] of LLaMA's rotary embedding, in the dtype and on the device of `like`.

    Computed in float32 when needed: buffers of the module would be lost when it is built without memory, and rounded
    when its dtype changes.
    """
    step = torch.arange(0, dim, 2, device=like.device, dtype=torch.float32) / dim
    angles = torch.arange(length, device=like.device, dtype=torch.float32)[:, None] / _ROTARY_BASE**step
    angles = torch.cat([angles, angles], -1)[None]
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)
