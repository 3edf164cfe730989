"""What the trainings of the miniature encoders share: the optimiser and its learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn


def make_optimizer(parameters: Sequence[nn.Parameter], learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW that leaves biases, norms and temperatures undecayed."""
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98))


def set_rate(optimizer: torch.optim.Optimizer, learning_rate: float, step: int, steps: int, warmup: int) -> None:
    """The learning rate of `step`: linear warm-up, then a cosine to zero at `steps`."""
    share = (step + 1) / warmup if step < warmup else 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * share
