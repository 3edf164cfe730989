from __future__ import annotations

import stat
from importlib.metadata import version
from pathlib import Path

import pytest

from pipeline.diagnosis.gpus import Card, ask_torch, check_gpus, cuda_of_torch, find_cards

A100 = Card("NVIDIA A100-SXM4-80GB", (8, 0), 81920, "580.65")
GTX_1080_TI = Card("NVIDIA GeForce GTX 1080 Ti", (6, 1), 11264, "580.65")


def test_no_gpu_is_fine() -> None:
    (finding,) = check_gpus([], False, [], "13.0")
    assert (finding.state, finding.text) == ("ok", "none; models run on the CPU, in float32")


def test_each_gpu_with_its_number_format() -> None:
    first, second = check_gpus([A100, GTX_1080_TI], True, ["sm_61", "sm_80"], "12.6")
    assert (first.state, second.state) == ("ok", "ok")
    assert (
        "compute capability 8.0, 80 GiB, driver 580.65; computes in bfloat16; torch is built for CUDA 12.6"
        in first.text
    )
    assert "compute capability 6.1, 11 GiB, driver 580.65; computes in float32" in second.text


def test_a_gpu_for_which_torch_has_no_kernels() -> None:
    fine, wrong = check_gpus([A100, GTX_1080_TI], True, ["sm_80", "compute_90"], "13.0")
    assert (fine.state, wrong.state) == ("ok", "problem")
    assert "torch has no kernels for it" in wrong.text
    assert "CUDA 12.6" in wrong.remedy


def test_a_torch_that_cannot_use_gpus() -> None:
    (finding,) = check_gpus([A100], False, [], None)
    assert finding.state == "problem"
    assert "torch cannot use it: torch is built without CUDA" in finding.text
    assert "install a CUDA build of torch" in finding.remedy


def test_cards_are_read_from_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    lines = [f"{A100.name}, 8.0, 81920, 580.65", "No devices were found", f"{GTX_1080_TI.name}, 6.1, 11264, 580.65"]
    program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_cards() == [A100, GTX_1080_TI]
    program.write_text("#!/bin/sh\nexit 9\n")
    assert find_cards() == []
    program.unlink()
    assert find_cards() == []


@pytest.mark.slow
def test_torch_itself_agrees() -> None:
    import torch

    assert cuda_of_torch() == torch.version.cuda
    assert ask_torch() == (torch.cuda.is_available(), torch.cuda.get_arch_list())
    assert version("torch").startswith(torch.__version__.partition("+")[0])
