"""What the device's eigendecompositions take and how right they are, by size of the batch."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.benchmarks.gpu.accelerator import Accelerator, exact_products
from pipeline.benchmarks.timing import interleaved
from pipeline.method.eigen import are_right, eigh, errors, take_checks

BATCHES = (1, 10, 72, 432, 1_000, 10_000)
"""72 matrices: 12 heads and 6 objects; 432: BLIP-2's six layers of these together."""
SIZES = (16, 64, 128)
"""Tokens of a small object; BLIP-2's heads; InternVL's heads."""


@dataclass(frozen=True)
class SolverResult:
    """Batches of one size on the device.

    Attributes:
        size: n of the n x n matrices.
        batch: matrices in one call.
        milliseconds: of `torch.linalg.eigh` alone.
        checked: of `pipeline.method.eigen.eigh`, which multiplies the results out and repeats wrong ones.
        orthonormality: largest entry of V^T V - I, over the batch.
        residual: largest entry of G V - V diag(sigma), relative to the largest of G.
        wrong: matrices whose result the check refuses.
    """

    size: int
    batch: int
    milliseconds: float
    checked: float
    orthonormality: float
    residual: float
    wrong: int

    @property
    def microseconds(self) -> float:
        """Per matrix, without the check."""
        return 1000 * self.milliseconds / self.batch


@torch.inference_mode()
def measure_solvers(
    accelerator: Accelerator,
    batches: Sequence[int] = BATCHES,
    sizes: Sequence[int] = SIZES,
    repetitions: int = 3,
) -> list[SolverResult]:
    """Gram matrices as objects' keys have them: a spectrum that falls off, at every second one of half the rank."""
    results = []
    for size in sizes:
        for batch in batches:
            matrices = _grams(batch, size).to(accelerator.device)
            with exact_products():
                times = interleaved(
                    [lambda m=matrices: torch.linalg.eigh(m), lambda m=matrices: eigh(m)],  # type: ignore[misc]
                    repetitions,
                    accelerator.device,
                )
                sigma, vectors = torch.linalg.eigh(matrices)
                off, residual, _ = errors(matrices, sigma, vectors)
                wrong = int((~are_right(matrices, sigma, vectors)).sum())
            plain, checked = (1000 * statistics.median(seconds) for seconds in times)
            results.append(
                SolverResult(size, batch, plain, checked, float(off.max()), float(residual.max()), wrong),
            )
    take_checks()  # those of the measurement are nobody's
    return results


def _grams(batch: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(size)
    keys = torch.randn(batch, size, size, generator=generator) * torch.logspace(0, -2, size)
    keys[1::2, size // 2 :] = 0
    return keys.mT @ keys
