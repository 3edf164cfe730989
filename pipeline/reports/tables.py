"""Tables for the terminal and for Markdown. The first column is text, the others are numbers or short words."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from pipeline.retrieval.recall import DirectionRecall, RecallReport

Rows = Sequence[Sequence[str]]

DIRECTIONS = {"t2i": "text to image", "i2t": "image to text"}


def terminal(headers: Sequence[str], rows: Rows) -> str:
    """An aligned table for a terminal: first column left, the others right, a rule below the header.

    Control characters are shown, not sent: a file name cannot move the cursor.
    """
    lines = [[printable(cell) for cell in line] for line in (headers, *rows)]
    widths = [max(_columns(line[i]) for line in lines) for i in range(len(headers))]
    text = [_aligned(line, widths) for line in lines]
    return "\n".join([text[0], "  ".join("─" * width for width in widths), *text[1:]])


def markdown(headers: Sequence[str], rows: Rows) -> str:
    """A GitHub-flavoured Markdown table; `|` and line breaks in cells are escaped."""
    rule = [":--", *["--:"] * (len(headers) - 1)]
    cells = [[printable(cell).replace("|", "\\|") for cell in line] for line in (headers, *rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (cells[0], rule, *cells[1:]))


def printable(text: str) -> str:
    """`text` on one line, its control characters, line breaks and direction marks as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def percent(value: float | None, digits: int = 2) -> str:
    """A fraction in percent without the sign, as the paper prints it; `-` for None."""
    return "-" if value is None else f"{100 * value:.{digits}f}"


def overall_table(report: RecallReport) -> tuple[list[str], list[list[str]]]:
    """Header and rows: Recall@K, mR@K (percent), ranks and queries of both directions."""
    headers = ["", *(f"R@{k}" for k in report.ks), *(f"mR@{k}" for k in report.ks), "median rank", "queries"]
    rows = []
    for name, title in DIRECTIONS.items():
        direction: DirectionRecall = getattr(report, name)
        recalls = [percent(direction.overall.get(k)) for k in report.ks]
        means = [percent(direction.mean_recall[k]) for k in report.ks]
        median = "-" if direction.median_rank is None else f"{direction.median_rank:g}"
        rows.append([title, *recalls, *means, median, str(direction.queries)])
    return headers, rows


def bins_table(report: RecallReport) -> tuple[list[str], list[list[str]]]:
    """Header and rows: Recall@K (percent) of the ten bins of the largest object's area, T2I then I2T."""
    headers = ["largest object"]
    for name in ("T2I", "I2T"):
        headers += [f"{name} R@{k}" for k in report.ks] + ["queries"]
    rows = []
    for t2i, i2t in zip(report.t2i.bins, report.i2t.bins, strict=True):
        cells = [f"{100 * t2i.low:.0f}-{100 * t2i.high:.0f} %"]
        for part in (t2i, i2t):
            cells += [percent(part.recall.get(k)) for k in report.ks] + [str(part.queries)]
        rows.append(cells)
    return headers, rows


def difference_table(
    names: tuple[str, str], reports: tuple[RecallReport, RecallReport]
) -> tuple[list[str], list[list[str]]]:
    """Header and rows: two reports of the same queries side by side, percent, and what the second adds in points.

    Recall@K of both directions, and Recall at the first K of the smallest objects, with the number of queries.
    """
    headers = ["", *names, "difference", "queries"]
    rows = []
    for name, title in DIRECTIONS.items():
        first, second = (getattr(report, name) for report in reports)
        for k in reports[0].ks:
            rows.append(_difference(f"{title}, R@{k}", first.overall.get(k), second.overall.get(k), first.queries))
        small, other, k = first.bins[0], second.bins[0], reports[0].ks[0]
        label = f"{title}, R@{k}, largest object < 10 %"
        rows.append(_difference(label, small.recall.get(k), other.recall.get(k), small.queries))
    return headers, rows


def _difference(label: str, first: float | None, second: float | None, queries: int) -> list[str]:
    points = "-" if first is None or second is None else f"{100 * (second - first):+.2f}"
    return [label, percent(first), percent(second), points, str(queries)]


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    first = line[0] + " " * (widths[0] - _columns(line[0]))
    rest = (" " * (width - _columns(cell)) + cell for cell, width in zip(line[1:], widths[1:], strict=True))
    return "  ".join([first, *rest]).rstrip()


def _columns(text: str) -> int:
    """Terminal columns that `text` takes: two for wide characters, none for combining ones."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
