"""Figures of named settings and the differences between them, against the comparison of two feature sets."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.retrieval import Ranks, compare, report_of
from pipeline.retrieval.contrasts import Contrasts
from pipeline.retrieval.intervals import bootstrap
from pipeline.retrieval.metrics import ALL_METRICS, KS, metrics_of, pick
from pipeline.retrieval.photo_outcomes import PhotoOutcomes

IMAGES = 30
AREAS = np.random.default_rng(5).uniform(0, 0.4, IMAGES)
NAMES = tuple(f"{number:03d}.jpg" for number in range(IMAGES))


def ranks(share: float, seed: int) -> Ranks:
    """Two captions per photo, of which a share is found."""
    rng = np.random.default_rng(seed)
    owners = np.repeat(np.arange(IMAGES), 2)
    text = np.where(rng.random(2 * IMAGES) < share, 1, rng.integers(2, 20, 2 * IMAGES))
    bins = np.minimum(9, (10 * AREAS).astype(int))
    return Ranks(text, rng.integers(1, 9, IMAGES), owners, bins, NAMES)


FIRST, SECOND = ranks(0.4, 0), ranks(0.7, 1)


@pytest.fixture(scope="module")
def contrasts() -> Contrasts:
    areas = dict(zip(NAMES, AREAS.tolist(), strict=True))
    outcomes = {name: PhotoOutcomes.of([one], KS, areas=areas) for name, one in (("a", FIRST), ("b", SECOND))}
    outcomes["both"] = PhotoOutcomes.of([FIRST, SECOND], KS, areas=areas)
    return Contrasts(outcomes, samples=200, seed=3)


@pytest.mark.parametrize("metric", ALL_METRICS)
def test_single_draws_differ_as_two_feature_sets_do(contrasts: Contrasts, metric: str) -> None:
    expected = pick(compare(FIRST, SECOND, KS, samples=200, seed=3), metric)
    change = contrasts.contrast("a", "b", metric)
    assert change.difference == expected.difference
    assert (change.first, change.second, change.interval) == (expected.first, expected.second, expected.interval)
    assert change.p == pytest.approx(expected.p)
    assert change.standard_error == pytest.approx(expected.standard_error)
    assert (change.gained, change.lost) == (None, None)
    figure = contrasts.figure("a", metric)
    assert figure.value == metrics_of(FIRST)[metric]
    assert figure.interval == pick(bootstrap(FIRST, KS, samples=200, seed=3), metric)


def test_an_average_over_draws_lies_between_them(contrasts: Contrasts) -> None:
    one, whole = (contrasts.contrast("a", name, "R@1") for name in ("both", "b"))
    assert one.difference == pytest.approx(whole.difference / 2)
    assert one.interval == pytest.approx([end / 2 for end in whole.interval])
    # Half the difference on every photo: the sign flips are the same.
    assert one.p == pytest.approx(whole.p)
    assert contrasts.contrast("a", "a", "R@1").p == 1


def test_finer_sizes_and_single_bins(contrasts: Contrasts) -> None:
    report = report_of(FIRST, KS).t2i
    for number in range(3):
        figure = contrasts.figure("a", f"bin {number}")
        assert figure.value == report.bins[number].recall[1]
        assert figure.queries == report.bins[number].queries
    for name, low, high in (("1%", 0, 0.01), ("3%", 0, 0.03), ("1-3%", 0.01, 0.03), ("3-10%", 0.03, 0.1)):
        member = ((low <= AREAS) & (high > AREAS))[FIRST.image_of_text]
        figure = contrasts.figure("a", name)
        assert figure.queries == member.sum()
        assert figure.value == (None if not member.any() else np.mean(FIRST.text_ranks[member] == 1))
    nothing = contrasts.contrast("a", "b", "bin 9")
    assert (nothing.difference, nothing.p) == (None, None)
    assert contrasts.figure("a", "bin 9").value is None
    assert contrasts.figure("a", "mR@1").queries == 2 * IMAGES


def test_pooled_photos_are_one_set_of_photos() -> None:
    sets = [{"a": FIRST, "b": SECOND}, {"a": SECOND, "b": FIRST}]
    parts = [{name: PhotoOutcomes.of([one], (1,)) for name, one in of_set.items()} for of_set in sets]
    pooled = Contrasts({name: PhotoOutcomes.pooled([part[name] for part in parts]) for name in "ab"}, samples=200)
    change = pooled.contrast("a", "b", "R@1")
    assert change.difference == pytest.approx(0)
    assert change.p == 1
    assert pooled.figure("a", "R@1").queries == 4 * IMAGES
