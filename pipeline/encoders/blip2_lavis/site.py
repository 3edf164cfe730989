"""The perturbable cross-attention of LAVIS' Q-Former. It can be imported only in LAVIS' `environment`."""

from __future__ import annotations

from typing import Any

from lavis.models.blip2_models.Qformer import BertSelfAttention
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.encoders.sites import Site, make_perturbable


class LavisSite(Site, BertSelfAttention):  # type: ignore[misc]
    """`BertSelfAttention` used as cross-attention. Only query tokens pass through it, never text."""

    original = BertSelfAttention
    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    num_attention_heads: int
    attention_head_size: int

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        head_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        past_key_value: Any = None,
        output_attentions: bool = False,
    ) -> tuple[Any, ...]:
        """Queries [R, Q, 768] look at image tokens [R, N, 1408]: (output [R, Q, 768], (keys, values))."""
        if self.untouched:
            return super().forward(  # type: ignore[no-any-return]
                hidden_states,
                attention_mask,
                head_mask,
                encoder_hidden_states,
                encoder_attention_mask,
                past_key_value,
                output_attentions,
            )
        if output_attentions or head_mask is not None:
            raise ValueError("a perturbed cross-attention of LAVIS takes no head mask and returns no weights")

        def split(x: Tensor) -> Tensor:
            return x.view(*x.shape[:2], self.num_attention_heads, -1).transpose(1, 2)

        q = split(self.query(hidden_states))
        k, v = self.seen(lambda: (split(self.key(encoder_hidden_states)), split(self.value(encoder_hidden_states))))
        attended = F.scaled_dot_product_attention(self.enhance(q, k), k, v, self.masked(encoder_attention_mask, q))
        return attended.transpose(1, 2).flatten(2), (k, v)


def lavis_sites(qformer: nn.Module) -> dict[str, nn.Module]:
    """Make every cross-attention of `qformer` perturbable; by name, in the order they run (six in BLIP-2)."""
    sites = {name: module for name, module in qformer.named_modules() if name.endswith(".crossattention.self")}
    for module in sites.values():
        make_perturbable(module, LavisSite)
    return sites
