"""What holds on a GPU: run on one with `pytest -m gpu`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jobs.cli import main
from pipeline.benchmarks.gpu.accelerator import Accelerator, find_accelerator
from pipeline.benchmarks.gpu.families import families
from pipeline.benchmarks.gpu.fitting import measure_fitting
from pipeline.benchmarks.gpu.parity import measure_parity
from pipeline.benchmarks.gpu.solvers import measure_solvers
from pipeline.encoders.registry import miniature_encoders
from pipeline.method.settings import Perturbation
from pipeline.workers.memory import CudaMemory

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.accelerator.is_available(), reason="torch sees no GPU here"),
]
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")


@pytest.fixture
def gpu() -> Accelerator:
    return find_accelerator(None)


@CUDA
@pytest.mark.parametrize("size", [8, 16, 64, 88, 128])
def test_batched_eigendecompositions_are_right(gpu: Accelerator, size: int) -> None:
    for one in measure_solvers(gpu, batches=(1, 2, 72, 432, 1_000, 10_000), sizes=(size,), repetitions=1):
        assert one.wrong == 0, one
        assert one.orthonormality < 1e-4, one
        assert one.residual < 1e-4, one


@pytest.mark.parametrize("threshold", [0.9, 1.0])
@pytest.mark.parametrize("name", [*miniature_encoders(), "internvl-c"])
def test_embeddings_are_those_of_the_cpu(gpu: Accelerator, name: str, threshold: float) -> None:
    """In half precision a component whose ratio is at the threshold may be kept or not: 0.04 on a CPU in bfloat16."""
    plain = {"float32": 1e-5, "float16": 1e-5, "bfloat16": 1e-3}
    perturbed = {"float32": 1e-5, "float16": 0.1, "bfloat16": 0.1}
    for one in measure_parity(gpu, [name], replace(Perturbation.paper(), threshold=threshold)):
        assert one.plain < plain[one.dtype], one
        assert one.perturbed < perturbed[one.dtype], one


@CUDA
def test_memory_that_runs_out_loses_no_photo(gpu: Accelerator) -> None:
    encoder = families(["ViT-B-32"])[0].build(gpu.device, torch.float16)
    fitted = measure_fitting(encoder, gpu)
    assert fitted.measured >= fitted.planned > 1
    assert fitted.recovered
    assert fitted.left == 0


@CUDA
def test_the_peak_is_that_of_the_tensors() -> None:
    size = 64 * 2**20
    memory = CudaMemory()
    assert memory.peak(lambda: torch.empty(size, dtype=torch.uint8, device="cuda")) == size
    before = memory.room()
    held = torch.empty(size, dtype=torch.uint8, device="cuda")
    assert memory.room() <= before - size // 2
    del held


@CUDA
def test_the_report_of_one_encoder(tmp_path: Path) -> None:
    figures = tmp_path / "gpu.json"
    assert main(["benchmark", "gpu", "--gpu.families", "ViT-B-32", "--json", str(figures)]) == 0
    report = json.loads(figures.read_text())["gpu"]
    assert not report["rehearsal"]
    assert report["problems"] == {}
    for one in report["families"]:
        assert one["passes"]["weights"] + one["passes"]["rates"][0]["peak"] < one["estimate"]
