"""Every part of `qpert benchmark gpu`, on the CPU and with small models."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipeline.benchmarks.gpu import fitting, passes
from pipeline.benchmarks.gpu.accelerator import find_accelerator
from pipeline.benchmarks.gpu.decoding import measure_decoding
from pipeline.benchmarks.gpu.fitting import measure_fitting
from pipeline.benchmarks.gpu.parity import measure_parity
from pipeline.benchmarks.gpu.passes import BatchRate, EncoderPasses, Parts, measure_passes
from pipeline.benchmarks.gpu.solvers import measure_solvers
from pipeline.encoders import load_encoder
from pipeline.encoders.base import Encoder
from pipeline.method import eigen
from pipeline.method.settings import Perturbation

CPU = find_accelerator("cpu")


@pytest.fixture(scope="module")
def coca() -> Encoder:
    return load_encoder("coca")


def measure(encoder: Encoder, batches: list[int]) -> EncoderPasses:
    return measure_passes(encoder, CPU, Perturbation.paper(), batches=batches, objects=2, repetitions=1)


def test_passes_have_rates_and_parts(coca: Encoder) -> None:
    measured = measure(coca, [1, 2])
    assert [rate.batch for rate in measured.rates] == [1, 2]
    assert all(rate.plain > 0 and rate.perturbed and rate.perturbed > 0 for rate in measured.rates)
    assert (measured.ended, measured.weights) == ("", 4 * sum(weight.numel() for weight in coca.model.parameters()))  # type: ignore[attr-defined]
    parts = measured.parts
    assert parts is not None
    assert (parts.batch, parts.matrices) == (2, 2 * 8)  # objects and heads of the only site
    assert min(parts.plain, parts.gram, parts.eigen, parts.application) > 0


def test_larger_batches_are_left_out_when_memory_or_time_ends(coca: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = type(coca).backbone

    def small(self: Encoder, pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > 2:
            raise torch.OutOfMemoryError
        return whole(self, pixels)  # type: ignore[no-any-return]

    monkeypatch.setattr(type(coca), "backbone", small)
    assert measure(coca, [1, 2, 4, 8]).ended == "4 photos do not fit"
    monkeypatch.setattr(passes, "LONG", 0.0)
    assert [rate.batch for rate in measure(coca, [1, 2]).rates] == [1]
    with pytest.raises(torch.OutOfMemoryError):
        measure(coca, [4])


def test_the_share_is_of_the_whole_pass() -> None:
    parts = Parts(batch=8, plain=16.0, gram=1.0, eigen=2.0, operator=0.5, application=0.5, matrices=72)
    assert parts.share == 0.2
    rates = (BatchRate(1, 10.0, None, None), BatchRate(8, 40.0, 30.0, 9), BatchRate(32, 39.0, None, None))
    assert EncoderPasses(rates, parts, 1).best.batch == 8


def test_parity_is_exact_in_float32_and_close_in_half_precision() -> None:
    (full, *half) = measure_parity(CPU, ["coca"], Perturbation.paper())
    assert (full.encoder, full.dtype) == ("coca", "float32")
    assert max(full.plain, full.perturbed) < 1e-6
    assert [one.dtype for one in half] == ["bfloat16", "float16"]
    assert all(1e-9 < one.plain < 0.02 and one.perturbed < 0.05 for one in half)


def test_solvers_are_timed_and_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = measure_solvers(CPU, batches=(1, 40), sizes=(16,), repetitions=1)
    assert [(one.size, one.batch, one.wrong) for one in (first, second)] == [(16, 1, 0), (16, 40, 0)]
    assert second.microseconds == 1000 * second.milliseconds / 40 > 0
    assert max(second.orthonormality, second.residual) < 1e-5
    right = torch.linalg.eigh

    def wrong(matrices: torch.Tensor, **options: object) -> object:
        sigma, vectors = right(matrices, **options)
        vectors[:3] = vectors[:3].roll(1, -1)
        return sigma, vectors

    monkeypatch.setattr(torch.linalg, "eigh", wrong)
    (judged,) = measure_solvers(CPU, batches=(8,), sizes=(16,), repetitions=1)
    assert judged.wrong == 3
    assert judged.residual > 0.1
    assert eigen.take_checks() == eigen.Checks()


def test_decoding_is_measured_by_threads() -> None:
    sizes = []
    rates = measure_decoding(CPU, lambda image: sizes.append(image.size), photos=3, threads=(1, 2))
    assert [*rates.by_threads] == [1, 2]
    assert min(rates.by_threads.values()) > 0
    assert sizes == [(640, 480)] * 6
    assert 60_000 < rates.jpeg < 300_000
    assert (rates.nvjpeg, rates.without) == (None, "RuntimeError: not on cpu")


def test_memory_that_runs_out_on_purpose_is_recovered_from(coca: Encoder) -> None:
    fitted = measure_fitting(coca, CPU)
    assert (fitted.planned, fitted.measured, fitted.refused) == (16, 16, 32)
    assert (fitted.sizes, fitted.recovered, fitted.left) == ((16,), True, 0)


def test_memory_that_never_runs_out(coca: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "_MOST", 8)
    fitted = measure_fitting(coca, CPU)
    assert (fitted.planned, fitted.measured, fitted.refused, fitted.sizes) == (8, 8, None, ())


def test_memory_is_not_limited_elsewhere(coca: Encoder) -> None:
    with pytest.raises(Exception, match="torch does not limit memory on mps"):
        measure_fitting(coca, replace(CPU, device=torch.device("mps")))
