"""Scaled-up samples, against sums done by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.runs.estimate import Sample, estimate, price_of
from pipeline.runs.plan_text import plan_text, size, span

A100, PASCAL = "cuda:NVIDIA A100-SXM4-80GB", "cuda:NVIDIA GeForce GTX 1080 Ti"
SAMPLE = Sample(
    photos=512,
    photo_bytes=100_000,
    row_bytes=16_000,
    read_seconds=0.01,
    readers=40,
    work={("detect", A100): 0.005, ("detect", PASCAL): 0.02, ("encode", A100): 0.01, ("encode", PASCAL): 0.04},
    actors={("detect", A100): 2, ("detect", PASCAL): 4, ("encode", A100): 2, ("encode", PASCAL): 4},
    gpus={A100: 2.0, PASCAL: 4.0},
    cores=16,
    token_bytes=2_000_000,
    rate=250.0,
)


def test_the_slowest_stage_decides_and_both_gpu_types_count() -> None:
    found = estimate(SAMPLE, 3_600_000)
    assert found.rates == pytest.approx({"read": 4000, "detect": 600, "encode": 300})
    assert found.bottleneck == "encode"
    assert found.seconds == pytest.approx(12_000)
    assert found.at_most == pytest.approx(3_600_000 * (1 / 600 + 1 / 300))
    assert found.shares == pytest.approx({A100: 2 / 3, PASCAL: 1 / 3})
    assert found.device_hours == pytest.approx({A100: 2 * 10 / 3, PASCAL: 4 * 10 / 3, "cpu": 16 * 10 / 3})
    assert found.alone == pytest.approx({A100: 10, PASCAL: 40})
    assert (found.feature_bytes, found.read_bytes, found.token_bytes) == pytest.approx((57.6e9, 360e9, 7.2e12))
    assert found.files == -(-3_600_000 // 8192)


def test_slow_storage_can_be_the_bottleneck() -> None:
    found = estimate(replace(SAMPLE, read_seconds=1.0), 4000)
    assert (found.bottleneck, found.seconds) == ("read", pytest.approx(100))
    assert found.at_most == pytest.approx(100)
    assert found.shares == pytest.approx({A100: 2 / 3, PASCAL: 1 / 3})


def test_devices_with_a_price_have_costs() -> None:
    found = estimate(SAMPLE, 3_600_000, {"A100": 3.0, "GeForce-GTX-1080-Ti": 0.1})
    assert found.costs == pytest.approx({A100: 20.0, PASCAL: 4 / 3})
    assert price_of("cpu", {"cpu": 0.03}) == 0.03
    assert price_of(A100, {"A100-SXM4": 4.0, "A100": 3.0}) == 4.0
    assert price_of(PASCAL, {"A100": 3.0}) is None
    assert price_of(A100, {"A10": 3.0}) is None  # another card
    assert price_of("cuda:Tesla P100-PCIE-16GB", {"P100": 1.0}) == 1.0


def test_photos_in_shards_have_no_reading_rate() -> None:
    found = estimate(replace(SAMPLE, read_seconds=0.0), 100)
    assert "read" not in found.rates
    assert "bottleneck" in plan_text(replace(SAMPLE, read_seconds=0.0), found)


def test_a_gpu_that_only_detected_has_no_time_alone() -> None:
    work = {key: seconds for key, seconds in SAMPLE.work.items() if key != ("encode", PASCAL)}
    assert set(estimate(replace(SAMPLE, work=work), 100).alone) == {A100}


def test_in_words() -> None:
    text = plan_text(SAMPLE, estimate(SAMPLE, 10**9, {"a100": 3.0}))
    for words in (
        "encode: 300.0 images/s (the sample itself passed at 250.0)",
        "38.6 days to 57.9 days",
        "16.0 TB in some 122,071 files",
        "2.0 PB, if qpert tune kept",
        f"{A100} 67%",
        "5,555.56 to 8,333.33",
    ):
        assert words in text
    assert "token cache  unknown" in plan_text(
        replace(SAMPLE, read_seconds=0), estimate(replace(SAMPLE, token_bytes=0), 9)
    )


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (4.2e15, "4.2 PB")]
)
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(40, "40 s"), (600, "10 min"), (7200, "2.0 hours"), (10**6, "11.6 days")]
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text
