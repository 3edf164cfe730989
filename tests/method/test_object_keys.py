"""Object Key Pooling: objects in groups with similar numbers of keys."""

from __future__ import annotations

import pytest
import torch

from pipeline.method.object_keys import pool_object_keys
from pipeline.method.settings import Perturbation


def test_groups_hold_each_object_once_with_little_padding() -> None:
    coverage = torch.zeros(2, 5, 700)
    sizes = [[1, 3, 5, 0, 40], [690, 700, 60, 0, 0]]
    for photo in range(2):
        for i, size in enumerate(sizes[photo]):
            coverage[photo, i, 700 - size :] = 0.5
    areas = torch.arange(10).view(2, 5) / 10
    groups = pool_object_keys(coverage, areas, Perturbation(tokens="coverage", weight="area", scale=1.0))
    assert sorted(int((w > 0).sum()) for g in groups for w in g.weights) == [1, 3, 5, 40, 60, 690, 700]
    assert sorted(a for g in groups for a in g.alphas.tolist()) == pytest.approx([0, 0.1, 0.2, 0.4, 0.5, 0.6, 0.7])
    assert all(g.index.shape == g.weights.shape and len(g.photo) == len(g.index) for g in groups)
    assert sum(g.index.numel() for g in groups) < 1.1 * sum(map(sum, sizes))
    for g in groups:
        photo = g.photo[:, None].expand_as(g.index)
        inside = coverage.amax(1)[photo, g.index] > 0
        assert inside[g.weights > 0].all()
