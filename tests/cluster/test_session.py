from __future__ import annotations

import signal

import pytest

from pipeline.cluster.session import _stopped_by_sigterm, is_local, named_cluster, ray_session
from pipeline.errors import QpertError


def test_an_unreachable_cluster_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(QpertError, match=r"cannot join the Ray cluster 127\.0\.0\.1:1: "), ray_session("127.0.0.1:1"):
        pass


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "http://127.0.0.1:8265",
            r"RAY_ADDRESS=http://127\.0\.0\.1:8265 is the address of a dashboard.*unset RAY_ADDRESS",
        ),
        ("https://ray.example/", "is the address of a dashboard"),
        ("127.0.0.1:1", r"cannot join the Ray cluster 127\.0\.0\.1:1: .*unset RAY_ADDRESS if that cluster is gone"),
        ("127.0.0.1:99999", r"cannot join the Ray cluster 127\.0\.0\.1:99999: "),
        ("ray://127.0.0.1:1", r"cannot join the Ray cluster ray://127\.0\.0\.1:1: "),
        ("a..b:1", r"cannot join the Ray cluster a\.\.b:1: "),
        ("somewhere", "RAY_ADDRESS=somewhere is not the address of a Ray cluster: HOST:PORT"),
    ],
)
def test_wrong_and_stale_addresses_are_reported_at_once(
    address: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(QpertError, match=message):
        named_cluster(None)
    monkeypatch.delenv("RAY_ADDRESS")
    with pytest.raises(QpertError) as raised:
        named_cluster(address)
    assert "unset" not in str(raised.value)


@pytest.mark.parametrize("address", ["", " ", "local"])
def test_addresses_that_name_no_cluster(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert named_cluster(None) is None


@pytest.mark.parametrize(
    ("address", "variable", "local"),
    [
        *((None, None, True), (None, "", True), ("local", None, True), (None, "local", True)),
        *(("head:6379", None, False), (None, "ray://head:10001", False), ("auto", "local", False)),
    ],
)
def test_a_session_here_is_told_from_a_cluster_without_asking_it(
    address: str | None, variable: str | None, local: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if variable is not None:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    assert is_local(address) is local


def test_auto_without_a_cluster_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def fail(**_: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fail)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with (
        pytest.raises(QpertError, match="no Ray cluster runs on this machine, which auto asks for"),
        ray_session("auto"),
    ):
        pass


def test_sigterm_ends_a_session_as_ctrl_c_does() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), _stopped_by_sigterm():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
