from __future__ import annotations

import pytest
import torch

from jobs.cli import main
from pipeline.benchmarks.gpu.accelerator import exact_products, find_accelerator
from pipeline.errors import QpertError


def test_the_cpu_only_rehearses() -> None:
    found = find_accelerator("cpu")
    assert found.rehearsal
    assert found.name.startswith("cpu, ")
    assert found.memory > 2**28
    ran = []
    assert found.peak(lambda: ran.append(1)) is None
    assert ran == [1]
    found.free()


def test_without_a_gpu_the_command_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: object) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    with pytest.raises(QpertError, match=r"sees no GPU on this machine: nothing to measure; --gpu.device cpu"):
        find_accelerator(None)
    assert main(["benchmark", "gpu"]) == 2
    said = capsys.readouterr()  # type: ignore[attr-defined]
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "sees no GPU" in said.err


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(QpertError, match=r"--gpu\.device xpu cannot be used here"):
        find_accelerator("xpu")
    with pytest.raises(QpertError, match=r"--gpu\.device toaster cannot be used here"):
        find_accelerator("toaster")


def test_products_are_exact_inside_only() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with exact_products():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
