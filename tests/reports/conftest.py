"""Evaluation results to report on: one feature set, and two."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.retrieval import Evaluation, Ranks, report_of
from pipeline.retrieval.evaluation_result import EvaluationResult

KS = (1, 5)


def evaluation(seed, *, moved=0, **left_out):
    """Thirty photos with two captions each, in bins 0 and 4 and in none."""
    rng = np.random.default_rng(seed)
    bins = np.array([0, 4, -1])[np.arange(30) % 3]
    bins[:moved] = 7
    ids = tuple(f"{i:02d}.jpg" for i in range(30))
    ranks = Ranks(rng.geometric(0.3, 60), rng.geometric(0.4, 30), np.repeat(np.arange(30), 2), bins, ids)
    rest = {"missing": (), "failed": {}, "ignored": 0} | left_out
    return Evaluation(report_of(ranks, KS), ranks, **rest)


@pytest.fixture(scope="session")
def one():
    """One set with missing and failed photos."""
    result = evaluation(0, missing=("x.jpg", "y\x1b.jpg"), failed={"z.jpg": "truncated image"}, ignored=3)
    return EvaluationResult.of_one("plain", result, samples=200)


@pytest.fixture(scope="session")
def two():
    """A baseline with four photos in other bins, and a set compared with it."""
    return EvaluationResult.of_pair(("new", evaluation(0)), ("$old_", evaluation(1, moved=4)), samples=200)
