"""The random objects that benchmarks use."""

from __future__ import annotations

import torch

from pipeline.benchmarks.operator_work import random_objects
from pipeline.method.objects import TokenGrid, batch_coverage

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
