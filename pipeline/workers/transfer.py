"""Brings the photos of a micro-batch to the device of the model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def stack_on(photos: Sequence[Tensor], device: torch.device) -> Tensor:
    """Preprocessed photos, CPU tensors of one shape, as one batch [B, ...] on `device`.

    For a GPU they are put together in page-locked memory, which torch keeps for the next batch, and copied while this
    thread goes on: the GPU's queue makes its work wait for them. Converting them to the model's dtype is left to the
    GPU as well. On a CPU this is `torch.stack`.
    """
    if device.type != "cuda":
        return torch.stack(list(photos))
    batch = torch.empty((len(photos), *photos[0].shape), dtype=photos[0].dtype, pin_memory=True)
    torch.stack(list(photos), out=batch)
    return batch.to(device, non_blocking=True)
