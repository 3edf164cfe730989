from __future__ import annotations

import time

import pytest
import torch

from pipeline.benchmarks.gpu import utilisation as module
from pipeline.benchmarks.gpu.utilisation import utilisation


def test_without_a_gpu_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with utilisation() as found:
        pass
    assert (found.means(), found.without) == ({}, "torch sees no GPU here")


def test_samples_of_every_gpu_are_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 0.001)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "utilization", lambda gpu: 90 if gpu else 40)
    with utilisation() as found:
        while len(found.samples.get(1, ())) < 3:
            time.sleep(0.001)
    assert found.means() == {0: 40.0, 1: 90.0}
    assert found.without == ""


def test_a_driver_that_does_not_answer_ends_the_samples_not_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(gpu: int) -> int:
        raise ModuleNotFoundError("nvidia-ml-py does not seem to be installed")

    monkeypatch.setattr(module, "EVERY", 0.001)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "utilization", refuses)
    with utilisation() as found:
        while not found.without:
            time.sleep(0.001)
    assert "nvidia-ml-py" in found.without
    assert found.means() == {}
