"""The attention of transformers' SigLIP pooling heads: one learned probe that looks at the tokens of a photo."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pipeline.encoders.sites import MultiheadAttentionSite


class PoolingHeadSite(MultiheadAttentionSite):
    """`nn.MultiheadAttention` as the heads call it: they ask for weights that they drop, and NaFlex adds a mask.

    While it is perturbed, no attention weights are returned.
    """

    def forward(self, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, None]:
        """Attention (output, None).

        Args:
            query: [B, Q, C].
            key: [B, N, C].
            value: [B, N, C].
            args: none while perturbed.
            kwargs: while perturbed `need_weights`, which is ignored, and `attn_mask` [B * H, Q, N], which is added to
                the scores.

        Raises:
            ValueError: perturbed, with an option that the heads do not use.
        """
        if self.untouched:
            return super().forward(query, key, value, *args, **kwargs)
        if args or kwargs.keys() - {"need_weights", "attn_mask"}:
            raise ValueError(f"a perturbed pooling head takes a mask alone, not {', '.join(kwargs) or args}")
        mask: Tensor | None = kwargs.get("attn_mask")
        if mask is not None:
            mask = mask.view(len(query), self.num_heads, *mask.shape[1:])
        return self.attend(query, key, value, mask), None
