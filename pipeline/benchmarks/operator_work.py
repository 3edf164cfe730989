"""The work of Q-Perturbation itself, on random objects: what the benchmarks of all models time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from pipeline.encoders.sites import perturbing
from pipeline.method.backgrounds import distinctive_keys
from pipeline.method.eigen import eigh
from pipeline.method.object_keys import pool_object_keys
from pipeline.method.objects import Grid, Objects, batch_coverage
from pipeline.method.operator import object_operator, perturb, weighted_keys
from pipeline.method.settings import Perturbation
from pipeline.method.subspaces import gram

_SMALLEST, _LARGEST, _ASPECT = 0.005, 0.5, 2.0


def random_objects(images: int, count: int, seed: int = 0) -> list[Objects]:
    """Boxes anywhere in the photo, areas log-uniform between 0.5 % and 50 % of it, aspects between 1:2 and 2:1."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(images, count, 4, generator=generator)
    area = _SMALLEST * (_LARGEST / _SMALLEST) ** draws[..., 0]
    width = (area * _ASPECT ** (2 * draws[..., 1] - 1)).sqrt()
    width = width.maximum(area).clamp(max=1)  # neither side may exceed the photo's
    height = area / width
    x, y = draws[..., 2] * (1 - width), draws[..., 3] * (1 - height)
    boxes = torch.stack([x, y, x + width, y + height], -1).clamp(0, 1)
    return [Objects(photo, [""] * count, torch.ones(count), (640, 480)) for photo in boxes]


class OperatorWork:
    """The two steps of Q-Perturbation, on the keys of one pass: making the operators (KC) and applying them (QE).

    Args:
        sites: the perturbable cross-attentions.
        attend: runs the photos through all of them.
        queries: query tokens per photo.
        objects: one `Objects` per photo.
        grid: how a photo is cut into tokens.
        perturbation: how objects act on the queries.

    Attributes:
        operators: float32 [B, H, d, d] by site.
    """

    def __init__(
        self,
        sites: Mapping[str, nn.Module],
        attend: Callable[[], object],
        queries: int,
        objects: Sequence[Objects],
        grid: Grid,
        perturbation: Perturbation,
    ) -> None:
        self._objects, self._grid, self._perturbation = objects, grid, perturbation
        self._keys: dict[str, Tensor] = {}
        with perturbing(sites, self._record):
            attend()
        keys = next(iter(self._keys.values()))
        self._queries = {name: _random_queries(of_site, queries) for name, of_site in self._keys.items()}
        self._groups = pool_object_keys(*batch_coverage(objects, grid), perturbation, keys.device)
        self.operators = self.construct()

    def construct(self) -> dict[str, Tensor]:
        """The operators of all sites, from the boxes on."""
        device = next(iter(self._keys.values())).device
        groups = pool_object_keys(*batch_coverage(self._objects, self._grid), self._perturbation, device)
        return {name: object_operator(keys, groups, self._perturbation) for name, keys in self._keys.items()}

    def grams(self) -> list[Tensor]:
        """A part of `construct`: the Gram matrices of the objects' keys, by site and group."""
        rows, keys = self._perturbation.operator == "eigenvector-rows", self._keys.values()
        shared = [distinctive_keys(of_site, None, self._perturbation) for of_site in keys]
        return [gram(weighted_keys(of_site, group), rows=rows) for of_site in shared for group in self._groups]

    def decompose(self, grams: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """A part of `construct`: the eigendecompositions of what `grams` returned."""
        return [eigh(matrices) for matrices in grams]

    def enhance(self) -> list[Tensor]:
        """Random queries, perturbed with the operator of each site."""
        return [perturb(self._queries[name], operator) for name, operator in self.operators.items()]

    def _record(self, name: str, keys: Tensor) -> Tensor:
        self._keys[name] = keys
        return keys.new_zeros(*keys.shape[:2], keys.shape[-1], keys.shape[-1], dtype=torch.float32)


def _random_queries(keys: Tensor, count: int) -> Tensor:
    """Queries [B, H, count, d] for keys [B, H, N, d]; sites differ in heads and widths."""
    photos, heads, _, width = keys.shape
    return torch.randn(photos, count, heads, width, device=keys.device).transpose(1, 2)


def mean_tokens(objects: Sequence[Objects], grid: Grid) -> float:
    """Mean number of image tokens that a box touches; every photo has the same number of boxes."""
    coverage, _ = batch_coverage(objects, grid)
    return float((coverage > 0).sum(-1).float().mean())
