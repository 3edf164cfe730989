"""How a paired difference is told: whether it is shown, what size would have been, and its p values."""

from __future__ import annotations

from pipeline.reports.text_table import interval_text, points
from pipeline.retrieval.comparison import Difference

SHOWN_MEANS = (
    "shown: the interval of the difference excludes 0; otherwise, in brackets, the smallest true difference (in points)"
    " that this comparison would have shown with 80 % power"
)
"""What the cells of `shown_text` mean."""
DIFFERENCE_HEADERS = ("95 % interval", "shown", "p", "Holm")
"""Headers of the cells of `difference_cells`, after that of the difference itself."""


def shown_text(change: Difference) -> str:
    """`yes`, `not shown (1.90)` with the smallest detectable difference in points, or nothing without a difference."""
    if change.difference is None:
        return ""
    return "yes" if change.shown else f"not shown{_brackets(change)}"


def verdict(change: Difference) -> str:
    """`shown`, or `not shown; would have seen 1.90 points or more`."""
    if change.shown:
        return "shown"
    return "not shown" if change.detectable is None else f"not shown; would have seen {_size(change)} points or more"


def difference_cells(change: Difference | None, corrected: float | None) -> list[str]:
    """The difference in points, its interval, whether it is shown, p and the corrected p; empty for None."""
    if change is None:
        return [""] * (1 + len(DIFFERENCE_HEADERS))
    span = interval_text(change.interval, signed=True)
    return [points(change.difference), span, shown_text(change), p_text(change.p), p_text(corrected)]


def p_text(p: float | None) -> str:
    """A p value with three digits; empty for None."""
    return "" if p is None else f"{p:.3g}"


def short_p(p: float | None) -> str:
    """A p value with three decimals, `< 0.001` where that is 0; empty for None."""
    return "" if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _brackets(change: Difference) -> str:
    return "" if change.detectable is None else f" ({_size(change)})"


def _size(change: Difference) -> str:
    return points(change.detectable).removeprefix("+")
