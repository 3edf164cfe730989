from __future__ import annotations

import io
import sys

import pytest

from pipeline.runs import status_line
from pipeline.runs.status_line import Counting, StatusLine


class Terminal(io.StringIO):
    """Keeps what is written to it."""

    def isatty(self) -> bool:
        return True


def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Makes standard error a terminal of 40 columns, on which a line may change at any time."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(status_line, "EVERY_TTY", 0.0)
    for name, value in {"TERM": "xterm", "COLUMNS": "40", "LINES": "20"}.items():
        monkeypatch.setenv(name, value)
    return stream


def test_a_terminal_shows_the_first_text_at_once_and_replaces_it(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    line = StatusLine()
    line.show("starting Ray ...")
    assert "starting Ray ..." in terminal.getvalue()
    assert "\n" not in terminal.getvalue()
    line.show("10 of 20 photos")
    assert terminal.getvalue().endswith("\r\x1b[2K10 of 20 photos")
    line.close()
    assert terminal.getvalue().endswith("\x1b[?25h\r\x1b[1A\x1b[2K")  # the cursor is back, and the line is gone


def test_a_text_that_is_too_wide_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    line = StatusLine()
    line.show("x" * 50)
    line.close()
    assert "x" * 40 in terminal.getvalue()
    assert "x" * 41 not in terminal.getvalue()


def test_messages_appear_above_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    line = StatusLine()
    line.show("10 of 20 photos")
    print("warning: one photo", file=sys.stderr)
    assert terminal.getvalue().endswith("\r\x1b[2Kwarning: one photo\n10 of 20 photos")
    line.close()
    assert sys.stderr is terminal


def test_markup_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    line = StatusLine()
    line.show("[red]10[/red] :star:")
    line.close()
    assert "[red]10[/red] :star:" in terminal.getvalue()


def test_a_terminal_is_not_written_to_more_often_than_people_read(monkeypatch: pytest.MonkeyPatch) -> None:
    open_terminal(monkeypatch)
    line, now = StatusLine(), 100.0
    monkeypatch.setattr(status_line, "EVERY_TTY", 0.5)
    monkeypatch.setattr(status_line.time, "monotonic", lambda: now)
    shown = []
    for _ in range(10):
        line.show("text")
        shown.append(line.shown)
        now += 0.2
    line.close()
    assert len(set(shown)) == 4


def test_a_terminal_that_cannot_move_its_cursor_gets_log_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(status_line, "EVERY_LOG", 0.0)
    line = StatusLine()
    line.show("10 of 20 photos")
    line.close()
    assert terminal.getvalue() == "10 of 20 photos\n"


def test_a_log_gets_a_line_every_ten_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in many continuous integrations
    now = 0.0
    monkeypatch.setattr(status_line.time, "monotonic", lambda: now)
    line = StatusLine()
    for number in range(25):
        line.show(f"second {number}")
        now += 1.0
    line.close()
    assert capsys.readouterr().err == "second 10\nsecond 20\n"


def test_counting_is_silent_while_it_is_quick(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting("photos listed")
    counting(10)
    counting.end()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(counting.line, "shown", counting.line.shown - 60)
    monkeypatch.setattr(counting, "started", counting.started - 60)
    counting(600)
    assert capsys.readouterr().err.startswith("600 photos listed, ")
