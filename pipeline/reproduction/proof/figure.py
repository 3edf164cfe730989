"""The figure of the table of proof: what each row gains over plain by the size of the largest object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.experiments.variants import PLAIN
from pipeline.reports.drawing import figure_for
from pipeline.reports.recall_tables import bin_name
from pipeline.reproduction.proof.rows import CHOSEN, PAPER, SHUFFLED, Row
from pipeline.retrieval.contrasts import Contrasts
from pipeline.retrieval.ranks import BINS

SIZES: Mapping[str, str] = {
    "1%": "0-1 %",
    "1-3%": "1-3 %",
    "3-10%": "3-10 %",
    **{f"bin {number}": bin_name(number) for number in range(1, BINS)},
}
"""Metrics of Recall@1 by size, and their headings; the first of the ten bins is split."""
_STRONG = {CHOSEN: "#cc3311", SHUFFLED: "#0077bb", PAPER: "#ee7733"}
"""Colours of the rows whose intervals are drawn: they answer whose the gain is."""
_OTHERS = ("#009988", "#ee3377", "#bbbbbb", "#332288", "#ddcc77", "#117733", "#882255", "#44aa99", "#999933")
_STYLES = {"control": "--", "rival": ":", "method": "-"}


def plot_gains(contrasts: Contrasts, rows: Sequence[Row], path: str | Path, title: str) -> None:
    """Draws Recall@1 minus plain, one line per row, and writes `path` (.png or .svg).

    Plain is the line at zero. The chosen setting, the paper's and shuffled boxes have intervals; controls are dashed,
    rivals dotted. A size without a caption is a gap.

    Raises:
        QpertError: the file cannot be written.
    """
    with figure_for(path, (10.5, 5.2)) as figure:
        axes = figure.subplots()
        axes.axhline(0, color="black", linewidth=1, label=PLAIN)
        others = iter(range(len(rows)))
        strong = [row for row in rows if row.name in _STRONG]
        for row in [*(row for row in rows if row.name not in _STRONG), *strong]:
            if row.name == PLAIN:
                continue
            changes = [contrasts.contrast(PLAIN, row.name, metric) for metric in SIZES]
            values = [float("nan") if change.difference is None else 100 * change.difference for change in changes]
            colour = _STRONG.get(row.name) or _OTHERS[next(others) % len(_OTHERS)]
            width = 2.0 if row.name in _STRONG else 1.0
            axes.plot(
                range(len(SIZES)), values, _STYLES[_kind(row)], color=colour, linewidth=width, marker="o", markersize=3,
                label=row.name,
            )  # fmt: skip
            if row.name in _STRONG:
                shift = 0.1 * (list(_STRONG).index(row.name) - 1)
                for place, change in enumerate(changes):
                    if change.interval is not None:
                        ends = [100 * end for end in change.interval]
                        axes.plot([place + shift] * 2, ends, color=colour, linewidth=1, alpha=0.6)
        counts = [contrasts.figure(PLAIN, metric).queries for metric in SIZES]
        labels = [f"{name}\n{count}" for name, count in zip(SIZES.values(), counts, strict=True)]
        axes.set_xticks(range(len(SIZES)), labels, fontsize=7.5)
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
        axes.set_title(title.replace("$", r"\$"))
        axes.set_xlabel("area of the largest annotated object, % of the photo; captions below")
        axes.set_ylabel("Recall@1 minus plain, points")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=7.5)


def _kind(row: Row) -> str:
    if row.rival:
        return "rival"
    return "method" if row.name in (CHOSEN, PAPER) else "control"
