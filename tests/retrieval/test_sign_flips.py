"""Sign flips over photos against plain enumeration, and their level where the captions of a photo flip together."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import comb

import numpy as np
import pytest
from scipy.stats import norm

from pipeline.retrieval.sign_flips import FLIPS, flipped_means_p, mean_recall_p, sign_flip_p


def enumerated(differences):
    """The share of all sign patterns whose sum is at least as far from 0."""
    observed = abs(sum(differences))
    sums = [
        abs(sum(sign * d for sign, d in zip(signs, differences, strict=True)))
        for signs in product((1, -1), repeat=len(differences))
    ]
    return float(Fraction(sum(value >= observed for value in sums), len(sums)))


def binomial(gained, lost):
    """The two-sided binomial tail in whole numbers: McNemar's exact test."""
    tosses = gained + lost
    tail = sum(comb(tosses, heads) for heads in range(min(gained, lost) + 1))
    return float(min(Fraction(1), Fraction(2 * tail, 2**tosses)))


def test_p_is_that_of_all_sign_patterns():
    rng = np.random.default_rng(0)
    for photos in range(1, 12):
        for _ in range(20):
            differences = rng.integers(-5, 6, photos).tolist()
            assert sign_flip_p(differences) == pytest.approx(enumerated(differences), rel=1e-12)


def test_with_one_query_per_photo_it_is_mcnemars_exact_test():
    for gained in range(0, 40, 3):
        for lost in range(0, 60, 4):
            differences = [1] * gained + [-1] * lost + [0] * 7
            assert sign_flip_p(differences) == pytest.approx(binomial(gained, lost), rel=1e-12)
    assert sign_flip_p([1] * 1_200 + [-1] * 1_240) == pytest.approx(binomial(1_200, 1_240), rel=1e-9)
    assert sign_flip_p([-1] * 25_000) == 0.0  # too small for a double, but not an error


def test_photos_without_a_difference_do_not_matter():
    assert sign_flip_p([]) == sign_flip_p([0, 0]) == 1.0
    assert sign_flip_p([3, -1, 0, 2]) == sign_flip_p([2, 3, -1])
    assert sign_flip_p(np.array([3.0, -1.0])) == enumerated([3, -1]) == 1.0


def test_many_photos_are_exact_too():
    rng = np.random.default_rng(1)
    differences = rng.integers(-5, 6, 20_000)
    differences[:300] = 2
    scale = np.sqrt((differences.astype(float) ** 2).sum())
    # The central limit theorem with the correction for continuity.
    assert sign_flip_p(differences) == pytest.approx(2 * norm.sf((abs(differences.sum()) - 0.5) / scale), rel=0.02)


def test_the_level_holds_where_the_captions_of_a_photo_flip_together():
    """Nothing distinguishes the sets, but a photo's five captions change together, in one photo of five."""
    rng = np.random.default_rng(2)
    changes = 5 * rng.choice([-1, 0, 1], (400, 300), p=[0.1, 0.8, 0.1])
    by_caption = [binomial(int(row[row > 0].sum()), int(-row[row < 0].sum())) for row in changes]
    by_photo = [sign_flip_p(row) for row in changes]
    assert np.mean(np.array(by_caption) < 0.05) > 0.25  # McNemar's: one comparison in three
    assert 0.02 < np.mean(np.array(by_photo) < 0.05) < 0.075


def test_real_differences_are_found():
    rng = np.random.default_rng(3)
    changes = 5 * rng.choice([-1, 0, 1], (100, 300), p=[0.03, 0.8, 0.17])
    assert np.mean([sign_flip_p(row) < 0.05 for row in changes]) > 0.95


def mean_recall(hits, queries):
    recalls = hits.sum(axis=0) / queries.sum(axis=0)
    return 0.0 if (recalls == 0).any() else len(recalls) / (1 / recalls).sum()


def test_p_of_the_mean_recall_is_that_of_exchanged_photos():
    rng = np.random.default_rng(4)
    for _ in range(4):
        queries = np.zeros((10, 3))
        queries[np.arange(10), rng.permutation(np.arange(10) % 2)] = 5  # the third bin is empty
        first = rng.binomial(queries.astype(int), 0.5).astype(float)
        second = rng.binomial(queries.astype(int), 0.6).astype(float)
        asked = queries[:, :2]
        outcomes = []
        for signs in product((False, True), repeat=10):
            flipped = np.array(signs)[:, None]
            before, after = np.where(flipped, second, first)[:, :2], np.where(flipped, first, second)[:, :2]
            outcomes.append(abs(mean_recall(after, asked) - mean_recall(before, asked)))
        expected = np.mean(np.array(outcomes) >= outcomes[0] - 1e-12)
        assert mean_recall_p(queries, first, second, seed=0) == pytest.approx(expected, abs=0.015)
        assert mean_recall_p(queries, first, second, seed=0) == mean_recall_p(queries, first, second, seed=0)


def test_copies_in_several_bins_are_exchanged_together():
    rng = np.random.default_rng(6)
    queries = np.full((10, 2), 2.0)
    first, second = (rng.binomial(2, share, (10, 2)).astype(float) for share in (0.5, 0.6))
    outcomes = []
    for signs in product((False, True), repeat=10):
        flipped = np.array(signs)[:, None]
        before, after = np.where(flipped, second, first), np.where(flipped, first, second)
        outcomes.append(abs(mean_recall(after, queries) - mean_recall(before, queries)))
    expected = np.mean(np.array(outcomes) >= outcomes[0] - 1e-12)
    assert mean_recall_p(queries, first, second, seed=0) == pytest.approx(expected, abs=0.015)


def test_drawn_p_values_are_never_zero():
    queries = np.full((40, 1), 5.0)
    assert mean_recall_p(queries, 0 * queries, queries, seed=0) == 1 / (FLIPS + 1)
    assert mean_recall_p(queries, queries, queries, seed=0) == 1.0
    ones, zeros = np.ones(60), np.zeros(60)
    assert flipped_means_p(np.stack([ones, zeros], axis=1), seed=0).tolist() == [1 / (FLIPS + 1), 1.0]


def test_means_of_fractions_are_flipped_by_unit():
    differences = np.random.default_rng(5).normal(0.2, 0.5, (12, 2)).round(3)
    expected = [enumerated(column.tolist()) for column in differences.T]
    assert flipped_means_p(differences, seed=0) == pytest.approx(expected, abs=0.015)
    with_gaps = np.where(np.arange(14)[:, None] < 12, np.pad(differences, ((0, 2), (0, 0))), np.nan)
    assert flipped_means_p(with_gaps, seed=0) == pytest.approx(expected, abs=0.015)
