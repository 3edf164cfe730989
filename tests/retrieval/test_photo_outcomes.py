"""Outcomes averaged over draws and pooled over sets, photo by photo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.errors import QpertError
from pipeline.retrieval.photo_outcomes import SIZES, PhotoOutcomes
from pipeline.retrieval.ranks import Ranks
from pipeline.retrieval.resampling import QueryCounts

AREAS = {"a.jpg": 0.005, "b.jpg": 0.02, "c.jpg": 0.05, "d.jpg": 0.5}
OWNERS = np.array([0, 0, 1, 2, 3])


def ranks(*text_ranks: int, names: tuple[str, ...] = ("b.jpg", "a.jpg", "d.jpg", "c.jpg")) -> Ranks:
    """Four photos, named out of order; the first has two captions."""
    return Ranks(np.array(text_ranks), np.ones(4, int), OWNERS, np.array([0, 0, 5, 0]), names)


def test_one_draw_is_what_the_bootstrap_counts() -> None:
    one = ranks(1, 9, 1, 9, 1)
    outcomes, counts = PhotoOutcomes.of([one], (1, 5)), QueryCounts.of(one, (1, 5))
    assert np.array_equal(outcomes.bins.queries, counts.queries)
    assert np.array_equal(outcomes.bins.hits, counts.hits)
    assert (len(outcomes), outcomes.draws, outcomes.ks) == (4, 1, (1, 5))


def test_draws_are_averaged_query_by_query() -> None:
    outcomes = PhotoOutcomes.of([ranks(1, 9, 1, 9, 1), ranks(1, 1, 9, 9, 1), ranks(9, 9, 9, 9, 1)], (1,))
    assert outcomes.draws == 3
    # a.jpg, b.jpg, c.jpg, d.jpg: the photos are in the order of their names.
    assert outcomes.bins.hits[:, 0, 0, 0] == pytest.approx([1 / 3, 3 / 3, 1, 0])
    assert outcomes.bins.queries[:, 0, 0].tolist() == [1, 2, 1, 1]


def test_draws_are_aligned_by_name() -> None:
    first = ranks(1, 9, 1, 9, 1)
    other = replace(ranks(9, 1, 1, 1, 9), image_ids=("b.jpg", "a.jpg", "c.jpg", "d.jpg"))
    outcomes = PhotoOutcomes.of([other], (1,), like=first)
    assert outcomes.bins.hits[:, 0, 0, 0].tolist() == [1, 1, 1, 0]
    assert outcomes.bins.queries[3, 0].tolist() == [1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]  # the bins of `first`
    with pytest.raises(QpertError, match="do not hold the same queries"):
        PhotoOutcomes.of([ranks(1, 1, 1, 1, 1, names=("x", "a.jpg", "d.jpg", "c.jpg"))], (1,), like=first)
    with pytest.raises(QpertError, match="no draw"):
        PhotoOutcomes.of([], (1,))


def test_finer_sizes_are_those_of_the_areas() -> None:
    outcomes = PhotoOutcomes.of([ranks(1, 9, 1, 9, 1)], (1,), areas=AREAS)
    queries = {size.name: outcomes.finer.queries[:, 0, 1 + number].tolist() for number, size in enumerate(SIZES)}
    assert queries == {"1%": [1, 0, 0, 0], "3%": [1, 2, 0, 0], "1-3%": [0, 2, 0, 0], "3-10%": [0, 0, 1, 0]}
    assert outcomes.finer.hits[:, 0, 2, 0].tolist() == [1, 1, 0, 0]
    assert PhotoOutcomes.of([ranks(1, 9, 1, 9, 1)], (1,)).finer.queries[:, 0, 1:].sum() == 0


def test_pooled_sets_stand_side_by_side() -> None:
    first = PhotoOutcomes.of([ranks(1, 9, 1, 9, 1), ranks(1, 1, 1, 1, 1)], (1,), areas=AREAS)
    second = PhotoOutcomes.of([ranks(9, 9, 9, 9, 9)], (1,), areas=AREAS)
    pooled = PhotoOutcomes.pooled([first, second])
    assert (len(pooled), pooled.draws) == (8, 2)
    assert pooled.bins.hits[:, 0, 0, 0].tolist() == [1, 1.5, 1, 0.5, 0, 0, 0, 0]
    assert pooled.finer.queries.sum() == 2 * first.finer.queries.sum()


def test_copies_of_a_photo_are_one_photo() -> None:
    copies = replace(ranks(1, 9, 1, 9, 1), photos=np.array([7, 3, 7, 5]))  # b.jpg and d.jpg
    outcomes = PhotoOutcomes.of([copies], (1,), areas=AREAS)
    assert np.array_equal(outcomes.bins.queries, QueryCounts.of(copies, (1,)).queries)
    assert outcomes.finer.queries[:, 0, 0].tolist() == [1, 3, 1]  # a.jpg, b.jpg with d.jpg, c.jpg
    assert outcomes.finer.queries[:, 0, 2].tolist() == [1, 3, 0]  # below 3 %: by the first name
