"""The words for a store that does not answer, and how often they are said."""

from __future__ import annotations

import logging

import pytest

from pipeline.io import storage_waits
from pipeline.io.storage_waits import StorageWaits, problem_of, waiting_text


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError("AWS Error SERVICE_UNAVAILABLE during GetObject operation: x"), "answers 503"),
        (OSError("AWS Error SLOW_DOWN during PutObject operation: x"), "answers 503, slow down"),
        (OSError("AWS Error UNKNOWN (HTTP status 500) during HeadObject operation"), "answers 500"),
        (OSError("AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 52"), "does not answer"),
        (ConnectionRefusedError(111, "Connection refused"), "does not answer"),
        (OSError("something\nelse"), "fails (something)"),
    ],
)
def test_what_the_store_does_is_said_in_a_few_words(error: OSError, words: str) -> None:
    assert problem_of(error) == words


@pytest.mark.parametrize(
    ("seconds", "limit", "words"),
    [
        (9, 600, "the store answers 503; waiting, 1st minute of 10, nothing is lost"),
        (125, 600, "the store answers 503; waiting, 3rd minute of 10, nothing is lost"),
        (610, 600, "the store answers 503; waiting, 11th minute of 11, nothing is lost"),
        (70, 0, "the store answers 503; waiting, 2nd minute, nothing is lost"),
    ],
)
def test_the_line_names_the_minute(seconds: float, limit: float, words: str) -> None:
    assert waiting_text("answers 503", seconds, limit) == words


def test_the_log_has_one_line_a_minute_of_all_operations(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(storage_waits.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(storage_waits, "_log", storage_waits._Log())
    with caplog.at_level(logging.WARNING):
        for second in range(130):
            clock[0] = 1000.0 + second
            for _ in range(16):
                storage_waits.say(StorageWaits("answers 503", float(second), 600.0))
    assert [message.split(", ")[1] for message in caplog.messages] == [
        "1st minute of 10",
        "2nd minute of 10",
        "3rd minute of 10",
    ]
