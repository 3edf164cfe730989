"""A download before the actors start shows how far it is, and happens only where the actors run."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import QpertError
from pipeline.runs import download
from pipeline.runs.download import show_download
from pipeline.runs.encoder_choice import EncoderChoice


class Line:
    """A status line that keeps what it shows."""

    shown: list[str]
    closed: bool

    def __init__(self) -> None:
        Line.shown, Line.closed = [], False

    def show(self, text: str) -> None:
        self.shown.append(text)

    def close(self) -> None:
        Line.closed = True


def test_progress_is_shown_and_the_line_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(encoder: str, weights: str | None, progress: Any) -> None:
        progress(10**9, 4 * 10**9)
        raise QpertError("no network")

    monkeypatch.setattr(download, "StatusLine", Line)
    monkeypatch.setattr(download, "fetch_weights", fetch)
    with pytest.raises(QpertError, match="no network"):
        show_download("blip2", "org/model\x1b[31m")
    (text,) = Line.shown
    assert text.startswith("downloading org/model\\x1b[31m: 1.0 GB of 4.0 GB, 0 B a second")
    assert Line.closed


@pytest.mark.parametrize(
    ("weights", "runs_here", "fetched"),
    [("org/name", True, [("blip2", "org/name")]), ("org/name", False, []), (None, True, []), ("miniature", True, [])],
)
def test_weights_are_fetched_where_the_actors_run_unless_they_are_bundled(
    monkeypatch: pytest.MonkeyPatch, weights: str | None, runs_here: bool, fetched: list[tuple[str, str]]
) -> None:
    asked: list[tuple[str, str | None]] = []
    monkeypatch.setattr(download, "show_download", lambda *names: asked.append(names))
    choice = EncoderChoice(lambda **_: pytest.fail("loaded"), {}, registered="blip2", weights=weights)
    choice.prepare(runs_here=runs_here)
    assert asked == fetched
