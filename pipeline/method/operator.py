"""Q-Perturbation: object-aware queries for the cross-attention of a vision-language model (the paper on one page).

An image token's key says what the queries may find there. The keys under an object span its *key subspace*, and pushing
every query towards that subspace makes the attention look at the object, however few of the tokens it covers:

    G   = (m K)^T (m K)                     keys K [N, d] of one head, m [N] the object's weight for each token
    W   = leading eigenvectors of G         as many as stay within the contribution ratio (equations 1 and 2)
    q'  = q + sum_i alpha_i q W_i W_i^T     over the objects i of the photo (Algorithm 1.1)

The keys depend on the image only, so `A = sum_i alpha_i W_i W_i^T` is one [d, d] matrix for each photo and head.
All of it is plain linear algebra on batches: all photos, objects and heads in one call, fp32 whatever the model's
dtype, and no knowledge of models.

    tokens = pool_object_keys(coverage, areas, perturbation)    once per batch of photos
    A = object_operator(keys, tokens, perturbation)             once per cross-attention
    q = perturb(q, A)
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.method.object_keys import ObjectTokens
from pipeline.method.settings import Perturbation
from pipeline.method.subspaces import Subspaces, decompose, keeps_all, leading_components

_ROWS = "eigenvector-rows"


def object_operator(
    keys: Tensor, groups: list[ObjectTokens], perturbation: Perturbation, subspaces: list[Subspaces] | None = None
) -> Tensor:
    """A = sum_i alpha_i P_i for each photo and head.

    Args:
        keys: [B, H, N, d], any floating dtype, of one cross-attention.
        groups: from `pool_object_keys`.
        perturbation: `operator`, `threshold` and `min_components` are used.
        subspaces: result of `object_subspaces` for these keys and a perturbation of the same `subspace_kind`; None
            computes them.

    Returns:
        float32 [B, H, d, d]; exactly 0 for photos without objects, NaN for one with an object whose keys are not finite
        or whose Gram matrix float32 cannot hold.
    """
    photos, heads, _, dim = keys.shape
    total = keys.new_zeros(photos, heads, dim, dim, dtype=torch.float32)
    for number, group in enumerate(groups):
        subspace = _group_subspaces(keys, group, perturbation) if subspaces is None else subspaces[number]
        with torch.autocast(keys.device.type, enabled=False):
            projection = _project(subspace, perturbation)
        total.index_add_(0, group.photo, projection * group.alphas[:, None, None, None])
    return total


def object_subspaces(keys: Tensor, groups: list[ObjectTokens], perturbation: Perturbation) -> list[Subspaces]:
    """The expensive part of `object_operator`; perturbations of the same `subspace_kind` share it."""
    return [_group_subspaces(keys, group, perturbation) for group in groups]


def subspace_kind(perturbation: Perturbation) -> tuple[object, ...]:
    """The parts of a perturbation that `object_subspaces` depends on, besides keys and groups."""
    exact = keeps_all(perturbation.threshold)
    return perturbation.tokens, perturbation.artefacts, perturbation.operator == _ROWS, exact


def _group_subspaces(keys: Tensor, group: ObjectTokens, perturbation: Perturbation) -> Subspaces:
    head = torch.arange(keys.shape[1], device=keys.device)[:, None]
    object_keys = keys[group.photo[:, None, None], head, group.index[:, None]].float()  # a copy [g, H, n, d]
    object_keys *= group.weights[:, None, :, None]
    with torch.autocast(keys.device.type, enabled=False):
        return _decompose(object_keys, perturbation)


def projector(keys: Tensor, perturbation: Perturbation) -> Tensor:
    """P of one object for each head, from the object's weighted keys float32 [..., n, d].

    Returns:
        float32 [..., d, d], symmetric and idempotent; exactly 0 where all keys are 0, NaN where float32 cannot hold it.
    """
    return _project(_decompose(keys, perturbation), perturbation)


def _decompose(keys: Tensor, perturbation: Perturbation) -> Subspaces:
    return decompose(keys, rows=perturbation.operator == _ROWS, exact=keeps_all(perturbation.threshold))


def _project(subspaces: Subspaces, perturbation: Perturbation) -> Tensor:
    if keeps_all(perturbation.threshold):
        keep = subspaces.sigma > 0
    else:
        descending = subspaces.sigma.flip(-1)
        keep = leading_components(descending, perturbation.threshold, perturbation.min_components).flip(-1)
    basis = subspaces.basis * keep[..., None, :]
    projection: Tensor = basis @ basis.mT
    if perturbation.operator == "orthogonal":
        present = (subspaces.sigma[..., -1:] > 0)[..., None]
        projection = present * (torch.eye(basis.shape[-2], device=basis.device) - projection)
    return projection


def perturb(queries: Tensor, operator: Tensor) -> Tensor:
    """Perturbed queries q' = q + q A (Algorithm 1.1), as `queries` [B, H, Q, d]; operator float32 [B, H, d, d]."""
    with torch.autocast(queries.device.type, enabled=False):
        exact = queries.float()
        return (exact + exact @ operator).to(queries.dtype)
