"""What the miniatures that stand on the miniature CoCa's vision tower have in common: how it becomes theirs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import Any

import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.encoders import resolve_weights
from pipeline.encoders.open_clip.weights import load_weights
from pipeline.miniature.scene_batches import LABELS
from pipeline.miniature.training import make_optimizer, set_rate

_EVERY = 50
"""Steps between two points of the curve."""


class Curve:
    """The losses in the course of a training, kept for the log and reported as lines of JSON."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self.points: list[dict[str, Any]] = []
        self._report, self._started = report, time.perf_counter()

    def note(self, stage: str, step: int, steps: int, losses: dict[str, Tensor]) -> None:
        """Every so many steps, and at the last of `steps`, a point with what the losses are."""
        if step % _EVERY and step != steps - 1:
            return
        seconds = round(time.perf_counter() - self._started)
        values = {name: round(value.item(), 4) for name, value in losses.items()}
        self.points.append({"stage": stage, "step": step, "seconds": seconds} | values)
        self._report(json.dumps(self.points[-1]))


def adapt_tower(
    tower: nn.Module,
    look: Callable[[Tensor], Tensor],
    take: Callable[[open_clip.CoCa, Tensor], None],
    batches: Iterable[dict[str, Tensor]],
    width: int,
    curve: Curve,
    *,
    steps: int,
    learning_rate: float,
    weight_decay: float,
) -> None:
    """Start a vision tower from CoCa's, and train it by the patch loss until it does with its own norms.

    Args:
        tower: what is trained.
        look: from pixels [B, 3, S, S] to its patch tokens [B, patches, width].
        take: sets the tower to CoCa's weights as far as they go, given some pixels.
        batches: as many as `steps`, see `SceneBatches`.
        width: of its tokens.
        curve: where losses are noted.
        steps: of the optimiser.
        learning_rate: at its highest.
        weight_decay: of matrices.
    """
    coca, _ = load_weights(resolve_weights("coca", None))
    coca.eval().requires_grad_(False)
    patch_head = nn.Linear(width, len(LABELS))
    parameters = [*tower.parameters(), *patch_head.parameters()]
    optimizer = make_optimizer(parameters, learning_rate, weight_decay)
    for step, batch in enumerate(batches):
        if step == 0:
            take(coca, batch["pixels"])
        set_rate(optimizer, learning_rate, step, steps, min(50, steps))
        loss = F.binary_cross_entropy_with_logits(patch_head(look(batch["pixels"])), batch["patches"])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        curve.note("vision", step, steps, {"patch": loss})


def found_first(scores: Tensor) -> float:
    """T2I Recall@1 of scores [T, I], five captions for each image in its order; a tie is a miss."""
    own = scores.gather(1, (torch.arange(len(scores)) // 5)[:, None])
    return float(((scores >= own).sum(1) == 1).float().mean())
