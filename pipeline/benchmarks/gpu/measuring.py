"""Runs all parts of `qpert benchmark gpu`; one that fails is named with its reason and does not stop the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch

from pipeline.benchmarks.gpu.accelerator import Accelerator, find_accelerator
from pipeline.benchmarks.gpu.decoding import measure_decoding
from pipeline.benchmarks.gpu.families import Family, families, miniatures
from pipeline.benchmarks.gpu.fitting import Fitting, measure_fitting
from pipeline.benchmarks.gpu.parity import measure_parity
from pipeline.benchmarks.gpu.passes import EncoderPasses, measure_passes
from pipeline.benchmarks.gpu.report import FamilyResult, GpuReport
from pipeline.benchmarks.gpu.solvers import BATCHES, SIZES, measure_solvers
from pipeline.benchmarks.options import GpuConfig
from pipeline.encoders.blip2.inputs import photo_transform
from pipeline.encoders.registry import ENCODERS
from pipeline.errors import one_line
from pipeline.method.settings import Perturbation

_FITTED = "ViT-L-14"
"""The model with which memory runs out on purpose."""


def measure_gpu(config: GpuConfig, perturbation: Perturbation | None = None) -> GpuReport:
    """Measure the device, cheap parts first; on the CPU with small sizes.

    Args:
        config: which device, and what.
        perturbation: how objects act on the queries; None for the paper's.

    Raises:
        QpertError: no such device, or no such encoder.
    """
    start, accelerator = time.monotonic(), find_accelerator(config.device)
    perturbation = perturbation or Perturbation.paper()
    small = accelerator.rehearsal
    measured = miniatures(config.families) if small else families(config.families)
    batches = config.batches or ([1, 4] if small else [1, 8, 32, 128])
    build = torch.version.cuda or torch.version.hip or "without CUDA"
    report = GpuReport(accelerator.name, f"{torch.__version__} ({build})", accelerator.memory, small, config.objects)
    learned = [name for name, entry in ENCODERS.items() if entry.miniature]
    if small and config.families:
        learned = config.families
    with _problems(report, "eigendecompositions"):
        report.solvers = measure_solvers(accelerator, BATCHES[:4] if small else BATCHES, SIZES[:2] if small else SIZES)
    with _problems(report, "parity"):
        report.parity = measure_parity(accelerator, learned, perturbation)
    with _problems(report, "decoding"):
        report.decoding = measure_decoding(accelerator, photo_transform(364), 16 if small else 512)
    with _problems(report, "micro-batches"):
        report.fitting = _fit(accelerator)
    passes = partial(
        measure_passes,
        accelerator=accelerator,
        perturbation=perturbation,
        batches=sorted(batches),
        objects=config.objects,
        repetitions=config.repetitions,
    )
    for family in measured:
        for dtype in accelerator.dtypes:
            late = time.monotonic() - start > 45 * config.minutes
            report.families.append(_measure_family(family, dtype, accelerator, passes, late=late))
    report.seconds = time.monotonic() - start
    return report


def _measure_family(
    family: Family, dtype: str, accelerator: Accelerator, passes: Callable[..., EncoderPasses], *, late: bool
) -> FamilyResult:
    estimate = family.spec.memory(dtype)
    result = partial(FamilyResult, family.name, dtype, estimate)
    if estimate > accelerator.memory:
        room = accelerator.memory / 1e9
        return result(left_out=f"takes {estimate / 1e9:.1f} GB, and {accelerator.name} has {room:.1f}")
    if late:
        return result(left_out="no time left (--gpu.minutes, --gpu.families)")
    try:
        return result(passes(family.build(accelerator.device, getattr(torch, dtype))))
    except Exception as error:  # of one model: the others are measured all the same
        return result(left_out=one_line(error))
    finally:
        accelerator.free()


def _fit(accelerator: Accelerator) -> Fitting:
    family = miniatures(["coca"])[0] if accelerator.rehearsal else families([_FITTED])[0]
    return measure_fitting(family.build(accelerator.device, torch.float16), accelerator)


@contextmanager
def _problems(report: GpuReport, part: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # of one part: the others are measured all the same
        report.problems[part] = one_line(error)
