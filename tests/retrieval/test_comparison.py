"""Paired comparison: McNemar against exact arithmetic, intervals against a plain loop, and queries that do not pair."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import comb

import numpy as np
import pytest

from pipeline.errors import QpertError
from pipeline.retrieval import Ranks, aligned, compare, report_of
from pipeline.retrieval.comparison import mcnemar


def named(text_ranks, image_of_text, bins, image_ranks=None):
    image_ranks = np.ones(len(bins), int) if image_ranks is None else np.asarray(image_ranks)
    ids = tuple(f"{i:03d}.jpg" for i in range(len(bins)))
    return Ranks(np.asarray(text_ranks), image_ranks, np.asarray(image_of_text), np.asarray(bins), ids)


def two_sets(seed=0, images=40):
    rng = np.random.default_rng(seed)
    owners = np.repeat(np.arange(images), rng.integers(1, 6, images))
    bins = rng.integers(-1, 3, images)
    return [named(rng.geometric(p, len(owners)), owners, bins, rng.geometric(p, images)) for p in (0.4, 0.6)]


def shuffled(ranks, seed=1):
    """The same outcomes with the images in another order; the captions of an image keep theirs."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(ranks.bins))
    place = np.argsort(order)
    texts = np.concatenate([np.flatnonzero(ranks.image_of_text == image) for image in rng.permutation(order)])
    return Ranks(
        ranks.text_ranks[texts],
        ranks.image_ranks[order],
        place[ranks.image_of_text[texts]],
        ranks.bins[order],
        tuple(ranks.image_ids[image] for image in order),
    )


def exact_p(gained, lost):
    """The two-sided binomial tail in whole numbers."""
    tosses = gained + lost
    tail = sum(comb(tosses, heads) for heads in range(min(gained, lost) + 1))
    return float(min(Fraction(1), Fraction(2 * tail, 2**tosses)))


def test_mcnemar_is_the_two_sided_binomial_test():
    for gained in range(0, 40, 3):
        for lost in range(0, 60, 4):
            assert mcnemar(gained, lost) == pytest.approx(exact_p(gained, lost), rel=1e-12)
    assert mcnemar(1_200, 1_240) == pytest.approx(exact_p(1_200, 1_240), rel=1e-9)
    assert mcnemar(0, 25_000) == 0.0  # too small for a double, but not an error


def test_differences_discordant_pairs_and_p():
    first = named([1, 1, 9, 9, 1, 9], [0, 0, 0, 1, 1, 2], [0, 1, 1], [1, 9, 9])
    second = named([1, 9, 1, 1, 1, 9], [0, 0, 0, 1, 1, 2], [0, 1, 1], [1, 1, 9])
    comparison = compare(first, second, (1,))
    whole = comparison.t2i.overall[1]
    assert (whole.first, whole.second) == (3 / 6, 4 / 6)
    assert whole.difference == pytest.approx(1 / 6)
    assert (whole.gained, whole.lost, whole.p) == (2, 1, 1.0)
    assert comparison.i2t.overall[1].gained == 1
    assert comparison.t2i.bins[0][1].difference == 0
    assert comparison.t2i.bins[1][1].difference == pytest.approx(1 / 3)
    assert comparison.t2i.bins[0][1].interval is None  # one image
    assert comparison.t2i.bins[2][1] == type(whole)(None, None, None, None, None, None, None)
    mean = comparison.t2i.mean_recall[1]
    reports = [report_of(ranks, (1,)).t2i.mean_recall[1] for ranks in (first, second)]
    assert [mean.first, mean.second] == pytest.approx(reports)
    assert (mean.gained, mean.lost, mean.p) == (None, None, None)


def test_the_interval_is_that_of_differences_over_the_same_resamples():
    first, second = two_sets()
    comparison = compare(first, second, (1, 2), samples=130, seed=5)
    rows = np.random.default_rng(5).integers(0, 40, (130, 40))
    for name, values in (("t2i", "text_ranks"), ("i2t", "image_ranks")):
        differences = []
        for images in rows:
            picked = images
            if name == "t2i":
                picked = np.concatenate([np.flatnonzero(first.image_of_text == image) for image in images])
            hits = [np.mean(getattr(ranks, values)[picked] <= 2) for ranks in (first, second)]
            differences.append(hits[1] - hits[0])
        expected = tuple(np.quantile(differences, [0.025, 0.975]))
        assert getattr(comparison, name).overall[2].interval == pytest.approx(expected)


def test_pairing_makes_the_interval_narrower_than_the_noise_of_either():
    first, _ = two_sets(images=100)
    second = replace(first, text_ranks=np.where(np.arange(len(first.text_ranks)) % 50, first.text_ranks, 1))
    low, high = compare(first, second, (1,)).t2i.overall[1].interval
    assert 0 <= low < high < 0.06


def test_queries_are_paired_by_name_in_any_order():
    first, second = two_sets()
    mixed = shuffled(second)
    assert mixed.image_ids != second.image_ids
    back = aligned(first, mixed)
    assert (back.text_ranks == second.text_ranks).all()
    assert (back.image_ranks == second.image_ranks).all()
    assert compare(first, mixed) == compare(first, second)


def test_nothing_differs_from_itself():
    first, _ = two_sets()
    comparison = compare(first, shuffled(first))
    for part in (comparison.t2i, comparison.i2t):
        assert {change.difference for change in part.overall.values()} == {0}
        assert {change.interval for change in part.overall.values()} == {(0, 0)}
        assert {change.p for change in part.overall.values()} == {1.0}


def test_the_first_sets_bins_are_used_and_differences_are_counted():
    first, second = two_sets()
    moved = replace(second, bins=np.where(np.arange(40) < 7, 9, second.bins))
    comparison = compare(first, shuffled(moved))
    assert comparison.other_bins == 7
    assert (comparison.t2i, comparison.i2t) == (compare(first, second).t2i, compare(first, second).i2t)
    assert compare(first, second).other_bins == 0


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (named([1, 1], [0, 1], [0, 0]), "1 images with 2 captions only in the first .such as 002.jpg"),
        (named([1] * 5, [0, 1, 2, 2, 3], [0] * 4), "1 images with 1 captions only in the second .such as 003.jpg"),
        (named([1] * 4, [0, 0, 1, 2], [0] * 3), r"2 images have other captions, such as 000.jpg \(1 in the .*2 in"),
        (replace(named([1] * 4, [0, 1, 2, 2], [0] * 3), image_ids=()), "by the names of their images"),
        (replace(named([1] * 4, [0, 1, 2, 2], [0] * 3), image_ids=("a", "a", "b")), "one of its own"),
    ],
)
def test_other_queries_are_refused(other, message):
    with pytest.raises(QpertError, match=message):
        compare(named([1] * 4, [0, 1, 2, 2], [0] * 3), other)
