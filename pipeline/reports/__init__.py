"""What people look at: tables for the terminal and Markdown, recall as tables and figures, and the HTML gallery."""

from __future__ import annotations

from pipeline.reports.gallery import Photo, Section, photos_of, write_gallery
from pipeline.reports.recall_plot import plot_recall_by_size
from pipeline.reports.recall_tables import bins_table, comparison_table, difference_table, overall_table
from pipeline.reports.text_table import markdown, terminal

__all__ = [
    "Photo",
    "Section",
    "bins_table",
    "comparison_table",
    "difference_table",
    "markdown",
    "overall_table",
    "photos_of",
    "plot_recall_by_size",
    "terminal",
    "write_gallery",
]
