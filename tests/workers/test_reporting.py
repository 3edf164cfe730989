from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.workers.reporting import Event, Loading, Reporter, WorkDone


def test_events_are_sent_in_order() -> None:
    sent: list[Event] = []
    reporter = Reporter(SimpleNamespace(receive=SimpleNamespace(remote=sent.append)))
    reporter.send(Loading())
    reporter.send(WorkDone("encode/1"))
    assert sent == [Loading(), WorkDone("encode/1")]


def test_answers_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.get", lambda reference: reference)

    def answers(value: Any) -> Any:
        return SimpleNamespace(remote=lambda *arguments: value)

    reporter = Reporter(SimpleNamespace(enter=answers(2), known_micro_batch=answers(8)))
    assert reporter.enter("encode/1") == 2
    assert reporter.known_micro_batch("encode", "cpu") == 8


def test_without_an_actor_nothing_is_reported_and_nothing_is_known() -> None:
    reporter = Reporter()
    reporter.send(Loading())
    assert reporter.enter("encode/1") == 0
    assert reporter.known_micro_batch("encode", "cpu") is None
