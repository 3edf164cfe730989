"""Near-duplicates among ranked photos."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pipeline.retrieval.similarity import Float32


def fold(
    count: int, vectors: Callable[[Sequence[int]], list[Float32]], threshold: float
) -> list[tuple[int, tuple[int, ...]]]:
    """Photos in the order of their rank, each with the near-duplicates that follow it.

    Args:
        count: of photos; they are named by their positions.
        vectors: the unit vectors [v, D] of the photos at some positions.
        threshold: mean cosine of their vectors from which on two photos are near-duplicates.

    Returns:
        The position of each photo that is kept, and those of its near-duplicates. More photos change nothing in the
        order of those that are kept before.
    """
    found = vectors(range(count)) if count else []
    groups: list[tuple[int, list[int]]] = []
    for position in range(count):
        for kept, others in groups:
            if float(np.mean((found[position] * found[kept]).sum(-1))) >= threshold:
                others.append(position)
                break
        else:
            groups.append((position, []))
    return [(kept, tuple(others)) for kept, others in groups]
