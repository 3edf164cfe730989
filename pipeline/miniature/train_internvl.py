"""Training the miniature InternVL-G (a small model of the published classes) on synthetic scenes, on a CPU.

It starts from an existing vision tower: the miniature CoCa's. First that tower learns to work with InternViT's norms
(`take_vision`), by the same patch loss that trained it. Then it is frozen, and QLLaMA and the two projectors learn by
contrast, pooled tokens (InternVL-C) and queries (InternVL-G) separately, from captions of the `natural` profile, which
seldom name small objects: the situation that Q-Perturbation is made for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.encoders.internvl.inputs import photo_transform
from pipeline.encoders.internvl.model import InternVL, build_internvl
from pipeline.miniature.internvl_model import CONFIG, GRID, build_tokenizer, save, take_vision
from pipeline.miniature.scene_batches import SceneBatches
from pipeline.miniature.tower_transfer import TowerSchedule, adapt_tower
from pipeline.miniature.training import Curve, Run, found_first, held_out, print_line


@dataclass(frozen=True)
class InternVLSchedule(TowerSchedule):
    """See `TowerSchedule`."""

    seed: int = 20


def train_internvl(
    out: Path, schedule: InternVLSchedule, command: str, report: Callable[[str], None] = print_line
) -> dict[str, float]:
    """Train, and write the folder that `load_encoder("internvl", weights=out)` opens, with `training.json` as its log.

    Returns:
        T2I Recall@1 of InternVL-`c` and InternVL-`g` on `schedule.held_out` distinct `balanced` scenes of a series that
        training never draws from.
    """
    torch.manual_seed(schedule.seed)
    torch.set_num_threads(schedule.threads)
    model = build_internvl(CONFIG)
    curve = Curve(report)
    adapt_tower(
        model.vision_model,
        lambda pixels: model.vision_model(pixels)[:, GRID.prefix :],
        lambda coca, pixels: take_vision(model.vision_model, coca, pixels),
        _batches(schedule, schedule.seed, schedule.vision_steps).loader(),
        CONFIG.vision_config.hidden_size,
        curve,
        schedule,
    )

    def losses(_: int, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():
            tokens = model.vision_model(batch["pixels"])
        return _losses(model, tokens, batch["text"])

    trained = [p for p in model.parameters() if p.requires_grad]
    batches = _batches(schedule, schedule.seed + 1, schedule.steps).loader()
    run = Run(out, command, lambda count: recall_at_1(model, count), lambda: save(model, out), model.logit_scale)
    return run.train(trained, batches, losses, schedule, curve, stage="contrast")


def _batches(schedule: InternVLSchedule, seed: int, steps: int) -> SceneBatches:
    tokenizer = build_tokenizer(prompted=True)
    return SceneBatches(seed, steps, schedule.batch, photo_transform(GRID.image_size), tokenizer, GRID)


def _losses(model: InternVL, tokens: Tensor, ids: Tensor) -> dict[str, Tensor]:
    """Contrast of InternVL-C's vectors and of QLLaMA's part of InternVL-G's, over two captions of each scene.

    Args:
        model: in training.
        tokens: [B, N, C] image tokens.
        ids: int64 [2B, L], one caption of every photo and then another of every photo, padded with 0.
    """
    ids = ids[:, : int((ids != 0).sum(1).max())]
    text = model.embed_text(ids, ids != 0)
    own = torch.arange(len(tokens))
    losses = {}
    for name, image in (("c", model.embed_c(tokens)), ("g", model.embed_queries(tokens))):
        halves = torch.split(image @ text.T * model.logit_scale.exp(), len(tokens), dim=1)
        losses[name] = torch.stack([F.cross_entropy(h, own) + F.cross_entropy(h.T, own) for h in halves]).mean() / 2
    return losses


@torch.no_grad()
def recall_at_1(model: InternVL, count: int) -> dict[str, float]:
    """T2I Recall@1 of `c` and `g` over `count` held-out scenes; a tie is a miss."""
    pixels, ids = held_out(count, photo_transform(GRID.image_size), build_tokenizer(prompted=True))
    images: dict[str, list[Tensor]] = {"c": [], "g": []}
    for batch in pixels:
        tokens = model.vision_model(batch)
        images["c"].append(model.embed_c(tokens))
        images["g"].append(model.embed_g(tokens))
    texts = torch.cat([model.embed_text(batch, batch != 0) for batch in ids])
    return {name: found_first(texts @ torch.cat(vectors).T) for name, vectors in images.items()}
