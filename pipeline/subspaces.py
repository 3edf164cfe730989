"""The key subspaces of objects: eigendecompositions of their Gram matrices, and which components are kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_TIE = 1e-6
"""A contribution ratio this little above the threshold is equal to it: eigenvalues carry fp32 rounding."""


@dataclass(frozen=True)
class Subspaces:
    """The eigendecompositions of a group of objects, before weight, scale and threshold say what becomes of them.

    Attributes:
        sigma: float32 [..., r], eigenvalues of (mK)^T (mK), ascending; those that must be 0 may be left out.
        basis: float32 [..., d, r], what each of them adds to the projector: unit vectors, 0 beyond the keys' rank.
    """

    sigma: Tensor
    basis: Tensor


def decompose(keys: Tensor, *, rows: bool = False) -> Subspaces:
    """The subspaces of weighted keys float32 [..., n, d].

    The eigenvalues of (mK)^T (mK) [d, d] that are not 0 are also those of (mK)(mK)^T [n, n], and eigenvectors U of the
    latter give those of the former as (mK)^T U / sqrt(sigma): for an object of few tokens that is much less work.

    Args:
        keys: of one object for each head.
        rows: take the rows of the matrix of eigenvectors for its columns, as the released code does.
    """
    few = keys.shape[-2] < keys.shape[-1] and not rows
    gram = keys @ keys.mT if few else keys.mT @ keys
    sigma, vectors = torch.linalg.eigh(gram.nan_to_num(0, 0, 0))  # ascending; one NaN would fail the whole batch
    if rows:
        return Subspaces(sigma, vectors.flip(-1).mT.flip(-1))
    if few:
        there = sigma > _least(sigma)
        vectors = keys.mT @ (vectors * (there / sigma.where(there, 1).sqrt())[..., None, :])
    return Subspaces(sigma, vectors)


def leading_components(sigma: Tensor, threshold: float, min_components: int) -> Tensor:
    """Which eigenvalues are kept (equation 2): the most whose share of the sum does not exceed the threshold.

    Components beyond the rank of the keys (up to fp32 rounding) are never kept, nor is anything of an all-zero Gram
    matrix.

    Args:
        sigma: [..., n] eigenvalues of a positive semi-definite matrix, descending; rounding may make the last negative.
        threshold: largest contribution ratio.
        min_components: keep at least as many (0 or 1).

    Returns:
        bool [..., n].
    """
    sigma = sigma.clamp(min=0)
    total = sigma.sum(-1, keepdim=True)
    keep = sigma.cumsum(-1) <= (threshold + _TIE) * total
    keep[..., :min_components] = True
    return keep & (sigma > _least(sigma))


def _least(sigma: Tensor) -> Tensor:
    """Eigenvalues [..., n] up to this [..., 1] are rounding."""
    return sigma.shape[-1] * torch.finfo(sigma.dtype).eps * sigma.amax(-1, keepdim=True)
