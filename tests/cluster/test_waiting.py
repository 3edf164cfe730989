"""Waiting for GPUs, with a fake cluster."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.cluster import waiting
from pipeline.cluster.machines import Machines


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    requests: list[Any] = []
    monkeypatch.setattr("ray.autoscaler.sdk.request_resources", lambda **request: requests.append(request))
    return requests


def set_polls(monkeypatch: pytest.MonkeyPatch, *gpus: dict[str, int]) -> None:
    """Sets the GPUs that successive polls find; the last ones stay."""
    left = [Machines(4, Counter(counts)) for counts in gpus]
    monkeypatch.setattr(Machines, "cluster", lambda ask=True: left.pop(0) if len(left) > 1 else left[0])


def test_existing_gpus_are_not_waited_for(monkeypatch: pytest.MonkeyPatch, asked: list[Any]) -> None:
    set_polls(monkeypatch, {"A100": 2})
    for accelerators in (None, ["none"], ["A100"], []):
        assert waiting.machines_with(accelerators, 60).gpus == {"A100": 2}
    assert waiting.machines_with(["V100"], 0).gpus == {"A100": 2}
    assert asked == []


def test_the_autoscaler_is_asked_until_the_gpus_are_there(
    monkeypatch: pytest.MonkeyPatch, asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    set_polls(monkeypatch, {"A100": 1}, {"A100": 1}, {"A100": 1, "V100": 1})
    assert waiting.machines_with(["A100", "V100"], 5, every=0.0).gpus == {"A100": 1, "V100": 1}
    selectors = [{"ray.io/accelerator-type": "V100"}]
    request = {"bundles": [{"GPU": 1}], "bundle_label_selectors": selectors}
    assert asked == [request, request, {"bundles": []}]
    assert "waiting up to 5 min for V100" in capsys.readouterr().err


def test_waiting_ends_after_the_time_given(monkeypatch: pytest.MonkeyPatch, asked: list[Any]) -> None:
    set_polls(monkeypatch, {})
    assert waiting.machines_with(["A100"], 0.001, every=0.01).gpus == {}
    assert asked[-1] == {"bundles": []}


def test_gpus_that_other_jobs_hold_are_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cluster(free: int, others: int = 0) -> Machines:
        gpus, left = Counter({"A100": 2, "V100": 8}), Counter({"A100": free, "V100": others})
        return Machines(4, gpus, free_cpus=4.0, free_gpus=left)

    left = [cluster(0), cluster(0, 8), cluster(0, 8), cluster(1)]
    monkeypatch.setattr(Machines, "cluster", lambda ask=True: left.pop(0) if len(left) > 1 else left[0])
    assert (waiting.machines_with(["A100"], every=0.0).free_gpus or Counter())["A100"] == 1
    assert capsys.readouterr().err == "waiting for GPUs: other jobs hold all 2\n"
    left[:] = [cluster(0), cluster(0, 3)]  # three GPUs of another type are free, and any type will do
    assert sum((waiting.machines_with(every=0.0).free_gpus or Counter()).values()) == 3
    left[:] = [cluster(0)]
    assert waiting.machines_with(["none"], every=0.0) is left[0]  # a run on CPUs does not wait for GPUs


def test_settling_ends_when_enough_gpus_are_free_and_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    def cluster(free: int, cpus: float = 4.0) -> Machines:
        return Machines(4, Counter(A100=3), free_cpus=cpus, free_gpus=Counter(A100=free) if free else Counter())

    left = [
        cluster(0),
        cluster(0),
        cluster(1, 3.5),
        cluster(1),
        cluster(1),
        cluster(1),
        cluster(3),
        cluster(3),
        cluster(3),
    ]
    monkeypatch.setattr(Machines, "cluster", lambda ask: left.pop(0))
    waiting.settle(1, every=0.0)
    assert len(left) == 4
    left.insert(0, cluster(1))
    waiting.settle(5, every=0.0)  # two of five are gone
    assert len(left) == 1


def test_settling_gives_up_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    polls, clock = 0, 0.0

    def poll(ask: bool) -> Machines:
        nonlocal polls
        polls += 1
        return Machines(4, Counter(A100=3), free_cpus=float(polls if changing else 0), free_gpus=Counter())

    def sleep(seconds: float) -> None:
        nonlocal clock
        clock += seconds

    monkeypatch.setattr(Machines, "cluster", poll)
    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=lambda: clock, sleep=sleep))
    changing = True  # other jobs come and go
    waiting.settle()
    assert (polls, clock) == (12, 60.0)
    changing = False  # but the GPUs stay taken
    waiting.settle(3)
    assert (polls, clock) == (24, 120.0)


@pytest.mark.usefixtures("ray_cpu")
def test_waiting_long_for_a_result_prints_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import ray

    def slow() -> int:
        import time

        time.sleep(1.0)
        return 7

    monkeypatch.setattr(waiting, "LONG", 0.2)
    assert waiting.result_of(ray.remote(slow).remote(), "measuring") == 7
    assert "measuring: no result after 0:0" in capsys.readouterr().err


def test_the_waiting_line_says_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 8.0, "GPU": 4.0, "memory": 1e9})
    monkeypatch.setattr("ray.available_resources", lambda: {"CPU": 7.5})
    text = "no worker is up after 1:30; free are 0 of 4 GPUs, 7.5 of 8 CPUs: other jobs may hold the rest"
    assert waiting.waiting_line(90) == text


def test_the_waiting_line_blames_no_other_job_where_all_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 2.0, "memory": 1e9})
    monkeypatch.setattr("ray.available_resources", lambda: {"CPU": 2.0})
    assert waiting.waiting_line(90) == "no worker is up after 1:30; all 2 CPUs are free: no other job holds any"
