"""What people look at: tables for terminal and Markdown, and the HTML gallery."""

from __future__ import annotations

from pipeline.reports.gallery import Photo, Section, photos_of, write_gallery
from pipeline.reports.tables import bins_table, difference_table, markdown, overall_table, printable, terminal

__all__ = [
    "Photo",
    "Section",
    "bins_table",
    "difference_table",
    "markdown",
    "overall_table",
    "photos_of",
    "printable",
    "terminal",
    "write_gallery",
]
