"""Intervals over classes against a plain loop, and two sets on the same classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.errors import QpertError
from pipeline.retrieval.object_queries import GROUPS, ObjectEvaluation
from pipeline.retrieval.object_result import ObjectResult
from pipeline.retrieval.sign_flips import flipped_means_p

FIGURES = 5


def evaluation(seed, queries=12, shift=0.0):
    """Half of the classes have a small right photo, one has a tiny one, and all a large one."""
    rng = np.random.default_rng(seed)
    figures = np.clip(rng.random((queries, len(GROUPS), FIGURES)) + shift, 0, 1)
    right = np.ones((queries, len(GROUPS)), np.int64)
    right[: queries // 2, 2:4] = 0
    right[1:, 1] = 0
    figures[right == 0] = np.nan
    names = tuple(f"class {number}" for number in range(queries))
    return ObjectEvaluation((1,), names, figures, right, np.full(queries, 9), ("0", "1"), 0, 0, ())


def test_means_and_intervals_over_the_classes_of_a_group():
    given = evaluation(0)
    (of_set,) = ObjectResult.of(("x", given), samples=300, seed=4).sets
    rows = np.random.default_rng(4).integers(0, 12, (300, 12))
    for group, known in ((0, range(12)), (3, range(6, 12))):
        values = given.figures[:, group, 2]
        means = [np.nanmean(values[picked]) for picked in rows if set(picked) & set(known)]
        figure = of_set.figures[group][2]
        assert figure.value == pytest.approx(np.nanmean(values))
        assert figure.interval == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
        assert figure.queries == len(known)
    assert (of_set.figures[1][0].queries, of_set.figures[1][0].interval) == (1, None)  # one class: nothing varies
    none = replace(given, figures=np.where(np.arange(len(GROUPS))[:, None] == 1, np.nan, given.figures))
    (of_set,) = ObjectResult.of(("x", none), samples=100).sets
    assert (of_set.figures[1][0].value, of_set.figures[1][0].queries) == (None, 0)


def test_differences_are_paired_by_class():
    before, after = evaluation(0), evaluation(1, shift=0.2)
    result = ObjectResult.of(("new", after), ("plain", before), samples=300, seed=4)
    assert [of_set.name for of_set in result.sets] == ["plain", "new"]
    change = result.differences[3][2]
    values = after.figures[6:, 3, 2] - before.figures[6:, 3, 2]
    assert change.difference == pytest.approx(values.mean())
    assert (change.gained, change.lost) == ((values > 0).sum(), (values < 0).sum())
    assert change.p == pytest.approx(flipped_means_p(values[:, None], seed=0)[0], abs=0.02)
    rows = np.random.default_rng(4).integers(0, 12, (300, 12))
    every = after.figures[:, 3, 2] - before.figures[:, 3, 2]
    means = [np.nanmean(every[picked]) for picked in rows if (picked >= 6).any()]
    assert change.interval == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
    assert change.standard_error == pytest.approx(np.std(means, ddof=1))
    same = ObjectResult.of(("new", before), ("plain", before), samples=100).differences
    assert {(row.difference, row.p) for group in same for row in group} == {(0.0, 1.0)}


def test_other_photos_are_refused():
    with pytest.raises(QpertError, match=r"1 only in the first .such as 1.*1 only in the second .such as 2"):
        ObjectResult.of(("new", replace(evaluation(0), gallery=("0", "2"))), ("plain", evaluation(0)))
