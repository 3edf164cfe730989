"""Groups by the nearest photos that an approximate index finds, for sets too large to compare all pairs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipeline.duplicates.catalogue import Int64, PhotoVectors
from pipeline.duplicates.grouping import NONE, Groups
from pipeline.retrieval.photo_similarity import DECIMALS, photo_similarity
from pipeline.vectors.query_vectors import QueryVectors

QUERIES = 256
"""Photos that are searched for at once."""
_NEAREST = 16
"""Photos to find for each, at first; more where all of them are similar."""


def group_by_index(
    vectors: PhotoVectors,
    threshold: float,
    groups: Groups,
    progress: Callable[[Groups], object] = lambda groups: None,
    *,
    exact: bool = False,
) -> None:
    """Searches for every photo that no group has taken, and completes `groups` as `group_all` does.

    A similar photo that the index does not find is missed; what it finds is confirmed by the vectors themselves.

    Args:
        vectors: of N photos with one vector each, in the order in which they are worth keeping.
        threshold: similarity from which on photos belong together.
        groups: none, or those of an interrupted comparison.
        progress: called now and then with `groups`.
        exact: compare every photo all the same, without the index.
    """
    places = [np.full(len(snapshot.live), NONE, np.int64) for snapshot in vectors.snapshots]
    for place, of_set in enumerate(places):
        mine = np.flatnonzero(vectors.sets == place)
        of_set[vectors.numbers[mine]] = mine
    for start in range(groups.done, len(vectors), QUERIES):
        stop = min(start + QUERIES, len(vectors))
        rows = groups.open(start, stop)
        found = _nearest(vectors, places, rows, threshold, groups, exact=exact) if len(rows) else []
        for row, (own, others) in zip(rows.tolist(), found, strict=True):
            if groups.leaders[row] != NONE:
                continue
            groups.leaders[row] = row
            others = np.sort(others[(others > row) & (groups.leaders[others] == NONE)])
            for other, theirs in zip(others.tolist(), vectors.take(others), strict=True):
                similarity = photo_similarity(own, theirs)
                if similarity >= threshold:
                    groups.take(row, other, similarity)
        groups.done = stop
        progress(groups)


def _nearest(
    vectors: PhotoVectors, places: list[Int64], rows: Int64, threshold: float, groups: Groups, *, exact: bool
) -> list[tuple[np.ndarray[tuple[int, int], np.dtype[np.float32]], Int64]]:
    """For each row its vectors, and the photos that the index finds similar to it."""
    own = vectors.take(rows)
    found: list[list[Int64]] = [[] for _ in rows]
    floor = threshold - 10.0**-DECIMALS
    for snapshot, of_set in zip(vectors.snapshots, places, strict=True):
        allowed = of_set != NONE
        allowed[allowed] = groups.leaders[of_set[allowed]] == NONE
        left, k = list(range(len(rows))), _NEAREST
        while left:
            queries = [QueryVectors.single(own[row][0]) for row in left]
            answers = snapshot.search(queries, k, allowed=allowed, floor=floor, exact=exact)
            more = []
            for row, answer in zip(left, answers, strict=True):
                if len(answer) < k or k >= len(of_set):
                    found[row].append(of_set[answer.photos])
                else:
                    more.append(row)
            left, k = more, 4 * k
    return [(one, np.concatenate(parts)) for one, parts in zip(own, found, strict=True)]
