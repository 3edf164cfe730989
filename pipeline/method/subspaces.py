"""The key subspaces of objects: eigendecompositions of their Gram matrices, and which components are kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.method.eigen import eigh

_TIE = 1e-6
"""A contribution ratio this little above the threshold is equal to it: eigenvalues carry fp32 rounding."""
_TINY, _HUGE = 2.0**-40, 2.0**55
"""If the largest key is between these bounds, fp32 can hold its square, and sums of millions of such squares."""


@dataclass(frozen=True)
class Subspaces:
    """The eigendecompositions of a group of objects, independent of weight, scale and threshold.

    Attributes:
        sigma: float32 [..., r], eigenvalues of (mK)^T (mK), ascending; eigenvalues known to be 0 may be left out. For
            an object whose keys are all below 2^-40 they are scaled by a power of two, as only their ratios matter.
        basis: float32 [..., d, r], the unit vector that each eigenvalue adds to the projector, 0 beyond the keys' rank.
    """

    sigma: Tensor
    basis: Tensor


def keeps_all(threshold: float) -> bool:
    """Whether a threshold keeps the whole row space of the keys, which needs `decompose(..., exact=True)`."""
    return threshold + _TIE >= 1


def decompose(keys: Tensor, *, rows: bool = False, exact: bool = False) -> Subspaces:
    """The subspaces of weighted keys float32 [..., n, d].

    (mK)^T (mK) [d, d] and (mK)(mK)^T [n, n] share their non-zero eigenvalues, and eigenvectors U of the latter give
    those of the former as (mK)^T U / sqrt(sigma), which is much less work for an object of few tokens.

    Args:
        keys: of one object for each head.
        rows: use the rows of the matrix of eigenvectors instead of its columns, as the released code does.
        exact: find every direction of the row space, including those that a Gram matrix loses to rounding, see
            `_exact`.

    Returns:
        The subspaces; the basis is NaN where keys are not finite or fp32 cannot hold the Gram matrix.
    """
    largest = keys.abs().amax((-2, -1), keepdim=True)
    broken = None
    if not ((largest == 0) | (largest >= _TINY) & (largest <= _HUGE)).all():
        keys, broken = _in_range(keys, largest)
    subspaces = _exact(keys, rows) if exact else _by_gram(keys, rows)
    if broken is None:
        return subspaces
    return Subspaces(subspaces.sigma, subspaces.basis.masked_fill(broken, torch.nan))


def _in_range(keys: Tensor, largest: Tensor) -> tuple[Tensor, Tensor]:
    """Keys whose squares fp32 can hold, and bool [..., 1, 1], True where none can and the keys are set to 0.

    Tiny keys are multiplied by a power of two, which keeps their mantissas.
    """
    broken = ~keys.square().sum((-2, -1), keepdim=True).isfinite()  # the trace bounds all entries and eigenvalues
    raised = keys * 2.0**100  # so that subnormal numbers become normal
    exponent = torch.frexp(raised.abs().amax((-2, -1), keepdim=True)).exponent
    keys = torch.where((largest > 0) & (largest < _TINY), torch.ldexp(raised, -exponent), keys)
    return keys.masked_fill(broken, 0), broken


def gram(keys: Tensor, *, rows: bool = False) -> Tensor:
    """The smaller of (mK)(mK)^T and (mK)^T (mK) for weighted keys [..., n, d]; the latter for `rows`."""
    return keys @ keys.mT if _few(keys, rows) else keys.mT @ keys


def _few(keys: Tensor, rows: bool) -> bool:
    return keys.shape[-2] < keys.shape[-1] and not rows


def _by_gram(keys: Tensor, rows: bool) -> Subspaces:
    few = _few(keys, rows)
    sigma, vectors = eigh(gram(keys, rows=rows))  # ascending
    if rows:
        return Subspaces(sigma, vectors.flip(-1).mT.flip(-1))
    if few:
        present = sigma > _rounding(sigma)
        vectors = keys.mT @ (vectors * (present / sigma.where(present, 1).sqrt())[..., None, :])
    return Subspaces(sigma, vectors)


def _exact(keys: Tensor, rows: bool) -> Subspaces:
    """By singular values in float64: a Gram matrix squares them, so fp32 loses those below 3e-4 of the largest.

    Numerical rank: a direction counts if its singular value is above max(n, d) * 2^-23 times the largest, where n is
    the number of non-zero keys; anything below is rounding of the fp32 keys.

    Always on the CPU: other devices lack float64 or take it one matrix after the other, and results of their vendors'
    batched calls would have to be checked (see `eigen`).
    """
    device, keys = keys.device, keys.cpu()
    _, values, directions = torch.linalg.svd(keys.double(), full_matrices=rows)  # descending; directions [..., r, d]
    count = (keys != 0).any(-1).sum(-1, keepdim=True).clamp(min=keys.shape[-1])
    present = values > count * torch.finfo(torch.float32).eps * values[..., :1]
    sigma = (values * present).square().float().flip(-1)
    if rows:
        sigma, basis = torch.nn.functional.pad(sigma, (keys.shape[-1] - sigma.shape[-1], 0)), directions.flip(-1)
    else:
        basis = (directions * present[..., None]).mT.flip(-1)
    return Subspaces(sigma.to(device), basis.float().to(device))


def leading_components(sigma: Tensor, threshold: float, min_components: int) -> Tensor:
    """The eigenvalues to keep (equation 2): as many as fit before their share of the sum exceeds the threshold.

    Components beyond the rank of the keys (up to fp32 rounding) are never kept, and none of an all-zero Gram matrix.

    Args:
        sigma: [..., n] eigenvalues of a positive semi-definite matrix, descending; the last may round to below 0.
        threshold: largest contribution ratio.
        min_components: components to keep at least (0 or 1).

    Returns:
        bool [..., n].
    """
    sigma = sigma.clamp(min=0)
    total = sigma.sum(-1, keepdim=True)
    keep = sigma.cumsum(-1) <= (threshold + _TIE) * total
    keep[..., :min_components] = True
    return keep & (sigma > _rounding(sigma))


def _rounding(sigma: Tensor) -> Tensor:
    """Bound [..., 1] up to which eigenvalues [..., n] are rounding errors."""
    return sigma.shape[-1] * torch.finfo(sigma.dtype).eps * sigma.amax(-1, keepdim=True)
