"""Training the miniature BLIP-2 (transformers' class, only small) on synthetic scenes, on the CPU.

As BLIP-2 itself, it stands on a vision tower that is there already: the miniature CoCa's. First that tower learns to do
without the LayerNorm that BLIP-2's has not (`take_vision`), by the patch loss alone that taught it what lies under each
image token. Then it is frozen, and the Q-Former learns BLIP-2's three losses (`blip2_losses`) from captions of the
`natural` profile, which seldom name small objects: the situation that Q-Perturbation is made for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from transformers import Blip2ForImageTextRetrieval

from pipeline.datasets.scenes import distinct_scenes, draw_scene, make_captions
from pipeline.encoders.blip2.language_head import build_language_head
from pipeline.miniature.adapting import Curve, adapt_tower, found_first
from pipeline.miniature.blip2_losses import Objective, embed_texts
from pipeline.miniature.blip2_model import GRID, build_model, build_tokenizer, save, take_vision
from pipeline.miniature.scene_batches import SceneBatches
from pipeline.miniature.training import make_optimizer, set_rate


@dataclass(frozen=True)
class Blip2Schedule:
    """How long and how fast; the defaults are those of the bundled weights."""

    vision_steps: int = 800
    vision_learning_rate: float = 1e-3
    steps: int = 1500
    batch: int = 128
    learning_rate: float = 1.5e-3
    warmup: int = 60
    hard_from: float = 0.6
    """Share of the steps after which the wrong pairs of matching are as hard as they get."""
    weight_decay: float = 0.05
    seed: int = 10
    threads: int = 1
    held_out: int = 1000


def _print(line: str) -> None:
    print(line, flush=True)  # also into a file, where an hour of training would otherwise show nothing


def train_blip2(out: Path, schedule: Blip2Schedule, command: str, report: Callable[[str], None] = _print) -> float:
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
        _batches(schedule, schedule.seed, schedule.vision_steps),
        model.vision_model.config.hidden_size,
        curve,
        steps=schedule.vision_steps,
        learning_rate=schedule.vision_learning_rate,
        weight_decay=schedule.weight_decay,
    )
    model.vision_model.requires_grad_(False)
    trained = [p for p in model.parameters() if p.requires_grad] + [objective.log_scale]
    trained += [p for name, p in head.named_parameters() if name != "decoder.weight"]
    optimizer = make_optimizer(trained, schedule.learning_rate, schedule.weight_decay)
    for step, batch in enumerate(_batches(schedule, schedule.seed + 1, schedule.steps)):
        set_rate(optimizer, schedule.learning_rate, step, schedule.steps, schedule.warmup)
        with torch.no_grad():
            tokens = model.vision_model(batch["pixels"]).last_hidden_state
        losses = objective(tokens, batch["text"], min(1.0, step / (schedule.hard_from * schedule.steps)))
        optimizer.zero_grad()
        torch.autograd.backward(torch.stack([*losses.values()]).sum())
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        with torch.no_grad():
            objective.log_scale.clamp_(0, math.log(100))
        curve.note("qformer", step, schedule.steps, losses)
        if step and step % 200 == 0:
            report(json.dumps({"step": step, "held_out_recall_at_1": recall_at_1(model, schedule.held_out // 2)}))
            save(model, head, out)
    recall = recall_at_1(model, schedule.held_out)
    save(model, head, out)
    log: dict[str, Any] = {"command": command, "schedule": asdict(schedule), "held_out_t2i_recall_at_1": recall}
    (out / "training.json").write_text(json.dumps(log | {"curve": curve.points}, indent=1) + "\n")
    return recall


def _batches(schedule: Blip2Schedule, seed: int, steps: int) -> DataLoader[dict[str, Tensor]]:
    preprocess = image_transform_v2(PreprocessCfg(size=GRID.image_size), is_train=False)
    batches = SceneBatches(seed, steps, schedule.batch, preprocess, build_tokenizer(), GRID)
    return DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=4)


@torch.no_grad()
def recall_at_1(model: Blip2ForImageTextRetrieval, count: int, seed: int = 1) -> float:
    """T2I Recall@1 by contrast over `count` distinct `balanced` scenes, five captions each; a tie is a miss."""
    preprocess = image_transform_v2(PreprocessCfg(size=GRID.image_size), is_train=False)
    scenes = list(distinct_scenes(count, seed))
    images = []
    for start in range(0, count, 100):
        pixels = torch.stack([preprocess(draw_scene(scene)) for scene in scenes[start : start + 100]])
        tokens = model.vision_model(pixels).last_hidden_state
        queries = model.query_tokens.expand(len(tokens), -1, -1)
        states = model.qformer(query_embeds=queries, encoder_hidden_states=tokens).last_hidden_state
        images.append(F.normalize(model.vision_projection(states), dim=-1))
    ids = torch.tensor(
        [e.ids for e in build_tokenizer().encode_batch([c.text for s in scenes for c in make_captions(s)])]
    )
    texts = torch.cat([embed_texts(model, chunk) for chunk in torch.split(ids, 500)])
    scores = torch.einsum("iqd,td->tiq", torch.cat(images), texts).amax(-1)
    return found_first(scores)
