from __future__ import annotations

import pytest
import torch

from pipeline.errors import QpertError
from pipeline.workers.device import Device, this_device

PASCAL = Device("cuda:0", "cuda:NVIDIA GeForce GTX 1080 Ti", (6, 1))
TURING = Device("cuda:0", "cuda:Tesla T4", (7, 5))
AMPERE = Device("cuda:0", "cuda:NVIDIA A100 80GB", (8, 0))


@pytest.mark.parametrize(
    ("device", "wanted", "expected"),
    [
        (PASCAL, "auto", "float32"),
        (PASCAL, "bfloat16", "float32"),
        (PASCAL, "float16", "float16"),
        (TURING, "auto", "float16"),
        (TURING, "bfloat16", "float32"),
        (AMPERE, "auto", "bfloat16"),
        (AMPERE, "float16", "float16"),
        (AMPERE, "float32", "float32"),
        (Device("cpu", "cpu"), "auto", "float32"),
        (Device("cpu", "cpu"), "bfloat16", "bfloat16"),
        (Device("cpu", "cpu"), "float16", "float32"),
    ],
)
def test_dtype_by_capability(device: Device, wanted: str, expected: str) -> None:
    assert device.dtype(wanted) == expected


def test_the_cpu_is_known_without_torch() -> None:
    assert this_device(gpu=False) == Device("cpu", "cpu")


def pretend(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], arches: list[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "NVIDIA Something")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: arches)


def test_a_gpu_goes_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, (8, 6), ["sm_75", "sm_80", "sm_90"])
    assert this_device(gpu=True) == Device("cuda:0", "cuda:NVIDIA Something", (8, 6))
    pretend(monkeypatch, (12, 0), ["sm_80", "compute_90"])
    assert this_device(gpu=True).capability == (12, 0)


def test_a_gpu_that_torch_cannot_use_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(QpertError, match="cannot use it"):
        this_device(gpu=True)
    pretend(monkeypatch, (6, 1), ["sm_75", "sm_80", "sm_90"])
    with pytest.raises(QpertError, match=r"no kernels for NVIDIA Something \(compute capability 6.1"):
        this_device(gpu=True)
