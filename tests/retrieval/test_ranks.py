"""Ranks: counted tile by tile, grouped by size."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import QpertError
from pipeline.retrieval import Ranks, recall_report, report_from_ranks
from pipeline.retrieval.ranks import Ranker, size_bins


def test_bins_are_half_open_and_the_last_one_closed():
    areas = [0.0, 0.0999, 0.1, 0.3, 0.6, 0.7, 0.9, 1.0, None, float("nan"), -1]
    assert size_bins(areas, 11).tolist() == [0, 0, 1, 3, 6, 7, 9, 9, -1, -1, -1]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_bin_edges_hold_in_every_precision(dtype):
    assert size_bins((np.arange(11) / 10).astype(dtype), 11).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9]


@pytest.mark.parametrize("tile", [(1, 1), (3, 4), (100, 100)])
def test_ranks_do_not_depend_on_the_tiles(tile):
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 8, (11, 23)).astype(np.float32)
    owners = rng.integers(0, 11, 23)
    ranker = Ranker(owners, 11)
    ranker.set_positives(scores[owners, np.arange(23)])
    for i in range(0, 11, tile[0]):
        for t in range(0, 23, tile[1]):
            ranker.count(scores[i : i + tile[0], t : t + tile[1]], first_image=i, first_text=t)
    expected = recall_report(scores, owners, None)
    assert report_from_ranks(*ranker.ranks(), image_of_text=owners) == expected


def test_ranks_need_a_bin_and_a_name_per_image():
    ones = np.ones(2, np.int64)
    Ranks(ones, ones, np.array([0, 1]), ones, ("a", "b"))
    with pytest.raises(QpertError, match="as many bins"):
        Ranks(ones, ones, np.array([0, 1]), np.ones(3, np.int64))
    with pytest.raises(QpertError, match="as many bins"):
        Ranks(ones, ones, np.array([0, 1]), ones, ("a",))
    with pytest.raises(QpertError, match="belongs to image 2"):
        Ranks(ones, ones, np.array([0, 2]), ones)
