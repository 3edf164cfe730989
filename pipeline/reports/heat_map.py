"""A grid of figures as a heat map, with one cell marked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.reports.drawing import figure_for


@dataclass(frozen=True)
class HeatMap:
    """What is drawn.

    Attributes:
        values: row by row, NaN for a cell that is not there.
        down: what the rows are called.
        across: what the columns are called.
        names: of what the rows are, and of what the columns are.
        unit: of the values, for the colour bar.
        title: above it all.
        marked: (row, column) of the cell with a frame.
    """

    values: Sequence[Sequence[float]]
    down: Sequence[str]
    across: Sequence[str]
    names: tuple[str, str]
    unit: str
    title: str
    marked: tuple[int, int]

    def draw(self, path: str | Path) -> None:
        """Write `path` (.png or .svg), whose folder is made. Colours run from the least to the most of the values.

        Raises:
            QpertError: it cannot be written.
        """
        import numpy as np

        values = np.array(self.values, np.float64)
        size = 2 + 0.95 * len(self.across), 1.9 + 0.5 * len(self.down)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with figure_for(path, size) as figure:
            import matplotlib
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
