"""The measurement of Q-Perturbation in a full-size Q-Former."""

from __future__ import annotations

import torch

from pipeline.benchmarks.query_former import GRID, measure_query_former, random_objects
from pipeline.method.objects import batch_coverage


def test_boxes_are_of_every_size_and_inside_the_photo() -> None:
    objects = random_objects(50, 20, seed=3)
    areas = torch.cat([each.areas for each in objects])
    assert len(areas) == 1000
    assert areas.min() >= 0.0049
    assert areas.max() <= 0.5001
    below = [(areas < share).float().mean().item() for share in (0.0158, 0.05, 0.158)]
    assert all(abs(got - want) < 0.06 for got, want in zip(below, (0.25, 0.5, 0.75), strict=True))  # log-uniform
    coverage, _ = batch_coverage(objects, GRID)
    torch.testing.assert_close(coverage.sum(-1).flatten() / 676, areas, atol=1e-4, rtol=1e-3)
    again = random_objects(50, 20, seed=3)
    assert all(torch.equal(a.boxes, b.boxes) for a, b in zip(objects, again, strict=True))


def test_measures_what_it_says() -> None:
    torch.set_num_threads(1)
    times = measure_query_former(images=1, objects=2, repetitions=1, layers=2)
    assert (times.images, times.objects, times.device) == (1, 2, "cpu")
    assert 1 < times.tokens_per_object < 677
    assert min(times.plain, times.perturbed, times.construction, times.enhancement) > 0
    assert times.enhancement < times.construction
    assert times.ratio == (times.perturbed - times.plain) / times.plain
