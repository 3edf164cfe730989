"""Random subspaces, the control for what an object's subspace has beyond its rank."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def random_bases(seeds: Sequence[Sequence[int]], heads: int, dim: int) -> Tensor:
    """Orthonormal bases of R^d, uniformly distributed, one for each head of each object: float32 [g, heads, d, d].

    Any p of the columns span a uniformly distributed subspace of rank p. NumPy draws the numbers, because torch's
    depend on the device and on the processor's instructions.

    Args:
        seeds: of each of g objects, non-negative integers.
        heads: number of heads.
        dim: d.
    """
    drawn = [np.random.default_rng(list(seed)).standard_normal((heads, dim, dim)) for seed in seeds]
    bases: Tensor = torch.linalg.qr(torch.from_numpy(np.stack(drawn))).Q
    return bases.float()
