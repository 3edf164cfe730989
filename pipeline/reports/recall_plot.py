"""A figure of recall by the size of the largest object, with intervals, for one or two feature sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import QpertError
from pipeline.reports.drawing import figure_for
from pipeline.reports.recall_tables import DIRECTIONS
from pipeline.retrieval.evaluation_result import EvaluationResult, NamedEvaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg")
_COLOURS = ("#4477aa", "#ee6677")  # a blue and a red that colour-blind readers can tell apart
_MARKERS = ("o", "s")


def check_plot_path(path: str) -> None:
    """Raises a QpertError unless `path` ends in .png or .svg; to be called before the work."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise QpertError(f"a figure is a .png or .svg file, not {path}")


def plot_recall_by_size(result: EvaluationResult, path: str, *, by: str = "indexed") -> None:
    """Draws Recall at the first K over the ten size bins, one panel per direction, and writes `path`.

    A bin without a query is a gap. The label of each bin includes its number of queries.

    Args:
        result: one set, or two that share bins and queries.
        path: ends in .png or .svg, in an existing folder.
        by: the source of the objects that define the bins, for the axis: "indexed" or "annotated".

    Raises:
        QpertError: another kind of file, or one that cannot be written.
    """
    check_plot_path(path)
    with figure_for(path, (10.5, 3.8)) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        for axes, direction in zip(panels, DIRECTIONS, strict=True):
            _panel(axes, result, direction, by)
        if len(result.sets) > 1:
            figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)


def _panel(axes: Axes, result: EvaluationResult, direction: str, by: str) -> None:
    report = result.sets[0].evaluation.report
    k = report.ks[0]
    parts = getattr(report, direction).bins
    apart = 0.12 if len(result.sets) > 1 else 0.0
    for number, of_set in enumerate(result.sets):
        _points(axes, of_set, direction, k, number, shift=apart * (2 * number - 1))
    labels = [f"{100 * part.low:.0f}-{100 * part.high:.0f}\n{part.queries}" for part in parts]
    axes.set_xticks(range(len(parts)), labels, fontsize=7.5)
    axes.set_xlim(-0.6, len(parts) - 0.4)
    axes.set_ylim(0, 102)  # room for a marker at 100
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.set_title(DIRECTIONS[direction])
    axes.set_xlabel(f"area of the largest {by} object, % of the photo; queries below")
    axes.set_ylabel(f"Recall@{k}, %")


def _points(axes: Axes, of_set: NamedEvaluation, direction: str, k: int, number: int, *, shift: float) -> None:
    places, values, below, above = [], [], [], []
    for place, part in enumerate(getattr(of_set.evaluation.report, direction).bins):
        if not part.queries:
            continue
        value, interval = part.recall[k], getattr(of_set.intervals, direction).bins[place][k]
        low, high = interval or (value, value)
        places.append(place + shift)
        values.append(100 * value)
        # The ends are quantiles of resamples: a figure may lie just outside them, but an error bar must be positive.
        below.append(max(0.0, 100 * (value - low)))
        above.append(max(0.0, 100 * (high - value)))
    # "$" and a leading "_" are special to matplotlib; here they are letters of a folder's name.
    label = " " + of_set.name.replace("$", r"\$")
    axes.errorbar(
        places, values, yerr=[below, above], fmt=_MARKERS[number], color=_COLOURS[number], capsize=2.5, label=label
    )
