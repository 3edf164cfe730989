"""The perturbable cross-attention of transformers' Q-Former (BLIP-2)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import Blip2QFormerModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.blip_2.modeling_blip_2 import Blip2QFormerMultiHeadAttention, eager_attention_forward

from pipeline.encoders.sites import Site, make_perturbable


class QFormerSite(Site, Blip2QFormerMultiHeadAttention):  # type: ignore[misc]
    """A Q-Former's cross-attention. Only query tokens pass through it, never text."""

    original = Blip2QFormerMultiHeadAttention
    config: Any
    query: nn.Linear
    key: nn.Linear
    value: nn.Linear

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Queries [r B, Q, 768] look at image tokens [B, N, 1408]: (output [r B, Q, 768], weights or None).

        r consecutive rows look at one photo, whose keys are projected once.
        """
        same = encoder_hidden_states is not None and len(encoder_hidden_states) == len(hidden_states)
        if encoder_hidden_states is None or (self.untouched and same):
            return super().forward(  # type: ignore[no-any-return]
                hidden_states, attention_mask, encoder_hidden_states, encoder_attention_mask, **kwargs
            )

        def split(layer: nn.Linear, x: Tensor) -> Tensor:
            heads: Tensor = layer(x).unflatten(-1, (self.num_attention_heads, self.attention_head_size))
            return heads.transpose(1, 2)

        q, image = split(self.query, hidden_states), encoder_hidden_states
        k, v = self.seen(lambda: (split(self.key, image), split(self.value, image)))
        # Every mask is the photo's, so the queries for all texts of a photo can attend as one long sequence.
        q = q.view(len(k), -1, *q.shape[1:]).transpose(1, 2).flatten(2, 3)
        q = self.enhance(q, k)
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        dropout = self.attention_dropout if self.training else 0.0
        attended, weights = attention(
            self, q, k, v, self.masked(encoder_attention_mask, q), dropout=dropout, scaling=self.scaling, **kwargs
        )
        return attended.reshape(*hidden_states.shape[:2], -1), weights


def qformer_sites(qformer: Blip2QFormerModel) -> dict[str, nn.Module]:
    """Make every cross-attention of `qformer` perturbable; by name, in the order they run (six in BLIP-2)."""
    sites = {name: module for name, module in qformer.named_modules() if name.endswith(".crossattention.attention")}
    for module in sites.values():
        make_perturbable(module, QFormerSite)
    return sites
