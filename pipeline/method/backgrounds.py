"""Keys without what all keys of a photo share, so that an object's subspace is not that of every other place as well.

The paper's PCA is uncentred: the first component of an object's keys is close to the photo's mean key, and queries that
grow along it grow towards every token. Neither way of taking it out is in the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.method.settings import Perturbation
from pipeline.method.subspaces import decompose, leading_components

_ROUNDING = 2.0**-16
"""A key of which less than this is left, relative to its length, is the rounding of float32, and becomes 0."""


def distinctive_keys(keys: Tensor, counted: Tensor | None, perturbation: Perturbation) -> Tensor:
    """The keys from which subspaces are built, see `Perturbation.pca`.

    Args:
        keys: [B, H, N, d], any floating dtype.
        counted: bool [B, N], the tokens whose keys make up what is shared: the patches of the photo, not its prefix
            ([CLS], registers), padding, or dropped artefacts. None counts all.
        perturbation: `pca` and `background` are used.

    Returns:
        float32 [B, H, N, d] with what is shared taken out of every key; the keys themselves if `pca` is `uncentred`.
    """
    if perturbation.pca == "uncentred":
        return keys
    with torch.autocast(keys.device.type, enabled=False):
        exact = keys.float()
        weight = exact.new_ones(len(exact), 1, exact.shape[2], 1)
        if counted is not None:
            weight = counted.to(exact)[:, None, :, None]
        if perturbation.pca == "centred":
            shared = (exact * weight).sum(2, keepdim=True) / weight.sum(2, keepdim=True).clamp(min=1)
            rest = exact - shared
        else:
            background = _leading_projector(exact * weight, perturbation.background)
            rest = exact - exact @ background
            rest = rest - rest @ background  # what float32 leaves of a strong background would count as a direction
        # In float64, because float32 cannot hold the squares of tiny keys.
        left, length = (torch.linalg.vector_norm(k, dim=-1, dtype=torch.float64) for k in (rest, exact))
        small = left <= _ROUNDING * length
        return rest.masked_fill(small[..., None], 0)


def _leading_projector(keys: Tensor, share: float) -> Tensor:
    """Onto the leading components of all keys [..., N, d], at least one: [..., d, d]."""
    subspaces = decompose(keys)
    keep = leading_components(subspaces.sigma.flip(-1), share, min_components=1).flip(-1)
    basis = subspaces.basis * keep[..., None, :]
    projector: Tensor = basis @ basis.mT
    return projector
