"""The whole report, rehearsed on the CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.cli import main
from pipeline.benchmarks.gpu import measuring
from pipeline.benchmarks.gpu.accelerator import Accelerator
from pipeline.benchmarks.gpu.families import Family
from pipeline.benchmarks.gpu.measuring import measure_gpu
from pipeline.benchmarks.gpu.passes import BatchRate, EncoderPasses, Parts
from pipeline.benchmarks.gpu.report import FamilyResult, GpuReport
from pipeline.benchmarks.options import GpuConfig
from pipeline.encoders.spec import EncoderSpec


@pytest.mark.slow
def test_a_rehearsal_measures_everything_and_writes_it_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = tmp_path / "gpu.json"
    words = ["--gpu.device", "cpu", "--gpu.repetitions", "1", "--gpu.objects", "2", "--gpu.batches", "1", "2"]
    words += ["--gpu.families", "coca", "internvl", "--cpus", "1"]
    assert main(["benchmark", "gpu", *words, "--json", str(figures)]) == 0
    said = capsys.readouterr().out
    assert "A REHEARSAL with small models on the CPU" in said
    assert "NOT MEASURED" not in said
    assert "left out" not in said
    report = json.loads(figures.read_text())["gpu"]
    assert (report["rehearsal"], report["objects"], report["problems"]) == (True, 2, {})
    assert {(one["name"], one["dtype"]) for one in report["families"]} == {
        (f"{name} miniature", dtype) for name in ("coca", "internvl") for dtype in ("bfloat16", "float16")
    }
    for one in report["families"]:
        assert one["passes"]["parts"]["eigen"] > 0
        assert one["estimate"] > one["passes"]["weights"]
    assert len(report["parity"]) == 2 * 3
    assert {one["wrong"] for one in report["solvers"]} == {0}
    assert report["fitting"]["recovered"] is True
    assert report["decoding"]["by_threads"]["1"] > 0


def test_what_fails_is_named_and_the_rest_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **options: Any) -> Any:
        raise RuntimeError("cusolver error: 7\nmore")

    for part in ("measure_solvers", "measure_parity", "measure_decoding", "measure_fitting", "measure_passes"):
        monkeypatch.setattr(measuring, part, broken)
    report = measure_gpu(GpuConfig(device="cpu", families=["coca"]))
    assert [*report.problems] == ["eigendecompositions", "parity", "decoding", "micro-batches"]
    assert all("cusolver error: 7" in reason for reason in report.problems.values())
    assert ["cusolver error: 7" in one.left_out for one in report.families] == [True, True]
    lines = str(report).splitlines()
    assert sum("NOT MEASURED: " in line for line in lines) == 4
    assert sum("left out: RuntimeError" in line for line in lines) == 2


def test_a_model_that_is_too_large_is_never_built() -> None:
    def never(device: torch.device, dtype: torch.dtype) -> Any:
        raise AssertionError

    card = Accelerator(torch.device("cpu"), "GTX 1080 Ti", 11 * 10**9, ("float16",))
    large = Family("internvl", EncoderSpec(parameters=14 * 10**9), never)
    result = measuring._measure_family(large, "float16", card, never, late=False)
    assert result.left_out == "takes 29.1 GB, and GTX 1080 Ti has 11.0"
    small = Family("coca", EncoderSpec(parameters=10**9), never)
    assert "no time left" in measuring._measure_family(small, "float16", card, never, late=True).left_out


def test_the_report_names_published_rates_beside_its_own() -> None:
    parts = Parts(batch=32, plain=9.0, gram=0.1, eigen=0.6, operator=0.2, application=0.1, matrices=432)
    rates = (BatchRate(1, 100.0, 90.0, 2**28), BatchRate(32, 3000.0, 2700.0, 2**30))
    report = GpuReport("NVIDIA A100", "2.15", 80 * 2**30, rehearsal=False, objects=6)
    report.families = [
        FamilyResult("open_clip ViT-B-32", "float16", 2**31, EncoderPasses(rates, parts, 2**28, "128 do not fit"))
    ]
    said = str(report)
    assert "photos/s by batch   1: 100.0, 32: 3,000.0 (128 do not fit)" in said
    assert "clip-retrieval on an A100, decoding included: 2,500 photos/s" in said
    assert "weights 0.25 GiB, 1.00 GiB more at the peak of 32 photos; estimate 2.00 GiB" in said
    assert "eigendecomposition 0.600 (432 matrices), operator 0.200, application 0.100; 10.0% of the whole" in said
    assert "REHEARSAL" not in said
