"""Figures of many right photos against scikit-learn and plain loops; counting tile by tile; ties against the query."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from pipeline.retrieval.many_right import ManyRightRanker, figures_of, names_of, ranks_of

KS = (1, 5, 10)


def before(scores, right, wrong=None, *, tolerance=0.0, rows=7, columns=3):
    """The wrong photos before each right one, from scores [I, Q] in tiles."""
    ranker = ManyRightRanker(right, wrong, tolerance=tolerance)
    for see in (ranker.see_right, ranker.count):
        for first in range(0, scores.shape[0], rows):
            for query in range(0, scores.shape[1], columns):
                tile = scores[first : first + rows, query : query + columns]
                see(tile, first_image=first, first_query=query)
    return ranker.before()


def material(seed, photos=60, queries=8):
    """Different scores, and right photos of each query."""
    rng = np.random.default_rng(seed)
    scores = rng.permutation(photos * queries).reshape(photos, queries).astype(np.float32)
    right = [np.sort(rng.choice(photos, rng.integers(1, photos // 2), replace=False)) for _ in range(queries)]
    return scores, right


@pytest.mark.parametrize("seed", range(5))
def test_without_ties_the_figures_are_scikit_learns(seed):
    scores, right = material(seed)
    for query, counts in enumerate(before(scores, right)):
        truth = np.isin(np.arange(len(scores)), right[query])
        figures = dict(zip(names_of(KS), figures_of(ranks_of(counts), KS), strict=True))
        assert figures["mAP"] == pytest.approx(average_precision_score(truth, scores[:, query]), abs=1e-12)
        assert figures["nDCG"] == pytest.approx(ndcg_score([truth], [scores[:, query]]), abs=1e-12)
        for k in KS:
            expected = ndcg_score([truth], [scores[:, query]], k=k)
            assert figures[f"nDCG@{k}"] == pytest.approx(expected, abs=1e-12)
        order = np.argsort(-scores[:, query])
        assert figures["R-precision"] == truth[order[: truth.sum()]].mean()
        assert [figures[f"R@{k}"] for k in KS] == [float(truth[order[:k]].any()) for k in KS]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(2, 30), st.sampled_from((1, 2, 100)), st.integers(1, 40), st.integers(1, 4)
)
def test_counts_are_those_of_a_plain_loop_whatever_the_tiles(seed, photos, levels, rows, columns):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, (photos, 3)).astype(np.float32)  # with ties
    right = [np.sort(rng.choice(photos, rng.integers(1, photos), replace=False)) for _ in range(3)]
    wrong = [np.flatnonzero(~np.isin(np.arange(photos), of_query) & (rng.random(photos) < 0.6)) for of_query in right]
    for known in (None, wrong):
        counts = before(scores, right, known, rows=rows, columns=columns)
        for query, of_query in enumerate(right):
            others = np.setdiff1d(np.arange(photos), of_query) if known is None else known[query]
            expected = [(scores[others, query] >= scores[photo, query]).sum() for photo in of_query]
            assert counts[query].tolist() == expected


def test_ties_count_against_the_query():
    """One right photo and three others, all alike: it ranks last; with scikit-learn the order of ties is an average."""
    counts = before(np.ones((4, 1), np.float32), [np.array([0])])
    assert ranks_of(counts[0]).tolist() == [4]
    figures = dict(zip(names_of((1,)), figures_of(ranks_of(counts[0]), (1,)), strict=True))
    assert figures == {"mAP": 0.25, "R-precision": 0.0, "nDCG": 1 / np.log2(5), "nDCG@1": 0.0, "R@1": 0.0}
    close = np.array([[0.5], [0.4999995], [0.499]], np.float32)
    assert before(close, [np.array([0])], tolerance=1e-6)[0].tolist() == [1]
    assert before(close, [np.array([0])])[0].tolist() == [0]
    # Right photos that tie with each other are in no one's way.
    assert ranks_of(before(np.ones((4, 1), np.float32), [np.arange(4)])[0]).tolist() == [1, 2, 3, 4]


def test_unranked_photos_do_not_matter():
    """Neither right nor known to be wrong: the photo may score as high as it likes."""
    scores = np.array([[9.0], [5.0], [7.0], [1.0]], np.float32)
    assert before(scores, [np.array([1])], [np.array([2, 3])])[0].tolist() == [1]
    assert before(scores, [np.array([1])])[0].tolist() == [2]


def test_some_of_the_right_photos_rank_as_if_the_others_were_not_there():
    scores, right = material(9)
    (counts,) = before(scores[:, :1], right[:1])
    some = np.arange(0, len(counts), 2)
    rest = np.setdiff1d(np.arange(len(scores)), np.delete(right[0], some))  # without the other right ones
    (alone,) = before(scores[rest][:, :1], [np.searchsorted(rest, right[0][some])])
    assert ranks_of(counts[some]).tolist() == ranks_of(alone).tolist()
