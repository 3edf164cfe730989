"""Object Key Pooling: the keys that belong to each object, for a batch of photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.method.settings import Perturbation


@dataclass(frozen=True)
class ObjectTokens:
    """The keys of a group of objects with similar numbers of tokens (the paper's Object Key Pooling).

    Attributes:
        index: int64 [g, n], positions in the token sequence; n is the largest token count of the g objects.
        photo: int64 [g], index of the object's photo in the batch.
        weights: float32 [g, n], m at these positions; padded with 0.
        alphas: float32 [g], divided by the photo's number of objects if `combine` is `mean`.
        seeds: of each of the g objects, for the operator `random`.
    """

    index: Tensor
    photo: Tensor
    weights: Tensor
    alphas: Tensor
    seeds: tuple[tuple[int, ...], ...] = ()


_SIZES = (8, 16, 24, 32, 40, 48, 56, 64, 96, 144, 216, 324, 484, 729)
"""Upper bounds of the groups' token counts. Every object of a group costs as much as its largest, so the bounds are
close together below the usual head dimension of 64, where the eigendecomposition grows with the cube of the count."""


def pool_object_keys(
    coverage: Tensor,
    areas: Tensor,
    perturbation: Perturbation,
    device: torch.device | str = "cpu",
    photo_keys: Sequence[int] | None = None,
) -> list[ObjectTokens]:
    """Select each object's keys, and group the objects so that little work is spent on padding.

    Args:
        coverage: [B, O, N] on the CPU, share of each token's patch that each object covers; 0 for padding objects.
        areas: [B, O], each object's share of the photo.
        perturbation: `tokens`, `weight`, `scale`, `combine`, `operator` and `seed` are used.
        device: where the groups are put.
        photo_keys: a number of each photo, from which the operator `random` draws (`Objects.key`); None: its row.

    Returns:
        The groups, smallest objects first. Objects that cover no token are in none and contribute nothing.
    """
    weights = perturbation.token_weights(coverage.float())
    counts = (weights > 0).sum(-1)
    alphas = perturbation.alphas(areas.float())
    if perturbation.operator == "complement":
        alphas = torch.ones_like(alphas)
    keys = range(len(coverage)) if photo_keys is None else photo_keys
    if perturbation.combine == "mean":
        alphas = alphas / (counts > 0).sum(1, keepdim=True).clamp(min=1)
    groups = []
    size = torch.bucketize(counts, torch.tensor(_SIZES))
    for bucket in sorted(set(size[counts > 0].tolist())):
        photo, row = ((size == bucket) & (counts > 0)).nonzero(as_tuple=True)
        most = int(counts[photo, row].max())
        chosen, index = weights[photo, row].sort(dim=-1, descending=True, stable=True)
        place, keys_of, alpha = (part.to(device) for part in (index[:, :most], chosen[:, :most], alphas[photo, row]))
        seeds = zip(photo.tolist(), row.tolist(), strict=True) if perturbation.operator == "random" else ()
        drawn = tuple((perturbation.seed, keys[number], place) for number, place in seeds)
        groups.append(ObjectTokens(place, photo.to(device), keys_of, alpha, drawn))
    return groups
