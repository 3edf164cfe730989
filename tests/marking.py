"""The mark `ray` is never forgotten: fixtures imply it, and a test that starts Ray without it fails.

A pytest plugin. Tests with the marks `ray` and `slow` come first, so that a worker of pytest-xdist that has done its
share of the quick ones can take over long ones until the end.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

FIXTURES = {"ray_cpu", "head"}
"""Fixtures that start Ray."""
SERVERS = {"gcs_server", "raylet"}
COMMANDS = {"benchmark", "demo", "index", "plan", "reproduce", "tune"}
"""Commands of qpert that start Ray, unless they only say what they would do."""
SCRIPTS = {
    "pipeline.benchmarks.far",
    "pipeline.benchmarks.graph_alone",
    "tests.buckets.verbs",
    "tests.end_to_end.chaos",
    "tests.end_to_end.mixed_gpus",
    "tests.hosts.chaos",
    "tests.hosts.launch",
    "tests.hosts.mixed_gpus",
    "tests.hosts.pods",
    "tests.simulation.real_runs",
}


def starts_ray(words: Sequence[str]) -> bool:
    """Whether a command line starts Ray, in a process of this session or in one of its own."""
    if words and words[0] == "nsenter" and "--" in words:  # on a host of `tests/hosts`, by way of setpriv
        words = words[words.index("--") + 1 :]
        words = words[words.index("--") + 1 :] if "--" in words else words
    program = Path(words[0]).name if words else ""
    if program in SERVERS or (program == "ray" and words[1:2] == ["start"]):
        return True
    if "-m" not in words or {"--help", "--dry-run"} & {*words}:
        return any(word.endswith("local_session.py") for word in words)
    module, *rest = words[words.index("-m") + 1 :]
    return module in SCRIPTS or (module == "jobs" and bool({*rest[:1]} & COMMANDS))


class _Watch:
    """Refuses processes that start Ray while a test runs that is not marked `ray`."""

    def __init__(self) -> None:
        self.test: pytest.Item | None = None
        self.refused: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook: Python calls it before each process that it starts, and at much else."""
        if event != "subprocess.Popen" or self.test is None or self.test.get_closest_marker("ray"):
            return
        words = [str(word) for word in arguments[1]] if not isinstance(arguments[1], str) else arguments[1].split()
        if starts_ray(words):
            self.refused.append(" ".join(words)[:200])
            raise AssertionError(f"this test starts Ray, so it needs the mark ray: {self.refused[-1]}")


_watch = _Watch()
sys.addaudithook(_watch)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before tests are chosen by their marks."""
    for item in items:
        if FIXTURES & {*getattr(item, "fixturenames", ())}:
            item.add_marker("ray")
    items.sort(key=lambda item: (not item.get_closest_marker("ray"), not item.get_closest_marker("slow")))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Watch this test, its fixtures included."""
    _watch.test = item
    try:
        return (yield)
    finally:
        _watch.test = None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Also fails where the test has caught the refusal."""
    _watch.refused.clear()
    yield
    if _watch.refused:
        pytest.fail(f"this test starts Ray, so it needs the mark ray: {_watch.refused[0]}")


def pytest_configure(config: pytest.Config) -> None:
    """One thread in each of several processes: a second one would only wait for the others."""
    if hasattr(config, "workerinput"):
        import torch

        torch.set_num_threads(1)
