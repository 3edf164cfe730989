"""A baseline and the set compared with it: one order, one set of size bins."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import QpertError
from pipeline.retrieval import Evaluation, Ranks, bootstrap, compare, report_of
from pipeline.retrieval.evaluation_result import EvaluationResult

KS = (1, 3)
BINS = np.arange(20) % 4


def evaluation(seed, bins, order=range(20)):
    """Twenty images with one caption each, stored in `order`."""
    rng = np.random.default_rng(seed)
    order = list(order)
    ranks = Ranks(
        rng.geometric(0.4, 20)[order],
        rng.geometric(0.4, 20)[order],
        np.arange(20),
        bins[order],
        tuple(f"{i}.jpg" for i in order),
    )
    return Evaluation(report_of(ranks, KS), ranks, (), {}, 0)


def test_one_set_has_the_intervals_of_its_ranks():
    result = EvaluationResult.of_one("x", evaluation(0, BINS), samples=150, seed=3)
    (one,) = result.sets
    assert one.intervals == bootstrap(one.evaluation.ranks, KS, samples=150, seed=3)
    assert result.comparison is None


def test_a_baseline_without_objects_gets_the_bins_of_the_set_compared_with_it():
    new, plain = evaluation(0, BINS), evaluation(1, np.full(20, -1), reversed(range(20)))
    result = EvaluationResult.of_pair(("new", new), ("plain", plain), samples=150)
    assert [of_set.name for of_set in result.sets] == ["plain", "new"]
    before, after = (of_set.evaluation for of_set in result.sets)
    assert after == new
    assert before.ranks.bins.tolist() == BINS.tolist()
    assert before.ranks.image_ids == new.ranks.image_ids
    assert before.report.t2i.unbinned == 0
    assert before.report == report_of(evaluation(1, BINS).ranks, KS)
    assert result.comparison.other_bins == 20
    expected = compare(evaluation(1, BINS).ranks, new.ranks, KS, samples=150)
    assert (result.comparison.t2i, result.comparison.i2t) == (expected.t2i, expected.i2t)
    row = result.comparison.t2i.bins[2][1]
    assert (row.first, row.second) == (before.report.t2i.bins[2].recall[1], after.report.t2i.bins[2].recall[1])


def test_other_queries_are_refused():
    fewer = Ranks(*(np.ones(2, int),) * 2, np.arange(2), np.zeros(2, int), ("0.jpg", "1.jpg"))
    with pytest.raises(QpertError, match="18 images with 18 captions only in the first"):
        EvaluationResult.of_pair(("a", evaluation(0, BINS)), ("b", Evaluation(report_of(fewer, KS), fewer, (), {}, 0)))
