"""Code shared by the trainings of the miniature encoders: the loop, its learning rate and log, held-out scenes."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor, nn

from pipeline.datasets.scenes import distinct_scenes, draw_scene, make_captions

CURVE_STEPS = 50
"""Steps between two points of the curve."""
CHECKPOINT_STEPS = 200
"""Steps between two evaluations, after which the weights are saved."""


Recall = TypeVar("Recall")


@dataclass(frozen=True)
class Schedule:
    """How long and how fast; the defaults of the subclasses are those of the bundled weights."""

    steps: int
    batch: int
    learning_rate: float
    warmup: int
    seed: int
    weight_decay: float = 0.05
    threads: int = 1
    held_out: int = 1000


class Curve:
    """The losses in the course of a training, kept for the log and reported as lines of JSON."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self.points: list[dict[str, Any]] = []
        self.report, self._started = report, time.perf_counter()

    def note(self, stage: str | None, step: int, steps: int, losses: Mapping[str, Tensor]) -> None:
        """Add a point with the current losses every `CURVE_STEPS` steps, and at the last of `steps`."""
        if step % CURVE_STEPS and step != steps - 1:
            return
        seconds = round(time.perf_counter() - self._started)
        values = {name: round(value.item(), 4) for name, value in losses.items()}
        self.points.append(({"stage": stage} if stage else {}) | {"step": step, "seconds": seconds} | values)
        self.report(json.dumps(self.points[-1]))


def print_line(line: str) -> None:
    """Print at once, also into a file, where an hour of training would otherwise show nothing."""
    print(line, flush=True)


def train(
    parameters: Sequence[nn.Parameter],
    batches: Iterable[dict[str, Tensor]],
    losses_of: Callable[[int, dict[str, Tensor]], dict[str, Tensor]],
    schedule: Schedule,
    curve: Curve,
    *,
    stage: str | None = None,
    loss_weights: Mapping[str, float] | None = None,
    after_step: Callable[[int], None] = lambda step: None,
) -> None:
    """Minimise the sum of some losses with AdamW, gradients clipped to a norm of 1.

    Args:
        parameters: to be trained.
        batches: one for each step.
        losses_of: from step and batch to losses by name.
        schedule: steps and learning rate.
        curve: where losses are noted.
        stage: name of this training in the curve, if there are several.
        loss_weights: factors of losses by name; 1 if not given.
        after_step: called with each step when it is done.
    """
    optimizer = make_optimizer(parameters, schedule.learning_rate, schedule.weight_decay)
    weights = loss_weights or {}
    for step, batch in enumerate(batches):
        set_rate(optimizer, schedule.learning_rate, step, schedule.steps, schedule.warmup)
        losses = losses_of(step, batch)
        optimizer.zero_grad()
        torch.autograd.backward(torch.stack([weights.get(name, 1.0) * loss for name, loss in losses.items()]).sum())
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        curve.note(stage, step, schedule.steps, losses)
        after_step(step)


@dataclass(frozen=True)
class Run(Generic[Recall]):
    """The training of a model and what is kept of it: weights every `CHECKPOINT_STEPS` steps, and the log.

    Attributes:
        out: the model's folder.
        command: the command line that repeats the training.
        recall_at_1: evaluates the model on a number of held-out scenes.
        save: writes the weights.
        log_scale: temperature of the contrast, kept between 1 and 100.
    """

    out: Path
    command: str
    recall_at_1: Callable[[int], Recall]
    save: Callable[[], None]
    log_scale: nn.Parameter

    def train(
        self,
        parameters: Sequence[nn.Parameter],
        batches: Iterable[dict[str, Tensor]],
        losses_of: Callable[[int, dict[str, Tensor]], dict[str, Tensor]],
        schedule: Schedule,
        curve: Curve,
        **options: Any,
    ) -> Recall:
        """Train (see `train`), save, and return the final recall."""

        def after_step(step: int) -> None:
            with torch.no_grad():
                self.log_scale.clamp_(0, math.log(100))
            if step and step % CHECKPOINT_STEPS == 0:
                recall = self.recall_at_1(schedule.held_out // 2)
                curve.report(json.dumps({"step": step, "held_out_recall_at_1": recall}))
                self.save()

        train(parameters, batches, losses_of, schedule, curve, after_step=after_step, **options)
        recall = self.recall_at_1(schedule.held_out)
        self.save()
        log = {"command": self.command, "schedule": asdict(schedule), "held_out_t2i_recall_at_1": recall}
        (self.out / "training.json").write_text(json.dumps(log | {"curve": curve.points}, indent=1) + "\n")
        return recall


def make_optimizer(parameters: Sequence[nn.Parameter], learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW that leaves biases, norms and temperatures undecayed."""
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98))


def set_rate(optimizer: torch.optim.Optimizer, learning_rate: float, step: int, steps: int, warmup: int) -> None:
    """Set the learning rate of `step`: linear warm-up, then a cosine to zero at `steps`."""
    share = (step + 1) / warmup if step < warmup else 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * share


def held_out(
    count: int, preprocess: Callable[[Image.Image], Tensor], tokenizer: Tokenizer, seed: int = 1
) -> tuple[Iterator[Tensor], Sequence[Tensor]]:
    """Distinct `balanced` scenes that training never draws, with five captions each.

    Returns:
        Pixels [100, 3, S, S] and caption ids int64 [500, L] of a hundred scenes at a time, in the same order.
    """
    scenes = list(distinct_scenes(count, seed))
    pixels = (
        torch.stack([preprocess(draw_scene(scene)) for scene in scenes[start : start + 100]])
        for start in range(0, count, 100)
    )
    captions = [caption.text for scene in scenes for caption in make_captions(scene)]
    ids = torch.tensor([encoding.ids for encoding in tokenizer.encode_batch(captions)])
    return pixels, torch.split(ids, 500)


def found_first(scores: Tensor) -> float:
    """T2I Recall@1 of scores [T, I], with five consecutive captions for each image; a tie is a miss."""
    own = scores.gather(1, (torch.arange(len(scores)) // 5)[:, None])
    return float(((scores >= own).sum(1) == 1).float().mean())
