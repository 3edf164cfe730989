"""Training the miniature CoCa (a small model of open_clip's class) on synthetic scenes, on a CPU.

Three losses: CoCa's contrastive loss (over two captions of each scene), its captioning loss, and a patch loss: a linear
layer, discarded afterwards, predicts the shapes and colours under each image token. The last one gives the tokens what
the backbone of a large model learns from billions of photos: they represent the objects on them, even small ones. The
captions come from the `natural` profile and seldom name small objects, so the attention pooler learns to ignore them:
the situation that Q-Perturbation is made for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from open_clip.transformer import TextTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.miniature.coca_model import EOS, GRID, IMAGE_SIZE, MODEL, build_tokenizer, save
from pipeline.miniature.scene_batches import LABELS, SceneBatches
from pipeline.miniature.training import Curve, Run, Schedule, found_first, held_out, print_line


@dataclass(frozen=True)
class CocaSchedule(Schedule):
    """See `Schedule`, with the weights of two losses against the contrastive one."""

    steps: int = 1400
    batch: int = 144
    learning_rate: float = 2e-3
    warmup: int = 100
    seed: int = 0
    caption_weight: float = 0.5
    patch_weight: float = 2.0


def train_coca(out: Path, schedule: CocaSchedule, command: str, report: Callable[[str], None] = print_line) -> float:
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
    batches = SceneBatches(schedule.seed, schedule.steps, schedule.batch, preprocess, build_tokenizer(), GRID)
    out.mkdir(parents=True, exist_ok=True)
    run = Run(out, command, lambda count: recall_at_1(model, count), lambda: save(model, out), model.logit_scale)
    return run.train(
        [*model.parameters(), *patch_head.parameters()],
        batches.loader(),
        lambda _, batch: _losses(model, patch_head, batch),
        schedule,
        Curve(report),
        loss_weights={"caption": schedule.caption_weight, "patch": schedule.patch_weight},
    )


def _losses(model: open_clip.CoCa, patch_head: nn.Linear, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Mean losses of one batch: `pixels` [B, 3, S, S], `text` [2B, CONTEXT], `patches` [B, patches, labels]."""
    visual = model.visual
    tokens = visual.transformer(visual._embeds(batch["pixels"]))
    pooled, queries = visual._pool(tokens)
    image = F.normalize(pooled @ visual.proj, dim=-1)
    count = len(image)
    text, words = embed_captions(model.text, batch["text"])
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


def embed_captions(tower: TextTransformer, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors [T, D] and words [T, L', C] of captions [T, L] without the columns that are padding in every row.

    The result is the text tower's (attention is causal and the embedding is taken at `[EOS]`) at half the cost.
    """
    ids = ids[:, : int((ids != 0).sum(1).max())]
    length = ids.shape[1]
    words = tower.token_embedding(ids) + tower.positional_embedding[:length]
    words = tower.ln_final(tower.transformer(words, attn_mask=tower.attn_mask[:length, :length]))
    pooled = words[torch.arange(len(ids)), (ids == EOS).int().argmax(1)]
    return F.normalize(pooled @ tower.text_projection, dim=-1), words


@torch.no_grad()
def recall_at_1(model: open_clip.CoCa, count: int) -> float:
    """T2I Recall@1 over `count` held-out scenes; a tie is a miss."""
    model.eval()
    pixels, ids = held_out(count, image_transform_v2(PreprocessCfg(size=IMAGE_SIZE), is_train=False), build_tokenizer())
    images = torch.cat([model.encode_image(batch) for batch in pixels])
    texts = torch.cat([model.encode_text(batch) for batch in ids])
    model.train()
    return found_first(texts @ images.T)
