"""Figures of queries that have many right photos, from the ranks of these photos alone.

A right photo's rank is 1 + the number of photos ranked before it, and everything else follows:

- average precision: the mean over the right photos of the share of right ones down to their rank (mAP: the mean of
  that over the queries);
- R-precision: the share of right ones in the top R, where R is how many there are;
- nDCG, with a gain of 1 for a right photo and a discount of log2(1 + rank), against the same sum with all right photos
  first (Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", TOIS 20, 2002); nDCG@K over the
  top K;
- Recall@K, as for captions, is a hit rate: whether any right photo is in the top K.

A tie counts against the query, as for captions: what scores as high as a right photo ranks before it. Without ties all
agree with scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.retrieval.ranks import Floats, Ints

Float64 = npt.NDArray[np.float64]


def names_of(ks: Sequence[int]) -> tuple[str, ...]:
    """The names of `figures_of`, in its order."""
    return ("mAP", "R-precision", "nDCG", *(f"nDCG@{k}" for k in ks), *(f"R@{k}" for k in ks))


def figures_of(ranks: Ints, ks: Sequence[int]) -> Float64:
    """All figures of one query, in fractions, in the order of `names_of`.

    Args:
        ranks: [R], ranks (from 1) of its right photos, ascending; one at least.
        ks: the cut-offs K.
    """
    gains = 1 / np.log2(1 + ranks)
    best = np.cumsum(1 / np.log2(2 + np.arange(len(ranks))))
    cut = [float(gains[ranks <= k].sum() / best[min(k, len(ranks)) - 1]) for k in ks]
    precisions = np.arange(1, len(ranks) + 1) / ranks
    return np.array(
        [
            precisions.mean(),
            (ranks <= len(ranks)).mean(),
            gains.sum() / best[-1],
            *cut,
            *(float(ranks[0] <= k) for k in ks),
        ]
    )


class ManyRightRanker:
    """Counts, tile by tile, the wrong photos ranked before each right one, so that no full score matrix is needed.

    All tiles pass twice: first `see_right`, then `count`.
    """

    def __init__(self, right: Sequence[Ints], wrong: Sequence[Ints] | None = None, *, tolerance: float = 0.0) -> None:
        """Starts with no scores.

        Args:
            right: for each query, the numbers of its right photos, ascending.
            wrong: for each query, the numbers of its wrong photos, ascending; photos that are in neither are not ranked
                at all. None: all that are not right.
            tolerance: scores within it of a right photo's are ties, which count against the query.
        """
        self._right, self._wrong = right, wrong
        self._tolerance = tolerance
        self._scores = [np.zeros(len(photos), np.float32) for photos in right]
        self._lowest: list[Floats] | None = None
        self._counts = [np.zeros(len(photos) + 1, np.int64) for photos in right]

    def see_right(self, tile: Floats, *, first_image: int, first_query: int) -> None:
        """Notes the right photos' scores among those [i, t] of the photos and queries from these on."""
        for number, scores in enumerate(tile.T, first_query):
            places, rows = _within(self._right[number], first_image, len(scores))
            self._scores[number][places] = scores[rows]

    def count(self, tile: Floats, *, first_image: int, first_query: int) -> None:
        """Counts the wrong photos among the same scores."""
        if self._lowest is None:
            # Ascending: a wrong photo ranks before the right ones up to the last that scores no more than it.
            self._lowest = [np.sort(scores - np.float32(self._tolerance)) for scores in self._scores]
        for number, scores in enumerate(np.ascontiguousarray(tile.T), first_query):
            if self._wrong is None:
                rows = np.ones(len(scores), bool)
                rows[_within(self._right[number], first_image, len(scores))[1]] = False
            else:
                rows = _within(self._wrong[number], first_image, len(scores))[1]
            # Sorted, because looking sorted numbers up is several times faster.
            beaten = np.searchsorted(self._lowest[number], np.sort(scores[rows]), side="right")
            self._counts[number] += np.bincount(beaten, minlength=len(self._counts[number]))

    def before(self) -> list[Ints]:
        """For each query and each of its right photos, in the order of `right`: the wrong photos ranked before it."""
        result = []
        for scores, counts in zip(self._scores, self._counts, strict=True):
            ahead = np.cumsum(counts[::-1])[::-1][1:]  # of the right photos in ascending order of their scores
            of_photo = np.empty(len(scores), np.int64)
            of_photo[np.argsort(scores, kind="stable")] = ahead
            result.append(of_photo)
        return result


def ranks_of(before: Ints) -> Ints:
    """Ranks (from 1) of right photos, ascending, from the wrong ones before each.

    For some of the right photos only, as if the others were not there.
    """
    return np.sort(before) + np.arange(1, len(before) + 1)


def _within(photos: Ints, first: int, count: int) -> tuple[slice, Ints]:
    """Which places of the ascending `photos` lie in first..first + count - 1, and their rows there."""
    low, high = np.searchsorted(photos, [first, first + count])
    return slice(int(low), int(high)), photos[low:high] - first
