from __future__ import annotations

import io
import logging

import pytest

from jobs import cli
from jobs.cli import app
from jobs.cli.messages import did_you_mean, messages_on_stderr

logger = logging.getLogger("pipeline.somewhere")


def test_warnings_and_errors_say_so_and_progress_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    with messages_on_stderr():
        logger.info("12 of 20")
        logger.warning("%d photos are lost", 3)
        logging.getLogger("jobs.index").error("there is no photo")
        logger.debug("not shown")
    assert capsys.readouterr() == ("", "12 of 20\nwarning: 3 photos are lost\nerror: there is no photo\n")


def test_messages_quote_names_harmlessly(capsys: pytest.CaptureFixture[str]) -> None:
    with messages_on_stderr():
        logger.info("a\nerror: b\x1b[2J")
        logger.warning("a\nwarning: b\u202e")
    assert capsys.readouterr().err == "a\\nerror: b\\x1b[2J\nwarning: a\n       warning: b\\u202e\n"


def test_a_traceback_follows_its_message(capsys: pytest.CaptureFixture[str]) -> None:
    with messages_on_stderr():
        try:
            raise ValueError("seven")
        except ValueError:
            logger.exception("failed")
    first, *_, last = capsys.readouterr().err.splitlines()
    assert (first, last.strip()) == ("error: failed", "ValueError: seven")


def test_logging_is_as_before_after_a_command(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def say(words: list[str]) -> int:
        logger.warning("within")
        logging.getLogger("another.library").warning("by another")
        return 0

    monkeypatch.setattr(app, "_run", say)
    before = [*logging.getLogger("pipeline").handlers]
    assert cli.main(["index"]) == 0
    assert capsys.readouterr().err == "warning: within\n"
    logger.warning("afterwards")
    assert [record.getMessage() for record in caplog.records] == ["by another", "afterwards"]
    assert logging.getLogger("pipeline").handlers == before


def test_a_message_that_cannot_be_written_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("sys.stderr", Full())
    with messages_on_stderr(), pytest.raises(OSError, match="No space left"):
        logger.info("lost")


@pytest.mark.parametrize(("word", "hint"), [("indx", "did you mean index?"), ("qqq", "see the list")])
def test_hints(word: str, hint: str) -> None:
    assert did_you_mean(word, ["index", "search"], "see the list") == hint
