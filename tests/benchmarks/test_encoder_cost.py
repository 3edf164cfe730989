from __future__ import annotations

import pytest

from pipeline.benchmarks.encoder_cost import measure_cost
from pipeline.encoders import load_encoder
from pipeline.method.objects import Objects
from pipeline.method.settings import Perturbation


@pytest.mark.slow
def test_every_part_is_timed_and_the_encoder_is_unchanged() -> None:
    encoder = load_encoder("coca")
    objects = [Objects([[0.1, 0.1, 0.9, 0.6]], [""], [1.0], (60, 40)), Objects.empty((60, 40))]
    cost = measure_cost(encoder, objects, Perturbation.paper(), repetitions=3)
    assert cost.plain > 0
    assert cost.perturbed > 0
    assert cost.construction > 0
    assert (cost.images, cost.objects, cost.dtype) == (2, 0.5, "float32")
    assert cost.device.startswith("cpu, ")
    assert all("operator" not in vars(site) for site in encoder.sites().values())
