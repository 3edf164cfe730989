"""Figures drawn straight onto a file: without pyplot, a window, or the backend that the environment names."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import QpertError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextmanager
def figure_for(path: str | Path, size: tuple[float, float]) -> Iterator[Figure]:
    """A figure to draw on within the block, which is then written to `path`, by its suffix.

    Args:
        path: the file.
        size: (width, height) in inches.

    Raises:
        QpertError: the file cannot be written.
    """
    with _importable():
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    # The salt makes equal figures equal files, and text in them stays text.
    with matplotlib.rc_context({"svg.hashsalt": "qpert", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        metadata: dict[str, Any] = {"Date": None} if str(path).lower().endswith(".svg") else {}
        try:
            figure.savefig(path, dpi=150, metadata=metadata)
        except OSError as error:
            raise QpertError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def _importable() -> Iterator[None]:
    """Let matplotlib be imported whatever MPLBACKEND says: it refuses to be where that backend is not installed.

    And let it not say that it keeps its fonts elsewhere where the home folder cannot be written to.
    """
    named = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
        if named is not None:
            os.environ["MPLBACKEND"] = named
