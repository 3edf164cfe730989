"""The estimate grows with the pairs, and its memory with the photos."""

from __future__ import annotations

from pipeline.duplicates.estimate import Estimate, estimate


def test_it_is_of_all_pairs() -> None:
    small, large = estimate(100_000), estimate(1_000_000)
    assert 20 < large.seconds / small.seconds < 500  # 100 but for the noise of this machine
    assert 400e6 < large.bytes - small.bytes < 500e6
    assert estimate(0).seconds == estimate(1).seconds == 0


def test_it_is_said_in_words() -> None:
    assert Estimate(1_000_000, 3725.4, 1_070_000_000).text() == (
        "1,000,000 photos, 499,999,500,000 pairs: about 1:02:05 to compare their sketches here, and the time to read"
        " all vectors; about 1.1 GB of memory"
    )
