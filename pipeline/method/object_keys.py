"""Object Key Pooling: which of a photo's keys belong to which object, for a whole batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from pipeline.method.settings import Perturbation


@dataclass(frozen=True)
class ObjectTokens:
    """Objects with about as many tokens each, and which keys are theirs (the paper's Object Key Pooling).

    Attributes:
        index: int64 [g, n], places in the token sequence, n the most that any of the g objects has.
        photo: int64 [g], the object's photo in the batch.
        weights: float32 [g, n], m at these places; 0 fills up.
        alphas: float32 [g], divided by the photo's number of objects where their mean is taken.
    """

    index: Tensor
    photo: Tensor
    weights: Tensor
    alphas: Tensor


_SIZES = (8, 16, 24, 32, 40, 48, 56, 64, 96, 144, 216, 324, 484, 729)
"""Objects are grouped by token count up to these bounds, since a group pays for its largest; finely below the usual
head dimension of 64, where the eigendecomposition grows with the cube of the count."""


def pool_object_keys(
    coverage: Tensor, areas: Tensor, perturbation: Perturbation, device: torch.device | str = "cpu"
) -> list[ObjectTokens]:
    """Select each object's keys, and group the objects so that little is computed on padding.

    Args:
        coverage: [B, O, N] on the CPU, share of each token's patch that each object covers; padding objects are 0.
        areas: [B, O], the objects' share of the photo.
        perturbation: `tokens`, `weight`, `scale` and `combine` are used.
        device: where the groups shall be.

    Returns:
        The groups, smallest objects first. Objects that cover no token are in none and contribute nothing.
    """
    weights = perturbation.token_weights(coverage.float())
    counts = (weights > 0).sum(-1)
    alphas = perturbation.alphas(areas.float())
    if perturbation.combine == "mean":
        alphas = alphas / (counts > 0).sum(1, keepdim=True).clamp(min=1)
    groups = []
    size = torch.bucketize(counts, torch.tensor(_SIZES))
    for each in sorted(set(size[counts > 0].tolist())):
        photo, which = ((size == each) & (counts > 0)).nonzero(as_tuple=True)
        most = int(counts[photo, which].max())
        chosen, index = weights[photo, which].sort(dim=-1, descending=True, stable=True)
        parts = index[:, :most], photo, chosen[:, :most], alphas[photo, which]
        groups.append(ObjectTokens(*(part.to(device) for part in parts)))
    return groups
