"""Published images per second, and what they would be for other models."""

from __future__ import annotations

import pytest

from pipeline.encoders.open_clip.table import open_clip_models
from pipeline.encoders.published_speed import A100, a100_rates, teraflops


def test_the_published_runs_reached_22_to_51_teraflops() -> None:
    assert teraflops() == pytest.approx((2500 * 8.82e9 / 1e12, 312 * 162.03e9 / 1e12))


def test_published_rates_lie_within_the_estimates() -> None:
    for name, rate in A100.items():
        least, most = a100_rates(open_clip_models()[name].gigaflops)
        assert least * (1 - 1e-9) <= rate <= most * (1 + 1e-9)


def test_twice_the_work_takes_twice_the_time() -> None:
    assert a100_rates(20.0) == pytest.approx(tuple(rate / 2 for rate in a100_rates(10.0)))
