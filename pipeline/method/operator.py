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

from pipeline.method.backgrounds import distinctive_keys
from pipeline.method.object_keys import ObjectTokens
from pipeline.method.random_bases import random_bases
from pipeline.method.settings import Norm, Perturbation
from pipeline.method.subspaces import Subspaces, decompose, keeps_all, leading_components

_ROWS = "eigenvector-rows"
_VANISHED = 2.0**-16
"""A perturbed query this short, relative to the query, is the rounding of float32, and has no direction to keep."""


def object_operator(
    keys: Tensor,
    groups: list[ObjectTokens],
    perturbation: Perturbation,
    subspaces: list[Subspaces] | None = None,
    counted: Tensor | None = None,
) -> Tensor:
    """A = sum_i alpha_i P_i for each photo and head, with what `Perturbation.operator` puts in the place of P_i.

    Args:
        keys: [B, H, N, d], any floating dtype, of one cross-attention.
        groups: from `pool_object_keys`.
        perturbation: `operator`, `threshold`, `min_components`, `pca` and `background` are used.
        subspaces: result of `object_subspaces` for these keys and a perturbation of the same `subspace_kind`; None
            computes them.
        counted: see `distinctive_keys`.

    Returns:
        float32 [B, H, d, d]; exactly 0 for photos without objects, NaN for one with an object whose keys are not finite
        or whose Gram matrix float32 cannot hold.
    """
    photos, heads, _, dim = keys.shape
    total = keys.new_zeros(photos, heads, dim, dim, dtype=torch.float32)
    unit = torch.eye(dim, device=keys.device)
    if perturbation.operator == "scaled":
        for group in groups:
            total.index_add_(0, group.photo, unit * group.alphas[:, None, None, None].expand(-1, heads, -1, -1))
        return total
    if subspaces is None:
        subspaces = object_subspaces(keys, groups, perturbation, counted)
    replaced = keys.new_zeros(photos, heads, dtype=torch.bool)
    for group, subspace in zip(groups, subspaces, strict=True):
        with torch.autocast(keys.device.type, enabled=False):
            if perturbation.operator == "random":
                # The last ones, so that an object has the same subspace whatever it is grouped with.
                rank = subspace.sigma.shape[-1]
                bases = random_bases(group.seeds, heads, dim).to(keys.device)[..., dim - rank :]
                subspace = Subspaces(subspace.sigma, bases.masked_fill(subspace.basis.isnan(), torch.nan))
            projection = _project(subspace, perturbation)
        total.index_add_(0, group.photo, projection * group.alphas[:, None, None, None])
        replaced[group.photo] |= subspace.sigma[..., -1] > 0
    if perturbation.operator == "complement":
        total -= unit * replaced[..., None, None]
    return total


def object_subspaces(
    keys: Tensor, groups: list[ObjectTokens], perturbation: Perturbation, counted: Tensor | None = None
) -> list[Subspaces]:
    """The expensive part of `object_operator`; perturbations of the same `subspace_kind` share it."""
    distinctive = distinctive_keys(keys, counted, perturbation)
    return [_group_subspaces(distinctive, group, perturbation) for group in groups]


def subspace_kind(perturbation: Perturbation) -> tuple[object, ...]:
    """The parts of a perturbation that `object_subspaces` depends on, besides keys and groups.

    None of the operator `scaled`, which needs no subspaces.
    """
    p = perturbation
    exact = keeps_all(p.threshold)
    background = p.background if p.pca == "background-out" else None
    boxes = p.boxes, None if p.boxes == "own" else p.seed
    return p.tokens, p.artefacts, p.operator == _ROWS, exact, p.pca, background, boxes


def weighted_keys(keys: Tensor, group: ObjectTokens) -> Tensor:
    """The weighted keys float32 [g, H, n, d] of a group's objects, from all keys [B, H, N, d]."""
    head = torch.arange(keys.shape[1], device=keys.device)[:, None]
    object_keys = keys[group.photo[:, None, None], head, group.index[:, None]].float()  # a copy [g, H, n, d]
    object_keys *= group.weights[:, None, :, None]
    return object_keys


def _group_subspaces(keys: Tensor, group: ObjectTokens, perturbation: Perturbation) -> Subspaces:
    with torch.autocast(keys.device.type, enabled=False):
        return _decompose(weighted_keys(keys, group), perturbation)


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
    if perturbation.operator in ("orthogonal", "complement"):
        present = (subspaces.sigma[..., -1:] > 0)[..., None]
        projection = present * (torch.eye(basis.shape[-2], device=basis.device) - projection)
    return projection


def perturb(queries: Tensor, operator: Tensor, norm: Norm = "free") -> Tensor:
    """Perturbed queries q' = q + q A (Algorithm 1.1).

    Args:
        queries: [B, H, Q, d].
        operator: A, float32 [B, H, d, d].
        norm: `keep` scales every q' to the length of q; a q' of which nothing is left but rounding becomes 0.

    Returns:
        As `queries`.
    """
    with torch.autocast(queries.device.type, enabled=False):
        exact = queries.float()
        perturbed = exact + exact @ operator
        if norm == "keep":
            # In float64, because float32 cannot hold the squares of tiny and of huge queries.
            before, after = (
                torch.linalg.vector_norm(q, dim=-1, keepdim=True, dtype=torch.float64) for q in (exact, perturbed)
            )
            vanished = after <= _VANISHED * before
            perturbed = perturbed * (before / after.masked_fill(vanished, 1)).masked_fill(vanished, 0).float()
        return perturbed.to(queries.dtype)
