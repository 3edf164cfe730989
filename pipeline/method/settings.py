"""Q-Perturbation: object-aware queries for the cross-attention of a vision-language model (the paper on one page).

An image token's key says what the queries may find there. The keys under an object span its *key subspace*, and pushing
every query towards that subspace makes the attention look at the object, however few of the tokens it covers:

    G   = (m K)^T (m K)                     keys K [N, d] of one head, m [N] the object's weight for each token
    W   = leading eigenvectors of G         as many as stay within the contribution ratio (equations 1 and 2)
    q'  = q + sum_i alpha_i q W_i W_i^T     over the objects i of the photo (Algorithm 1.1)

The keys depend on the image only, so `A = sum_i alpha_i W_i W_i^T` is one [d, d] matrix for each photo and head.
Everything here is plain linear algebra on batches: all photos, objects and heads in one call, fp32 whatever the model's
dtype, and no knowledge of models.

    tokens = pool_object_keys(coverage, areas, perturbation)    once per batch of photos
    A = object_operator(keys, tokens, perturbation)             once per cross-attention
    q = perturb(q, A)
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from pipeline.errors import QpertError
from pipeline.method.object_keys import ObjectTokens, pool_object_keys
from pipeline.method.subspaces import Subspaces, decompose, keeps_all, leading_components

Operator = Literal["subspace", "orthogonal", "eigenvector-rows"]
Combine = Literal["sum", "mean"]
TokenWeight = Literal["overlap", "coverage"]
Weight = Literal["area", "1-area", "area-0.5", "0.5-area", "constant", "-area"]
Stage = Literal["itc", "itm", "lm"]
_ROWS = "eigenvector-rows"


@dataclass(frozen=True)
class Perturbation:
    """What is done to the queries. `paper` and `released` are the two settings with a name.

    Attributes:
        operator: what an object does to a query q. `subspace`: adds its part in the key subspace, q P (the paper).
            `orthogonal`: adds its part outside, q (I - P) (OrQ-Pert of Table A, the paper's negative control).
            `eigenvector-rows`: adds q V^T M V, where the columns of V are the eigenvectors in descending order and M
            keeps the first p rows. This is what the authors' released code computes. It is a projector of the right
            rank, but not onto the key subspace, and it depends on the signs of the eigenvectors, hence on the
            linear-algebra library: use it to compare with published features only.
        combine: `sum` over the photo's objects (Algorithm 1.1), or their `mean`. Only objects that cover a token
            count: one that the crop removed shall not weaken the others.
        tokens: which keys are an object's. `overlap`: every token it touches, equally; `coverage`: each by the share
            of its patch that is covered.
        weight: alpha as a function of the object's share of the photo's area, times `scale` (Tables C and D). `-area`
            is not in the paper: it is what the released code computes under the name of `1-area`.
        scale: factor of alpha.
        threshold: largest contribution ratio of the kept components, in (0, 1] (equation 2). 1 keeps the whole row
            space of the keys, up to their numerical rank.
        stages: where the queries are perturbed: image-text contrast, image-text matching, language modelling.
        min_components: 1 keeps the first component even if it alone exceeds the threshold; 0 then keeps none.
        sites: which of the encoder's cross-attentions are perturbed, by name (`*` stands for anything) or by number,
            in the order of `Encoder.sites()`, from the end where negative; None for all, as in the paper, which names
            leaving some out as future work.

    Raises:
        QpertError: a value that is not among these; the message lists them.
    """

    operator: Operator = "subspace"
    combine: Combine = "sum"
    tokens: TokenWeight = "overlap"
    weight: Weight = "constant"
    scale: float = 8.0
    threshold: float = 0.9
    stages: tuple[Stage, ...] = ("itc",)
    min_components: Literal[0, 1] = 1
    sites: tuple[str | int, ...] | None = None

    def __post_init__(self) -> None:
        _one_of("operator", self.operator, get_args(Operator))
        _one_of("combine", self.combine, get_args(Combine))
        _one_of("tokens", self.tokens, get_args(TokenWeight))
        _one_of("weight", self.weight, get_args(Weight))
        _one_of("min_components", self.min_components, (0, 1))
        for stage in self.stages:
            _one_of("stages", stage, get_args(Stage))
        if not math.isfinite(self.scale):
            raise QpertError(f"perturbation scale must be a finite number, got {self.scale}; the paper tries 2 to 10")
        if not 0 < self.threshold <= 1:
            raise QpertError(
                f"perturbation threshold is the share of the keys' energy to keep and lies in (0, 1], "
                f"got {self.threshold}; the paper tries 0.8 to 0.99"
            )
        object.__setattr__(self, "stages", tuple(stage for stage in get_args(Stage) if stage in self.stages))
        if self.sites is not None:
            given = (self.sites,) if isinstance(self.sites, str | int) else self.sites
            sites = tuple(int(each) if str(each).removeprefix("-").isdigit() else each for each in given)
            object.__setattr__(self, "sites", sites)
            if not sites:
                raise QpertError("perturbation sites: name at least one cross-attention, or leave it out for all")

    @classmethod
    def paper(cls, scale: float = 8.0, threshold: float = 0.9, weight: Weight = "constant") -> Perturbation:
        """The method as the paper describes it; scale, threshold and weight are its grid (Tables C and D)."""
        return cls(scale=scale, threshold=threshold, weight=weight)

    @classmethod
    def released(cls, scale: float = 8.0, threshold: float = 0.99, weight: Weight = "constant") -> Perturbation:
        """The method as the authors' released code computes it; its `1-area` is `-area`."""
        return cls(
            operator="eigenvector-rows",
            combine="mean",
            tokens="coverage",
            weight="-area" if weight == "1-area" else weight,
            scale=scale,
            threshold=threshold,
            stages=("itc", "itm"),
        )

    def as_dict(self) -> dict[str, Any]:
        """The fields, for files and fingerprints; without `sites` where all are meant, as before there was a choice."""
        return {name: value for name, value in asdict(self).items() if name != "sites" or value is not None}

    def alphas(self, areas: Tensor) -> Tensor:
        """`scale * weight(area)` for objects with these areas (fractions of the photo, any shape)."""
        weights = {
            "area": areas,
            "1-area": 1 - areas,
            "area-0.5": areas - 0.5,
            "0.5-area": 0.5 - areas,
            "constant": torch.ones_like(areas),
            "-area": -areas,
        }
        return self.scale * weights[self.weight]

    def token_weights(self, coverage: Tensor) -> Tensor:
        """m, the weight of each token's key, from the share of its patch that is covered (same shape)."""
        return (coverage > 0).to(coverage.dtype) if self.tokens == "overlap" else coverage


def object_operator(
    keys: Tensor, groups: list[ObjectTokens], perturbation: Perturbation, subspaces: list[Subspaces] | None = None
) -> Tensor:
    """A = sum_i alpha_i P_i for each photo and head.

    Args:
        keys: [B, H, N, d], any floating dtype, of one cross-attention.
        groups: from `pool_object_keys`.
        perturbation: `operator`, `threshold` and `min_components` are used.
        subspaces: what `object_subspaces` gave for these keys, and for a perturbation of the same `subspace_kind`;
            None: they are worked out.

    Returns:
        float32 [B, H, d, d]; exactly 0 for photos without objects, NaN for one with an object whose keys are not finite
        or whose Gram matrix float32 cannot hold.
    """
    photos, heads, _, dim = keys.shape
    total = keys.new_zeros(photos, heads, dim, dim, dtype=torch.float32)
    for number, group in enumerate(groups):
        found = _of_group(keys, group, perturbation) if subspaces is None else subspaces[number]
        with torch.autocast(keys.device.type, enabled=False):
            projection = _project(found, perturbation)
        total.index_add_(0, group.photo, projection * group.alphas[:, None, None, None])
    return total


def object_subspaces(keys: Tensor, groups: list[ObjectTokens], perturbation: Perturbation) -> list[Subspaces]:
    """The dear part of `object_operator`, which many perturbations share: weight, scale and threshold come after it."""
    return [_of_group(keys, group, perturbation) for group in groups]


def subspace_kind(perturbation: Perturbation) -> tuple[object, ...]:
    """What `object_subspaces` depends on, besides keys and groups."""
    return perturbation.tokens, perturbation.operator == _ROWS, keeps_all(perturbation.threshold)


def _of_group(keys: Tensor, group: ObjectTokens, perturbation: Perturbation) -> Subspaces:
    head = torch.arange(keys.shape[1], device=keys.device)[:, None]
    of_objects = keys[group.photo[:, None, None], head, group.index[:, None]].float()  # a copy [g, H, n, d]
    of_objects *= group.weights[:, None, :, None]
    with torch.autocast(keys.device.type, enabled=False):
        return _decompose(of_objects, perturbation)


def projector(keys: Tensor, perturbation: Perturbation) -> Tensor:
    """P of one object for each head: what `operator` makes of the object's weighted keys float32 [..., n, d].

    Returns:
        float32 [..., d, d], symmetric and idempotent; exactly 0 where all keys are 0, NaN where there is none.
    """
    return _project(_decompose(keys, perturbation), perturbation)


def _decompose(keys: Tensor, perturbation: Perturbation) -> Subspaces:
    return decompose(keys, rows=perturbation.operator == _ROWS, exact=keeps_all(perturbation.threshold))


def _project(found: Subspaces, perturbation: Perturbation) -> Tensor:
    if keeps_all(perturbation.threshold):
        keep = found.sigma > 0
    else:
        keep = leading_components(found.sigma.flip(-1), perturbation.threshold, perturbation.min_components).flip(-1)
    basis = found.basis * keep[..., None, :]
    projection: Tensor = basis @ basis.mT
    if perturbation.operator == "orthogonal":
        present = (found.sigma[..., -1:] > 0)[..., None]
        projection = present * (torch.eye(basis.shape[-2], device=basis.device) - projection)
    return projection


def perturb(queries: Tensor, operator: Tensor) -> Tensor:
    """Perturbed queries q' = q + q A (Algorithm 1.1), as `queries` [B, H, Q, d]; operator float32 [B, H, d, d]."""
    with torch.autocast(queries.device.type, enabled=False):
        exact = queries.float()
        return (exact + exact @ operator).to(queries.dtype)


def _one_of(name: str, value: object, options: tuple[object, ...]) -> None:
    if value not in options:
        raise QpertError(f"perturbation {name}: {value!r} is not one of {', '.join(map(str, options))}")


__all__ = ["Perturbation", "leading_components", "object_operator", "object_subspaces", "perturb", "pool_object_keys"]
