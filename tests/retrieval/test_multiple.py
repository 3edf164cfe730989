"""Holm's correction against values worked out by hand, and what it guarantees."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.retrieval.multiple import compared, holm


def test_the_smallest_is_multiplied_by_all_the_next_by_one_fewer():
    # By hand, and as statsmodels' multipletests(method="holm") gives them.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6, 0.5]) == [1.0, 1.0, 1.0]
    assert holm([0.02, 0.02]) == pytest.approx([0.04, 0.04])
    assert holm([0.04]) == [0.04]
    assert holm([]) == []


def test_rows_without_a_p_stay_without_and_do_not_count():
    assert holm([None, 0.02, None, 0.03]) == [None, pytest.approx(0.04), None, pytest.approx(0.04)]
    assert holm([None]) == [None]
    assert compared([None, 0.02, None, 1.0]) == 2


def test_order_is_kept_and_nothing_shrinks():
    p_values = np.random.default_rng(0).random(40) ** 3
    adjusted = np.array(holm(p_values.tolist()), float)
    assert (adjusted >= p_values).all()
    assert (np.diff(adjusted[np.argsort(p_values)]) >= 0).all()
    assert (adjusted <= np.minimum(1, 40 * p_values) + 1e-15).all()  # never worse than Bonferroni


def test_one_false_alarm_in_twenty_tables_at_most():
    tables = np.random.default_rng(1).random((2000, 12))
    uncorrected = np.mean([(table < 0.05).any() for table in tables])
    corrected = np.mean([min(holm(table.tolist())) < 0.05 for table in tables])
    assert uncorrected > 0.4
    assert 0.035 < corrected < 0.065
