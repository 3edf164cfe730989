"""Training the miniature BLIP-2 (a small model of transformers' class) on synthetic scenes, on a CPU.

Like BLIP-2 itself, it starts from an existing vision tower: the miniature CoCa's. First that tower learns to do without
the LayerNorm that BLIP-2's tower lacks (`take_vision`), by the same patch loss that trained it. Then it is frozen, and
the Q-Former learns BLIP-2's three losses (`blip2_losses`) from captions of the `natural` profile, which seldom name
small objects: the situation that Q-Perturbation is made for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Blip2ForImageTextRetrieval

from pipeline.encoders.blip2.language_head import build_language_head
from pipeline.miniature.blip2_losses import Objective, embed_texts
from pipeline.miniature.blip2_model import GRID, build_model, build_tokenizer, save, take_vision
from pipeline.miniature.scene_batches import SceneBatches
from pipeline.miniature.tower_transfer import TowerSchedule, adapt_tower
from pipeline.miniature.training import Curve, Run, found_first, held_out, print_line


@dataclass(frozen=True)
class Blip2Schedule(TowerSchedule):
    """See `TowerSchedule`; `hard_from` is the share of the steps after which matching's wrong pairs are hardest."""

    hard_from: float = 0.6
    seed: int = 10


def train_blip2(out: Path, schedule: Blip2Schedule, command: str, report: Callable[[str], None] = print_line) -> float:
    """Train, and write the folder that `load_encoder("blip2", weights=out)` opens, with `training.json` as its log.

    Returns:
        T2I Recall@1 by the contrastive embeddings on `schedule.held_out` distinct `balanced` scenes of a series that
        training never draws from.
    """
    torch.manual_seed(schedule.seed)
    torch.set_num_threads(schedule.threads)
    model = build_model()
    head = build_language_head(model.embeddings.word_embeddings)
    objective = Objective(model, head, nn.Parameter(torch.tensor(math.log(1 / 0.07))))
    curve = Curve(report)
    adapt_tower(
        model.vision_model,
        lambda pixels: model.vision_model(pixels).last_hidden_state[:, GRID.prefix :],
        lambda coca, pixels: take_vision(model.vision_model, coca, pixels),
        _batches(schedule, schedule.seed, schedule.vision_steps).loader(),
        model.vision_model.config.hidden_size,
        curve,
        schedule,
    )

    def losses(step: int, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():
            tokens = model.vision_model(batch["pixels"]).last_hidden_state
        return objective(tokens, batch["text"], min(1.0, step / (schedule.hard_from * schedule.steps)))

    trained = [p for p in model.parameters() if p.requires_grad] + [objective.log_scale]
    trained += [p for name, p in head.named_parameters() if name != "decoder.weight"]
    batches = _batches(schedule, schedule.seed + 1, schedule.steps).loader()
    save_all = partial(save, model, head, out)
    run = Run(out, command, lambda count: recall_at_1(model, count), save_all, objective.log_scale)
    return run.train(trained, batches, losses, schedule, curve, stage="qformer")


def _batches(schedule: Blip2Schedule, seed: int, steps: int) -> SceneBatches:
    preprocess = image_transform_v2(PreprocessCfg(size=GRID.image_size), is_train=False)
    return SceneBatches(seed, steps, schedule.batch, preprocess, build_tokenizer(), GRID)


@torch.no_grad()
def recall_at_1(model: Blip2ForImageTextRetrieval, count: int) -> float:
    """T2I Recall@1 by contrast over `count` held-out scenes; a tie is a miss."""
    preprocess = image_transform_v2(PreprocessCfg(size=GRID.image_size), is_train=False)
    pixels, ids = held_out(count, preprocess, build_tokenizer())
    images = []
    for batch in pixels:
        tokens = model.vision_model(batch).last_hidden_state
        queries = model.query_tokens.expand(len(tokens), -1, -1)
        states = model.qformer(query_embeds=queries, encoder_hidden_states=tokens).last_hidden_state
        images.append(F.normalize(model.vision_projection(states), dim=-1))
    texts = torch.cat([embed_texts(model, batch) for batch in ids])
    return found_first(torch.einsum("iqd,td->tiq", torch.cat(images), texts).amax(-1))
