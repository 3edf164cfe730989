"""Photos embedded from some of their tokens only: the cross-attentions look at no others.

The backbone has seen the whole photo, and the queries stay the photo's; only what they may look at is restricted, at
the very sites where Q-Perturbation changes the queries. Pooling masked to a set of tokens equals pooling over those
tokens alone, so this is the pooling of regions that TextRegion describes, for every kind of cross-attention here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pipeline.encoders.base import Encoder
from pipeline.encoders.sites import Site
from pipeline.encoders.spec import NO_SITES
from pipeline.errors import QpertError


@contextmanager
def masking(sites: Mapping[str, nn.Module], visible: Tensor) -> Iterator[None]:
    """Hide tokens from the queries of every forward pass through `sites` inside this context, and in none outside it.

    Args:
        sites: the modules by name.
        visible: bool [B, N], the tokens that the queries of each row may look at; at least one for each.

    Raises:
        ValueError: a row without a visible token, for which attention is not defined.
    """
    if not visible.any(-1).all():
        raise ValueError("every row needs a token to look at")
    try:
        for name, site in sites.items():
            if not isinstance(site, Site):
                raise ValueError(f"{name} cannot be masked: call make_perturbable on it first")
            site.visible = visible
        yield
    finally:
        for site in sites.values():
            site.__dict__.pop("visible", None)


@torch.no_grad()
def embed_masked(encoder: Encoder, tokens: Tensor, visible: Tensor) -> Tensor:
    """Plain unit vectors float32 [R, V, D] of photos whose cross-attentions see only some tokens.

    Args:
        encoder: one with sites.
        tokens: [R, N, C] from its backbone, one row for each mask.
        visible: bool [R, N], on any device; the prefix is never visible.

    Raises:
        QpertError: the encoder has no cross-attention to mask.
    """
    sites = encoder.sites()
    if not sites:
        raise QpertError(f"{NO_SITES}: its pooling cannot be masked to regions or clusters")
    allowed = visible.to(encoder.device, copy=True)
    allowed[:, : encoder.grid.prefix] = False
    with masking(sites, allowed):
        return encoder.embed(tokens)
