"""The figure: recall by the size of the largest object, with intervals, of one or two feature sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import QpertError
from pipeline.reports.drawing import figure_for
from pipeline.reports.recall_tables import DIRECTIONS
from pipeline.retrieval.measurement import Measured, Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg")
_COLOURS = ("#4477aa", "#ee6677")  # blue and red that colour-blind readers can tell apart, too
_MARKERS = ("o", "s")


def check_plot_path(path: str) -> None:
    """A QpertError unless `path` ends in .png or .svg; to be called before the work."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise QpertError(f"a figure is a .png or .svg file, not {path}")


def plot_recall_by_size(found: Measurement, path: str, *, by: str = "indexed") -> None:
    """Draws Recall at the first K over the ten size bins, a panel for each direction, and writes `path`.

    A bin without a query is a gap. Below each bin stands how many queries it has.

    Args:
        found: one set, or two that share bins and queries.
        path: ends in .png or .svg, in a folder that is there.
        by: whose objects the bins go by, for the axis.

    Raises:
        QpertError: another kind of file, or it cannot be written.
    """
    check_plot_path(path)
    with figure_for(path, (10.5, 3.8)) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        for axes, direction in zip(panels, DIRECTIONS, strict=True):
            _panel(axes, found, direction, by)
        if len(found.sets) > 1:
            figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)


def _panel(axes: Axes, found: Measurement, direction: str, by: str) -> None:
    report = found.sets[0].evaluation.report
    k = report.ks[0]
    parts = getattr(report, direction).bins
    apart = 0.12 if len(found.sets) > 1 else 0.0
    for number, each in enumerate(found.sets):
        _points(axes, each, direction, k, number, shift=apart * (2 * number - 1))
    labels = [f"{100 * part.low:.0f}-{100 * part.high:.0f}\n{part.queries}" for part in parts]
    axes.set_xticks(range(len(parts)), labels, fontsize=7.5)
    axes.set_xlim(-0.6, len(parts) - 0.4)
    axes.set_ylim(0, 102)  # room for a marker at 100
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.set_title(DIRECTIONS[direction])
    axes.set_xlabel(f"area of the largest {by} object, % of the photo; queries below")
    axes.set_ylabel(f"Recall@{k}, %")


def _points(axes: Axes, each: Measured, direction: str, k: int, number: int, *, shift: float) -> None:
    places, values, below, above = [], [], [], []
    for place, part in enumerate(getattr(each.evaluation.report, direction).bins):
        if not part.queries:
            continue
        value, interval = part.recall[k], getattr(each.intervals, direction).bins[place][k]
        low, high = interval or (value, value)
        places.append(place + shift)
        values.append(100 * value)
        # The ends are quantiles of resamples: a figure may lie outside them by a hair, an error bar may not.
        below.append(max(0.0, 100 * (value - low)))
        above.append(max(0.0, 100 * (high - value)))
    # "$" and a leading "_" mean something to matplotlib; here they are letters of a folder's name.
    label = " " + each.name.replace("$", r"\$")
    axes.errorbar(
        places, values, yerr=[below, above], fmt=_MARKERS[number], color=_COLOURS[number], capsize=2.5, label=label
    )
