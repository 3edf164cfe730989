"""InternVL-14B's retrieval model, in PyTorch modules whose parameters are named as in the published weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.encoders.internvl.attention_pooling import AttentionPooling
from pipeline.encoders.internvl.config import InternVLConfig
from pipeline.encoders.internvl.intern_vit import Embeddings, InternViT
from pipeline.encoders.internvl.qllama import QLlama


class InternVL(nn.Module):
    """InternViT-6B, QLLaMA and the two attention-pooling projectors.

    InternVL-C pools the vision tower's tokens; InternVL-G adds what QLLaMA's queries find in them.
    """

    def __init__(self, config: InternVLConfig) -> None:
        super().__init__()
        self.config = config
        width, heads, dim = config.qllama_config.hidden_size, config.attn_pool_num_heads, config.clip_embed_dim
        self.vision_model = InternViT(config)
        self.qllama = QLlama(config)
        self.query_tokens = nn.Parameter(torch.empty(1, config.num_query_token, width))
        self.text_projection = nn.Parameter(torch.empty(width, dim))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.clip_projector = AttentionPooling(config.vision_config.hidden_size, heads, dim)
        self.clip_projector2 = AttentionPooling(width, heads, dim)
        self.itm_head = nn.Linear(width, 2)  # published with the model; retrieval does not use it

    def embed_c(self, tokens: Tensor) -> Tensor:
        """Unit vectors float32 [B, D] of image tokens [B, N, C], as InternVL-C makes them."""
        return F.normalize(self.clip_projector(tokens).float(), dim=-1)

    def embed_g(self, tokens: Tensor) -> Tensor:
        """Unit vectors float32 [B, D] of image tokens [B, N, C], as InternVL-G makes them."""
        return F.normalize(self.embed_c(tokens) + self.embed_queries(tokens), dim=-1)

    def embed_queries(self, tokens: Tensor) -> Tensor:
        """QLLaMA's part of `embed_g`: unit vectors float32 [B, D]."""
        states = self.qllama.model(self.query_tokens.expand(len(tokens), -1, -1), tokens)
        return F.normalize(self.clip_projector2(states).float(), dim=-1)

    def embed_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Unit vectors float32 [T, D] of texts, padded on the right: the state of the last token, projected.

        Args:
            ids: int64 [T, L].
            mask: bool [T, L], False for padding.
        """
        length = ids.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
        states = self.qllama.model(self.qllama.model.embed_tokens(ids), mask=causal & mask[:, None, None])
        last = states[torch.arange(ids.shape[0], device=ids.device), mask.sum(1) - 1]
        return F.normalize((last @ self.text_projection).float(), dim=-1)


def build_internvl(config: InternVLConfig) -> InternVL:
    """An InternVL with random weights, in torch's default dtype and on its default device.

    In float32 the published size takes 55 GB; `pipeline.encoders.load_encoder` loads the published weights.
    """
    model = InternVL(config)
    std = config.initializer_range
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding):
            nn.init.normal_(module.weight, std=std)
            if getattr(module, "bias", None) is not None:
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        elif isinstance(module, Embeddings):
            nn.init.normal_(module.class_embedding, std=std)
            nn.init.normal_(module.position_embedding, std=std)
    nn.init.normal_(model.query_tokens, std=std)
    nn.init.normal_(model.text_projection, std=config.qllama_config.hidden_size**-0.5)
    return model
