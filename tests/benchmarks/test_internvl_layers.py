"""The measurement of Q-Perturbation in InternVL-14B's layers, on small ones."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from pipeline.benchmarks.internvl_layers import LayerTimes, SiteTimes, measure_layers
from pipeline.encoders.internvl.config import InternVLConfig
from pipeline.method.settings import Perturbation
from tests.encoders.internvl.tiny_internvl import SMALL


def test_times_are_positive_and_consistent() -> None:
    torch.set_num_threads(1)
    times = measure_layers(InternVLConfig.from_dict(SMALL), counts=(1, 3), repetitions=1)
    assert [site.objects for site in times.sites] == [1, 3]
    assert all(min(dataclasses.astuple(site)) > 0 for site in times.sites)
    assert min(times.block, times.crossed, times.plain, times.pooled) > 0
    assert (times.threads, times.repetitions, times.cross_attentions) == (1, 1, 4)
    assert measure_layers(InternVLConfig.from_dict(SMALL), (2,), 1, Perturbation(scale=2)).sites[0].construction > 0


def test_layer_times_are_multiplied_by_their_number_in_the_model() -> None:
    sites = [SiteTimes(6, 50.0, construction=0.003, enhancement=0.001, pooling=0.01)]
    times = LayerTimes(1.0, 0.5, 0.25, 0.125, sites, InternVLConfig(), threads=1, repetitions=1)
    assert times.cross_attentions == 16
    assert times.whole == 48 * 1.0 + 16 * 0.5 + 16 * 0.25 + 0.125
    assert sites[0].extra(16) == pytest.approx(16 * 0.004 + 0.01)
    last = str(times).splitlines()[-1].split()
    assert last == ["6", "50", "3.0", "ms", "1.00", "ms", "10.0", "ms", "74", "ms", "0.0012", "26", "ms"]
