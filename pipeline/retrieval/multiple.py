"""Many comparisons at once: p values corrected for how many there are."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p values, in the same order.

    Below 0.05, a difference stands even after having looked at all of them: the chance that any of those that stand is
    false is at most 5 %, however the comparisons depend on each other (Holm, "A simple sequentially rejective multiple
    test procedure", Scandinavian Journal of Statistics 6, 1979).

    Args:
        p_values: of all comparisons of a table; None for a row without one, which stays None and does not count.
    """
    order = sorted((p, number) for number, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, number) in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p))
        adjusted[number] = highest
    return adjusted


def compared(p_values: Sequence[float | None]) -> int:
    """The number of comparisons that `holm` corrects for."""
    return sum(p is not None for p in p_values)
