"""Training the miniature CoCa (open_clip's class, only small) on synthetic scenes, on the CPU.

Three losses: CoCa's contrastive loss (over two captions of each scene), its captioning loss, and a patch loss: a linear
layer that is thrown away afterwards reads the shapes and colours under each image token. The last gives the tokens what
the backbone of a large model has learned from billions of photos: they know the objects on them, the small ones too.
The captions come from the `natural` profile and seldom name small objects, so the attention pooler learns to pass them
over: the situation that Q-Perturbation is made for.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from pipeline.datasets.scenes import distinct_scenes, draw_scene, make_captions
from pipeline.miniature.coca_model import EOS, GRID, IMAGE_SIZE, MODEL, build_tokenizer, save
from pipeline.miniature.scene_batches import LABELS, SceneBatches
from pipeline.miniature.training import make_optimizer, set_rate


@dataclass(frozen=True)
class Schedule:
    """How long and how fast; the defaults are those of the bundled weights."""

    steps: int = 1400
    batch: int = 144
    learning_rate: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.05
    caption_weight: float = 0.5
    patch_weight: float = 2.0
    seed: int = 0
    threads: int = 1
    held_out: int = 1000


def train_coca(out: Path, schedule: Schedule, command: str, report: Callable[[str], None] = print) -> float:
    """Train, write `out/{open_clip_config.json, open_clip_model.safetensors, tokenizer.json, training.json}`.

    Returns:
        T2I Recall@1 on `schedule.held_out` distinct `balanced` scenes of a series that training never draws from.
    """
    torch.manual_seed(schedule.seed)
    torch.set_num_threads(schedule.threads)
    model = open_clip.CoCa(**MODEL)
    head = model.text_decoder.text_projection  # open_clip 3.3 leaves it uninitialised
    nn.init.normal_(head, std=head.shape[0] ** -0.5)
    patch_head = nn.Linear(MODEL["vision_cfg"]["width"], len(LABELS))
    preprocess = image_transform_v2(PreprocessCfg(size=IMAGE_SIZE), is_train=False)
    parameters = [*model.parameters(), *patch_head.parameters()]
    optimizer = make_optimizer(parameters, schedule.learning_rate, schedule.weight_decay)
    batches = SceneBatches(schedule.seed, schedule.steps, schedule.batch, preprocess, build_tokenizer(), GRID)
    loader = DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=4)
    out.mkdir(parents=True, exist_ok=True)
    curve: list[dict[str, float]] = []
    started = time.perf_counter()
    for step, batch in enumerate(loader):
        set_rate(optimizer, schedule.learning_rate, step, schedule.steps, schedule.warmup)
        losses = _losses(model, patch_head, batch)
        weights = {"contrastive": 1.0, "caption": schedule.caption_weight, "patch": schedule.patch_weight}
        loss = torch.stack([weights[name] * value for name, value in losses.items()]).sum()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        if step % 50 == 0 or step == schedule.steps - 1:
            point: dict[str, float] = {"step": step, "seconds": round(time.perf_counter() - started)}
            point |= {name: round(value.item(), 4) for name, value in losses.items()}
            curve.append(point)
            report(json.dumps(point))
        if step and step % 200 == 0:
            so_far = recall_at_1(model, preprocess, schedule.held_out // 2)
            report(json.dumps({"step": step, "held_out_recall_at_1": so_far}))
            save(model, out)
    recall = recall_at_1(model, preprocess, schedule.held_out)
    save(model, out)
    log = {"command": command, "schedule": asdict(schedule), "held_out_t2i_recall_at_1": recall, "curve": curve}
    (out / "training.json").write_text(json.dumps(log, indent=1))
    return recall


def _losses(model: open_clip.CoCa, patch_head: nn.Linear, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Mean losses of one batch: `pixels` [B, 3, S, S], `text` [2B, CONTEXT], `patches` [B, patches, labels]."""
    visual = model.visual
    tokens = visual.transformer(visual._embeds(batch["pixels"]))
    pooled, queries = visual._pool(tokens)
    image = F.normalize(pooled @ visual.proj, dim=-1)
    count = len(image)
    text, words = _text(model, batch["text"])
    target = torch.arange(count)
    contrastive = torch.zeros(())
    for half in torch.split(text, count):
        logits = model.logit_scale.exp() * image @ half.T
        contrastive = contrastive + (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 4
    ids = batch["text"][:count, : words.shape[1]]
    predicted = model.text_decoder(queries, words[:count, :-1])
    caption = F.cross_entropy(predicted.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=0)
    patch = F.binary_cross_entropy_with_logits(patch_head(tokens[:, 1:]), batch["patches"])
    return {"contrastive": contrastive, "caption": caption, "patch": patch}


def _text(model: open_clip.CoCa, ids: Tensor) -> tuple[Tensor, Tensor]:
    """`CoCa._encode_text` without the columns that are padding in every row.

    The result is the same (attention is causal and the embedding is taken at `[EOS]`) at half the price.
    """
    tower = model.text
    ids = ids[:, : int((ids != 0).sum(1).max())]
    length = ids.shape[1]
    words = tower.token_embedding(ids) + tower.positional_embedding[:length]
    words = tower.ln_final(tower.transformer(words, attn_mask=tower.attn_mask[:length, :length]))
    pooled = words[torch.arange(len(ids)), (ids == EOS).int().argmax(1)]
    return F.normalize(pooled @ tower.text_projection, dim=-1), words


@torch.no_grad()
def recall_at_1(model: open_clip.CoCa, preprocess: Callable[[Image.Image], Tensor], count: int, seed: int = 1) -> float:
    """T2I Recall@1 over `count` distinct `balanced` scenes with five captions each, ties against the query."""
    model.eval()
    tokenizer = build_tokenizer()
    scenes = list(distinct_scenes(count, seed))
    images = [
        model.encode_image(torch.stack([preprocess(draw_scene(s)) for s in scenes[i : i + 100]]))
        for i in range(0, count, 100)
    ]
    ids = torch.tensor([e.ids for e in tokenizer.encode_batch([c.text for s in scenes for c in make_captions(s)])])
    texts = torch.cat([model.encode_text(chunk) for chunk in torch.split(ids, 500)])
    scores = texts @ torch.cat(images).T
    own = scores.gather(1, (torch.arange(len(texts)) // 5)[:, None])
    model.train()
    return float(((scores >= own).sum(1) == 1).float().mean())
