"""The random objects that benchmarks use."""

from __future__ import annotations

import torch

from pipeline.benchmarks.operator_work import OperatorWork, random_objects
from pipeline.encoders import load_encoder
from pipeline.method.objects import TokenGrid, batch_coverage
from pipeline.method.settings import Perturbation

GRID = TokenGrid(image_size=364, patch=14, mode="squash")


def test_boxes_have_all_sizes_and_lie_inside_the_photo() -> None:
    objects = random_objects(50, 20, seed=3)
    areas = torch.cat([photo.areas for photo in objects])
    assert len(areas) == 1000
    assert areas.min() >= 0.0049
    assert areas.max() <= 0.5001
    below = [(areas < share).float().mean().item() for share in (0.0158, 0.05, 0.158)]
    assert all(abs(got - want) < 0.06 for got, want in zip(below, (0.25, 0.5, 0.75), strict=True))  # log-uniform
    coverage, _ = batch_coverage(objects, GRID)
    torch.testing.assert_close(coverage.sum(-1).flatten() / 676, areas, atol=1e-4, rtol=1e-3)
    again = random_objects(50, 20, seed=3)
    assert all(torch.equal(a.boxes, b.boxes) for a, b in zip(objects, again, strict=True))


def test_parts_of_the_operators_at_sites_of_different_widths() -> None:
    encoder = load_encoder("internvl")
    tokens = encoder.backbone(torch.zeros(2, 3, encoder.grid.image_size, encoder.grid.image_size))  # type: ignore[attr-defined]
    objects, sites = random_objects(2, 3), encoder.sites()
    work = OperatorWork(sites, lambda: encoder.embed(tokens), 1, objects, encoder.grid, Perturbation.paper())
    assert len({operator.shape[-1] for operator in work.operators.values()}) > 1
    assert [enhanced.shape[-1] for enhanced in work.enhance()] == [one.shape[-1] for one in work.operators.values()]
    grams = work.grams()
    decomposed = work.decompose(grams)
    for matrices, (sigma, vectors) in zip(grams, decomposed, strict=True):
        torch.testing.assert_close(vectors * sigma[..., None, :] @ vectors.mT, matrices, atol=1e-4, rtol=1e-3)
    assert sum(matrices.shape[0] for matrices in grams) == 2 * 3 * len(sites)
