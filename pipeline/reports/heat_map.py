"""A grid of figures as a heat map, with one cell marked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.reports.drawing import figure_for


@dataclass(frozen=True)
class HeatMap:
    """The figures of a grid, with their labels.

    Attributes:
        values: row by row, NaN for a missing cell.
        down: labels of the rows.
        across: labels of the columns.
        names: titles of the vertical and the horizontal axis.
        unit: label of the colour bar.
        title: above the figure.
        marked: (row, column) of the framed cell.
    """

    values: Sequence[Sequence[float]]
    down: Sequence[str]
    across: Sequence[str]
    names: tuple[str, str]
    unit: str
    title: str
    marked: tuple[int, int]

    def draw(self, path: str | Path) -> None:
        """Writes `path` (.png or .svg) and creates its folder. Colours run from the lowest to the highest value.

        Raises:
            QpertError: the file cannot be written.
        """
        values = np.array(self.values, np.float64)
        size = 2 + 0.95 * len(self.across), 1.9 + 0.5 * len(self.down)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with figure_for(path, size) as figure:
            import matplotlib  # not before `figure_for` has made it importable
            from matplotlib.patches import Rectangle

            axes = figure.subplots()
            colours = matplotlib.colormaps["viridis"].with_extremes(bad="lightgrey")
            image = axes.imshow(np.ma.masked_invalid(values), cmap=colours, aspect="auto")
            middle = (np.nanmin(values) + np.nanmax(values)) / 2
            for (row, column), value in np.ndenumerate(values):
                if not math.isnan(value):
                    colour = "black" if value > middle else "white"
                    axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour)
            row, column = self.marked
            frame = Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="#ee6677", linewidth=2.5)
            axes.add_patch(frame)
            axes.set_xticks(range(len(self.across)), list(self.across))
            axes.set_yticks(range(len(self.down)), list(self.down))
            axes.set_ylabel(self.names[0])
            axes.set_xlabel(self.names[1])
            axes.set_title(self.title, fontsize=9)
            figure.colorbar(image, ax=axes, label=self.unit)
