"""The measurement of Q-Perturbation in a full-size Q-Former."""

from __future__ import annotations

import torch

from pipeline.benchmarks.query_former import measure_query_former


def test_times_are_positive_and_consistent() -> None:
    torch.set_num_threads(1)
    times = measure_query_former(images=1, objects=2, repetitions=1, layers=2)
    assert (times.images, times.objects, times.device) == (1, 2, "cpu")
    assert 1 < times.tokens_per_object < 677
    assert min(times.plain, times.perturbed, times.construction, times.enhancement) > 0
    assert times.ratio == (times.perturbed - times.plain) / times.plain
