"""The cross-attentions of open_clip's models beside `nn.MultiheadAttention`, made perturbable.

Importing this module imports open_clip and timm. The perturbed forwards follow the original ones operation by
operation, so that photos without objects keep their embeddings to the last bit.
"""

from __future__ import annotations

from typing import Any

import open_clip.transformer
import torch
from open_clip.modified_resnet import AttentionPool2d
from timm.layers import AttentionPoolLatent
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.encoders.sites import MultiheadAttentionSite, Site, make_perturbable


class AttentionPoolLatentSite(Site, AttentionPoolLatent):  # type: ignore[misc]
    """timm's attention pooling by latent queries: SigLIP, SigLIP2, PE-Core."""

    original = AttentionPoolLatent

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """Tokens [B, N, C] to what the latent queries find, pooled: [B, C]. The mask is that of the original."""
        if self.untouched:
            pooled: Tensor = super().forward(x, attn_mask)
            return pooled
        m: Any = self  # the library has no types
        count, tokens, width = x.shape
        if m.pos_embed is not None:
            x = x + m.pos_embed.unsqueeze(0).to(x.dtype)
        latent = m.latent.expand(count, -1, -1)
        queries = m.q(latent).reshape(count, m.latent_len, m.num_heads, m.head_dim).transpose(1, 2)

        def project() -> tuple[Tensor, Tensor]:
            both = m.kv(x).reshape(count, tokens, 2, m.num_heads, m.head_dim).permute(2, 0, 3, 1, 4)
            keys, values = both.unbind(0)
            return m.k_norm(keys), values

        keys, values = self.seen(project)
        # The subspace is that of the keys which the scores use, so the queries are perturbed after their norm.
        queries = self.enhance(m.q_norm(queries), keys)
        mask = self.masked(attn_mask, queries)
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        found: Tensor = m.proj_drop(m.proj(attended.transpose(1, 2).reshape(count, m.latent_len, width)))
        if m.mlp is not None:
            found = found + m.mlp(m.norm(found))
        if m.pool == "token":
            return found[:, 0]
        return found.mean(1) if m.pool == "avg" else found


class AttentionPool2dSite(Site, AttentionPool2d):  # type: ignore[misc]
    """The attention pooling of CLIP's ResNets, in which the mean of all tokens is the query."""

    original = AttentionPool2d

    def forward(self, x: Tensor) -> Tensor:
        """A map [B, C, H, W] to vectors [B, D]."""
        if self.untouched:
            pooled: Tensor = super().forward(x)
            return pooled
        m: Any = self  # the library has no types
        x = x.flatten(2).permute(2, 0, 1)
        x = torch.cat([x.mean(dim=0, keepdim=True), x])
        x = x + m.positional_embedding[:, None, :].to(x.dtype)

        def split(projection: nn.Linear) -> Tensor:
            """[N, B, H d] to [B, H, N, d]."""
            y = F.linear(x, projection.weight, projection.bias)
            return y.view(*y.shape[:-1], m.num_heads, -1).permute(1, 2, 0, 3)

        queries = split(m.q_proj)
        keys, values = self.seen(lambda: (split(m.k_proj), split(m.v_proj)))
        # All queries are passed on, as in the original, where only the first, the mean, reaches the embedding.
        queries = self.enhance(queries, keys)
        found = F.scaled_dot_product_attention(queries, keys, values, self.masked(None, queries))
        vectors: Tensor = m.c_proj(found.permute(2, 0, 1, 3).flatten(2))
        return vectors[0]


class AttentionSite(Site, open_clip.transformer.Attention):  # type: ignore[misc]
    """open_clip's own attention, which pools CoCa's tokens from open_clip 4 on."""

    original = open_clip.transformer.Attention

    @classmethod
    def check(cls, module: nn.Module) -> None:  # noqa: D102
        if getattr(module, "logit_scale", None) is not None:
            raise ValueError("an open_clip attention with scaled cosines cannot be perturbed")

    def forward(
        self, x: Tensor, k_x: Tensor | None = None, v_x: Tensor | None = None, attn_mask: Tensor | None = None
    ) -> Tensor:
        """Attention of queries `x` [B, Q, C] to keys `k_x` and values `v_x` [B, N, K]: [B, Q, C]."""
        if self.untouched:
            output: Tensor = super().forward(x, k_x, v_x, attn_mask)
            return output
        m: Any = self  # the library has no types
        if k_x is None or v_x is None or attn_mask is not None:
            raise ValueError("a perturbed open_clip attention is a cross-attention without a mask")
        given_keys, given_values = k_x, v_x
        in_one = m.in_proj_weight
        weights = (m.q_proj_weight, m.k_proj_weight, m.v_proj_weight) if in_one is None else in_one.chunk(3)
        biases = (None, None, None) if m.in_proj_bias is None else m.in_proj_bias.chunk(3)

        def split(number: int, y: Tensor) -> Tensor:
            y = F.linear(y, weights[number], biases[number])
            return y.reshape(len(y), -1, m.num_heads, m.head_dim).transpose(1, 2)

        queries = m.ln_q(split(0, x))
        keys, values = self.seen(lambda: (m.ln_k(split(1, given_keys)), split(2, given_values)))
        dropout = m.attn_drop.p if m.training else 0.0
        found = F.scaled_dot_product_attention(
            self.enhance(queries, keys),
            keys,
            values,
            attn_mask=self.masked(None, queries),
            dropout_p=dropout,
            scale=m.scale,
        )
        if m.head_scale is not None:
            found = found * m.head_scale
        moved: Tensor = m.out_drop(m.out_proj(m.ln_inner(found.transpose(1, 2).flatten(2))))
        return moved


def make_pooling_perturbable(module: nn.Module) -> None:
    """Make the attention of an attention pooling perturbable, whichever of the known classes it has.

    Raises:
        ValueError: none of these classes, or an option that the perturbed forward does not support.
    """
    known: dict[type[nn.Module], type[Site]] = {
        site.original: site
        for site in (MultiheadAttentionSite, AttentionSite, AttentionPoolLatentSite, AttentionPool2dSite)
    }
    if isinstance(module, Site):
        return
    if type(module) not in known:
        raise ValueError(f"a {type(module).__name__} cannot be perturbed, only {', '.join(c.__name__ for c in known)}")
    make_perturbable(module, known[type(module)])
