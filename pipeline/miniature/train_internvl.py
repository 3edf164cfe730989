"""Training the miniature InternVL-G (the published classes, only small) on synthetic scenes, on the CPU.

It stands on a vision tower that is there already: the miniature CoCa's. First that tower learns to do with InternViT's
norms (`take_vision`), by the patch loss alone that taught it what lies under each image token. Then it is frozen, and
QLLaMA and the two projectors learn by contrast, the pooled tokens (InternVL-C) and the queries (InternVL-G) each for
itself, from captions of the `natural` profile, which seldom name small objects: the situation that Q-Perturbation is
made for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from pipeline.datasets.scenes import distinct_scenes, draw_scene, make_captions
from pipeline.encoders.internvl.inputs import photo_transform
from pipeline.encoders.internvl.model import InternVL, build_internvl
from pipeline.miniature.adapting import Curve, adapt_tower, found_first
from pipeline.miniature.internvl_model import CONFIG, GRID, build_tokenizer, save, take_vision
from pipeline.miniature.scene_batches import SceneBatches
from pipeline.miniature.training import make_optimizer, set_rate


@dataclass(frozen=True)
class InternVLSchedule:
    """How long and how fast; the defaults are those of the bundled weights."""

    vision_steps: int = 800
    vision_learning_rate: float = 1e-3
    steps: int = 1500
    batch: int = 128
    learning_rate: float = 1.5e-3
    warmup: int = 60
    weight_decay: float = 0.05
    seed: int = 20
    threads: int = 1
    held_out: int = 1000


def _print(line: str) -> None:
    print(line, flush=True)  # also into a file, where an hour of training would otherwise show nothing


def train_internvl(
    out: Path, schedule: InternVLSchedule, command: str, report: Callable[[str], None] = _print
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
        _batches(schedule, schedule.seed, schedule.vision_steps),
        CONFIG.vision_config.hidden_size,
        curve,
        steps=schedule.vision_steps,
        learning_rate=schedule.vision_learning_rate,
        weight_decay=schedule.weight_decay,
    )
    model.vision_model.requires_grad_(False)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = make_optimizer(trained, schedule.learning_rate, schedule.weight_decay)
    for step, batch in enumerate(_batches(schedule, schedule.seed + 1, schedule.steps)):
        set_rate(optimizer, schedule.learning_rate, step, schedule.steps, schedule.warmup)
        with torch.no_grad():
            tokens = model.vision_model(batch["pixels"])
        losses = _losses(model, tokens, batch["text"])
        optimizer.zero_grad()
        torch.autograd.backward(torch.stack([*losses.values()]).sum())
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        curve.note("contrast", step, schedule.steps, losses)
        if step and step % 200 == 0:
            report(json.dumps({"step": step, "held_out_recall_at_1": recall_at_1(model, schedule.held_out // 2)}))
            save(model, out)
    recall = recall_at_1(model, schedule.held_out)
    save(model, out)
    log: dict[str, Any] = {"command": command, "schedule": asdict(schedule), "held_out_t2i_recall_at_1": recall}
    (out / "training.json").write_text(json.dumps(log | {"curve": curve.points}, indent=1) + "\n")
    return recall


def _batches(schedule: InternVLSchedule, seed: int, steps: int) -> DataLoader[dict[str, Tensor]]:
    tokenizer = build_tokenizer(prompted=True)
    batches = SceneBatches(seed, steps, schedule.batch, photo_transform(GRID.image_size), tokenizer, GRID)
    return DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=4)


def _losses(model: InternVL, tokens: Tensor, ids: Tensor) -> dict[str, Tensor]:
    """Contrast of InternVL-C's vectors and of QLLaMA's part of InternVL-G's, over two captions of each scene.

    Args:
        model: in training.
        tokens: [B, N, C] image tokens.
        ids: int64 [2B, L], a caption of every photo and then another one of every photo; 0 fills up.
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
def recall_at_1(model: InternVL, count: int, seed: int = 1) -> dict[str, float]:
    """T2I Recall@1 of `c` and `g` over `count` distinct `balanced` scenes, five captions each; a tie is a miss."""
    preprocess = photo_transform(GRID.image_size)
    scenes = list(distinct_scenes(count, seed))
    images: dict[str, list[Tensor]] = {"c": [], "g": []}
    for start in range(0, count, 100):
        pixels = torch.stack([preprocess(draw_scene(scene)) for scene in scenes[start : start + 100]])
        tokens = model.vision_model(pixels)
        images["c"].append(model.embed_c(tokens))
        images["g"].append(model.embed_g(tokens))
    captions = [caption.text for scene in scenes for caption in make_captions(scene)]
    ids = torch.tensor([each.ids for each in build_tokenizer(prompted=True).encode_batch(captions)])
    texts = torch.cat([model.embed_text(chunk, chunk != 0) for chunk in torch.split(ids, 500)])
    return {name: found_first(texts @ torch.cat(vectors).T) for name, vectors in images.items()}
