"""Figures drawn straight to a file: without pyplot, a window, or the backend named by the environment."""

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
    """A figure to draw on within the block; it is then written to `path` in the format of its suffix.

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

    # The salt gives equal figures equal files; text in them stays text.
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
    """Makes matplotlib importable whatever MPLBACKEND names: it fails to import if that backend is not installed.

    Also silences its remark that it keeps its fonts elsewhere if the home folder is not writable.
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
