"""The cost of the rivals: every way encodes the same photos, with as many vectors and tower passes as it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.benchmarks.rivals import measure_rivals
from pipeline.method.settings import Perturbation


@pytest.mark.slow
def test_all_ways_side_by_side(tmp_path: Path) -> None:
    costs = measure_rivals(tmp_path, "coca", None, Perturbation.paper(), photos=2, batch=4, repetitions=1)
    by_name = {cost.name: cost for cost in costs.costs}
    assert list(by_name) == [
        "plain", "Q-Perturbation", "regions", "crops", "tiles 2x2", "tiles 3x3", "clusters", "OEs", "hi-res",
    ]  # fmt: skip
    assert all(by_name[name].vectors == 1 for name in ("plain", "Q-Perturbation", "hi-res"))
    assert by_name["tiles 2x2"].passes == by_name["tiles 2x2"].vectors == 5
    assert by_name["tiles 3x3"].passes == by_name["tiles 3x3"].vectors == 10
    assert by_name["crops"].passes == by_name["crops"].vectors == 1 + costs.objects
    assert 1 < by_name["regions"].vectors <= 1 + costs.objects
    assert by_name["regions"].passes == by_name["clusters"].passes == by_name["OEs"].passes == 1
    assert by_name["plain"].bytes == 2 * 128
    assert by_name["plain"].relative == 1
    assert all(cost.images_per_second > 0 for cost in costs.costs)
    assert (costs.image_size, costs.higher) == (112, 224)
    assert "hi-res (224 pixels)" in str(costs)
