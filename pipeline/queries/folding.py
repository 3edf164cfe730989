"""Near-duplicates among hits: each hangs on the best hit that it is similar to, so that distinct photos remain."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pipeline.retrieval.photo_similarity import check_threshold, similar
from pipeline.retrieval.similarity import Float32

_FIRST_BATCH = 32
_BATCH_VECTORS = 2048
"""Vectors of the photos that are compared at once with as many others."""


def fold(
    count: int, vectors: Callable[[Sequence[int]], Sequence[Float32]], threshold: float
) -> list[tuple[int, tuple[int, ...]]]:
    """The hits that remain of ranked hits, and those that are folded onto each.

    Best first, a hit is folded onto the best remaining hit whose similarity (`pipeline.retrieval.photo_similarity`)
    reaches `threshold`, and else remains. So all remaining hits are distinct, and whatever is folded is similar to the
    hit that it hangs on; not necessarily to the others that hang there. Since a hit's place depends on better hits
    only, a longer ranking gives the same hits and then more: pages neither repeat nor lose one.

    Args:
        count: of the hits, whose positions are 0 to `count` - 1, best first.
        vectors: gives the unit vectors [V, D] of the hits at some positions.
        threshold: the similarity of near-duplicates, above 0 up to 1.

    Returns:
        (position, positions folded onto it), both best first.

    Raises:
        QpertError: a threshold that is no similarity.
    """
    check_threshold(threshold)
    folded: dict[int, list[int]] = {}
    blocks: list[tuple[list[int], list[Float32]]] = []
    start, size = 0, _FIRST_BATCH
    while start < count:
        positions = range(start, min(start + size, count))
        found = vectors(positions)
        onto = _first_similar(found, blocks, threshold)
        within = similar(found, found, threshold)
        fresh: list[int] = []
        for number, position in enumerate(positions):
            kept = onto[number]
            if kept is None:
                kept = next((start + other for other in fresh if within[number, other]), None)
            if kept is None:
                fresh.append(number)
                folded[position] = []
            else:
                folded[kept].append(position)
        if fresh:
            blocks.append(([start + number for number in fresh], [found[number] for number in fresh]))
        start += len(positions)
        size = max(_FIRST_BATCH, _BATCH_VECTORS // max(1, len(found[-1])))
    return [(position, tuple(others)) for position, others in folded.items()]


def _first_similar(
    found: Sequence[Float32], blocks: Sequence[tuple[list[int], list[Float32]]], threshold: float
) -> list[int | None]:
    """The best remaining hit that each photo is similar to; None if it is similar to none."""
    result: list[int | None] = [None] * len(found)
    for positions, vectors in blocks:
        left = [number for number, position in enumerate(result) if position is None]
        near = similar([found[number] for number in left], vectors, threshold)
        for row in np.flatnonzero(near.any(axis=1)):
            result[left[row]] = positions[int(near[row].argmax())]
    return result
