"""Artefact tokens: patches that a vision transformer uses as scratch memory, known by their large norm.

Vision transformers write global information over a few patches of little content. Such tokens say nothing about their
place in the photo, and their norm is several times that of the others (Darcet et al., "Vision Transformers Need
Registers", 2024). Where one lies in a box, it dominates the object's uncentred key subspace.
"""

from __future__ import annotations

import torch
from torch import Tensor

DEVIATIONS = 10.0
"""Median absolute deviations above the median. For normally distributed norms 6.7 standard deviations: one token in
10^11, so that photos without artefacts keep all their tokens."""
RATIO = 2.0
"""Times the median. Where norms hardly differ, as after a LayerNorm, the deviations alone would find artefacts in
rounding errors; true ones are several times as long as the others."""


def patch_tokens(tokens: Tensor, prefix: int) -> Tensor:
    """Which tokens are patches of the photo, and neither prefix nor padding (all-zero tokens).

    Args:
        tokens: [B, N, C], any floating dtype.
        prefix: tokens before the patches.

    Returns:
        bool [B, N] on the tokens' device.
    """
    patches = (tokens != 0).any(-1)
    patches[:, :prefix] = False
    return patches


def artefact_tokens(tokens: Tensor, prefix: int) -> Tensor:
    """Which patches are artefacts: of a norm above median + `DEVIATIONS` * MAD and above `RATIO` * median in the photo.

    Args:
        tokens: [B, N, C], any floating dtype, as the cross-attention sees them. All-zero tokens are padding.
        prefix: tokens before the patches ([CLS], registers), which are left out of the statistics.

    Returns:
        bool [B, N] on the tokens' device; False for prefix, padding, and tokens that are not finite.
    """
    norms = torch.linalg.vector_norm(tokens[:, prefix:], dim=-1, dtype=torch.float32)
    counted = norms.masked_fill(norms == 0, torch.nan)
    median = counted.nanmedian(-1, keepdim=True).values
    deviation = (counted - median).abs().nanmedian(-1, keepdim=True).values
    found = norms.isfinite() & (norms > torch.maximum(median + DEVIATIONS * deviation, RATIO * median))
    return torch.nn.functional.pad(found, (prefix, 0))
