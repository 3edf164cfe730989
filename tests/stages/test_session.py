from __future__ import annotations

import signal

import pytest

from pipeline.errors import QpertError
from pipeline.stages.session import _stopped_by_sigterm, ray_session


def test_a_cluster_that_does_not_answer_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(QpertError, match=r"cannot join the Ray cluster 127\.0\.0\.1:1: "), ray_session("127.0.0.1:1"):
        pass


def test_a_session_that_does_not_start_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def busy(**_: object) -> None:
        raise Exception("The current node timed out during startup")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", busy)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(QpertError, match=r"try again .*timed out during startup"), ray_session():
        pass


def test_sigterm_ends_a_session_as_ctrl_c_does() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), _stopped_by_sigterm():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
