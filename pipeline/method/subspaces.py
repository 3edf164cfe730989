"""The key subspaces of objects: eigendecompositions of their Gram matrices, and which components are kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_TIE = 1e-6
"""A contribution ratio this little above the threshold is equal to it: eigenvalues carry fp32 rounding."""
_TINY, _HUGE = 2.0**-40, 2.0**55
"""The squares of keys whose largest is between these fit into fp32, and so do the sums of millions of them."""


@dataclass(frozen=True)
class Subspaces:
    """The eigendecompositions of a group of objects, before weight, scale and threshold say what becomes of them.

    Attributes:
        sigma: float32 [..., r], eigenvalues of (mK)^T (mK), ascending; those that must be 0 may be left out. For an
            object whose keys are all below 2^-40 they are multiplied by a power of two, as only their ratios matter.
        basis: float32 [..., d, r], what each of them adds to the projector: unit vectors, 0 beyond the keys' rank.
    """

    sigma: Tensor
    basis: Tensor


def keeps_all(threshold: float) -> bool:
    """Whether a threshold keeps the whole row space of the keys, which needs `decompose(..., exact=True)`."""
    return threshold + _TIE >= 1


def decompose(keys: Tensor, *, rows: bool = False, exact: bool = False) -> Subspaces:
    """The subspaces of weighted keys float32 [..., n, d].

    The eigenvalues of (mK)^T (mK) [d, d] that are not 0 are also those of (mK)(mK)^T [n, n], and eigenvectors U of the
    latter give those of the former as (mK)^T U / sqrt(sigma): for an object of few tokens that is much less work.

    Args:
        keys: of one object for each head.
        rows: take the rows of the matrix of eigenvectors for its columns, as the released code does.
        exact: find every direction of the row space, also those that a Gram matrix loses to rounding, see `_exact`.

    Returns:
        Where keys are not finite, or fp32 cannot hold the Gram matrix, the basis is NaN: no other could be right.
    """
    largest = keys.abs().amax((-2, -1), keepdim=True)
    broken = None
    if not ((largest == 0) | (largest >= _TINY) & (largest <= _HUGE)).all():
        keys, broken = _in_range(keys, largest)
    found = _exact(keys, rows) if exact else _of_gram(keys, rows)
    return found if broken is None else Subspaces(found.sigma, found.basis.masked_fill(broken, torch.nan))


def _in_range(keys: Tensor, largest: Tensor) -> tuple[Tensor, Tensor]:
    """Keys whose squares fp32 can hold, and bool [..., 1, 1]: where that cannot be, and keys of 0 stand instead.

    Tiny keys are multiplied by a power of two, which leaves their bits alone.
    """
    broken = ~keys.square().sum((-2, -1), keepdim=True).isfinite()  # the trace, which no entry or eigenvalue exceeds
    raised = keys * 2.0**100  # so that subnormal numbers leave their range
    exponent = torch.frexp(raised.abs().amax((-2, -1), keepdim=True)).exponent
    keys = torch.where((largest > 0) & (largest < _TINY), torch.ldexp(raised, -exponent), keys)
    return keys.masked_fill(broken, 0), broken


def _of_gram(keys: Tensor, rows: bool) -> Subspaces:
    few = keys.shape[-2] < keys.shape[-1] and not rows
    sigma, vectors = torch.linalg.eigh(keys @ keys.mT if few else keys.mT @ keys)  # ascending
    if rows:
        return Subspaces(sigma, vectors.flip(-1).mT.flip(-1))
    if few:
        there = sigma > _least(sigma)
        vectors = keys.mT @ (vectors * (there / sigma.where(there, 1).sqrt())[..., None, :])
    return Subspaces(sigma, vectors)


def _exact(keys: Tensor, rows: bool) -> Subspaces:
    """By singular values in float64: a Gram matrix squares them, so it loses those below 3e-4 of the largest in fp32.

    Numerical rank: a direction counts if its singular value is above max(n, d) * 2^-23 times the largest, where n are
    the keys that are not 0: below that is the rounding of fp32 keys.
    """
    _, values, directions = torch.linalg.svd(keys.double(), full_matrices=rows)  # descending; directions [..., r, d]
    count = (keys != 0).any(-1).sum(-1, keepdim=True).clamp(min=keys.shape[-1])
    there = values > count * torch.finfo(torch.float32).eps * values[..., :1]
    sigma = (values * there).square().float().flip(-1)
    if not rows:
        return Subspaces(sigma, (directions * there[..., None]).mT.flip(-1).float())
    return Subspaces(torch.nn.functional.pad(sigma, (keys.shape[-1] - sigma.shape[-1], 0)), directions.flip(-1).float())


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
