from __future__ import annotations

import pytest

from pipeline.benchmarks import open_clip_pass
from pipeline.benchmarks.open_clip_pass import ModelCost, measure_models
from pipeline.errors import QpertError


@pytest.mark.slow
def test_a_pass_is_timed_whole_and_in_parts() -> None:
    (measured,) = measure_models(["PE-Core-T-16-384"], images=2, objects=3, repetitions=1, perturbation=None).models
    assert (measured.tokens, measured.cost.images, measured.cost.objects) == (577, 2, 3)
    assert min(measured.cost.plain, measured.cost.perturbed, measured.cost.construction) > 0
    assert 1 <= measured.tokens_per_object <= 576
    assert str(measured).startswith("PE-Core-T-16-384")


def test_models_that_cannot_be_measured_are_refused() -> None:
    with pytest.raises(QpertError, match="no model 'ViT-Z'"):
        measure_models(["ViT-Z"], 1, 1, 1, None)
    with pytest.raises(QpertError, match="ViT-S-32 has no cross-attention"):
        measure_models(["ViT-S-32"], 1, 1, 1, None)


def test_the_share_is_that_of_both_steps() -> None:
    cost = open_clip_pass.EncoderCost(100.0, 110.0, 6.0, 2.0, "cpu", "float32", 1, 6.0)
    assert str(ModelCost("m", 576, 70.0, cost)).endswith("KC   6.00 + QE  2.00 ms = 0.0800 of a plain pass")
