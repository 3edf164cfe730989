"""Downloading an encoder's weights before its actors start, with a status line."""

from __future__ import annotations

import time

from pipeline.encoders.downloads import fetch_weights
from pipeline.printing import printable
from pipeline.runs.plan_text import size
from pipeline.runs.status_line import StatusLine


def show_download(encoder: str, weights: str | None) -> None:
    """Downloads the weights of an encoder unless they are here, and shows how far it is.

    Raises:
        QpertError: they cannot be downloaded.
    """
    line, started, first = StatusLine(), time.monotonic(), None

    def show(here: int, total: int) -> None:
        nonlocal first
        first = here if first is None else first
        rate = (here - first) / max(1e-3, time.monotonic() - started)
        line.show(f"downloading {printable(str(weights))}: {size(here)} of {size(total)}, {size(rate)} a second")

    try:
        fetch_weights(encoder, weights, show)
    finally:
        line.close()
