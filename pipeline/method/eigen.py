"""Eigendecompositions of many small symmetric matrices: on one CPU thread, and checked on every other device.

On a GPU a batch is one call of a vendor's library, and there are public reports of wrong results without an error:
those are multiplied out, which costs little beside the decomposition, and what is wrong is repeated on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

TOLERANCE = 1e-3
"""Largest error of a right result, of entries relative to the largest. A right one is off by some 1e-6 in float32, or
by 5e-4 where products are multiplied out in TF32; bfloat16 moves an embedding by more; wrong results are off by 1."""
_TRUSTED = ("cpu",)
"""Kinds of devices whose results are not checked."""

Decomposition = tuple[Tensor, Tensor]
"""Eigenvalues [..., n], ascending, and the eigenvectors in the columns of [..., n, n]."""


@dataclass
class Checks:
    """What became of decompositions on devices.

    Attributes:
        matrices: decompositions that were checked.
        repeated: those among them that were wrong, or that the device cannot do, and were repeated on the CPU.
    """

    matrices: int = 0
    repeated: int = 0


_checks = Checks()


def take_checks() -> Checks:
    """The counts of this process since the last call."""
    global _checks
    taken, _checks = _checks, Checks()
    return taken


def eigh(matrices: Tensor) -> Decomposition:
    """As `torch.linalg.eigh`, for finite symmetric matrices float32 [..., n, n]."""
    flat = matrices.reshape(math.prod(matrices.shape[:-2]), *matrices.shape[-2:])
    sigma, vectors = on_cpu(flat) if flat.device.type in _TRUSTED else checked(flat)
    return sigma.view(matrices.shape[:-1]), vectors.view(matrices.shape)


def checked(matrices: Tensor, solve: Callable[[Tensor], Decomposition] | None = None) -> Decomposition:
    """The decompositions of [b, n, n] by `solve`; the CPU's where that is wrong, fails, or lacks the operation.

    Args:
        matrices: on any device.
        solve: None for `torch.linalg.eigh` on the matrices' own device.
    """
    try:
        sigma, vectors = (solve or torch.linalg.eigh)(matrices)
        wrong = ~are_right(matrices, sigma, vectors)
    except RuntimeError as error:  # of the vendor's library, no convergence, or NotImplementedError
        if isinstance(error, torch.OutOfMemoryError):
            raise
        sigma, vectors = matrices.new_empty(matrices.shape[:-1]), torch.empty_like(matrices)
        wrong = matrices.new_ones(len(matrices), dtype=torch.bool)
    _checks.matrices += len(matrices)
    if wrong.any():
        _checks.repeated += int(wrong.sum())
        right = on_cpu(matrices[wrong].cpu())
        sigma[wrong], vectors[wrong] = (part.to(matrices.device) for part in right)
    return sigma, vectors


def are_right(matrices: Tensor, sigma: Tensor, vectors: Tensor) -> Tensor:
    """For each [b], whether its vectors are orthonormal, and eigenvectors of these eigenvalues, which ascend."""
    off, residual, falling = errors(matrices, sigma, vectors)
    return (off <= TOLERANCE) & (residual <= TOLERANCE) & (falling <= TOLERANCE)


def errors(matrices: Tensor, sigma: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Three errors [b] of decompositions; NaN where these are not finite.

    Returns:
        The largest entry of V^T V - I; that of G V - V diag(sigma), and the largest step down from an eigenvalue to the
        next, both relative to the largest entry of G.
    """
    unit = torch.eye(matrices.shape[-1], device=matrices.device, dtype=matrices.dtype)
    scale = matrices.abs().amax((-2, -1)).clamp(min=torch.finfo(matrices.dtype).tiny)
    residual = (matrices @ vectors - vectors * sigma[:, None]).abs().amax((-2, -1)) / scale
    falling = (sigma - sigma.cummax(-1).values).abs().amax(-1) / scale
    return (vectors.mT @ vectors - unit).abs().amax((-2, -1)), residual, falling


def on_cpu(matrices: Tensor) -> Decomposition:
    """`torch.linalg.eigh` of [b, n, n] on the CPU, with one thread.

    With several, LAPACK divides every small matrix among them, which gains nothing; on a busy machine they wait for
    each other a hundred times as long as they compute. Parts of a batch on threads of their own did not help either:
    they compete with torch's, which stay awake for a while after each product.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # of this thread only
    try:
        sigma, vectors = torch.linalg.eigh(matrices)
    finally:
        torch.set_num_threads(threads)
    return sigma, vectors
