"""Training the miniature in the manner of SigLIP2 (classes of open_clip and timm) on synthetic scenes, on a CPU.

It starts from the towers of the miniature CoCa, so that fewer steps suffice; attention pooling is new. Two
losses: SigLIP's sigmoid loss (over two captions of each scene), and the patch loss, see `train_coca`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import open_clip
import torch
from open_clip.transform import image_transform_v2
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.encoders import resolve_weights
from pipeline.encoders.open_clip.miniature_trunk import WIDTH
from pipeline.encoders.open_clip.weights import load_weights
from pipeline.miniature.coca_model import build_tokenizer
from pipeline.miniature.scene_batches import LABELS, SceneBatches
from pipeline.miniature.siglip_model import GRID, PREPROCESS, build, save, start_from_coca
from pipeline.miniature.train_coca import embed_captions
from pipeline.miniature.training import Curve, Run, Schedule, found_first, held_out, print_line


@dataclass(frozen=True)
class SiglipSchedule(Schedule):
    """See `Schedule`, with the weight of the patch loss against the sigmoid loss."""

    steps: int = 1000
    batch: int = 144
    learning_rate: float = 1e-3
    warmup: int = 60
    seed: int = 3
    patch_weight: float = 2.0


def train_siglip(
    out: Path, schedule: SiglipSchedule, command: str, report: Callable[[str], None] = print_line
) -> float:
    """Train, write `out/{open_clip_config.json, open_clip_model.safetensors, tokenizer.json, training.json}`.

    Returns:
        T2I Recall@1 on `schedule.held_out` distinct `balanced` scenes of a series that training never draws from.
    """
    torch.manual_seed(schedule.seed)
    torch.set_num_threads(schedule.threads)
    model = build()
    coca, _ = load_weights(resolve_weights("coca", None))
    start_from_coca(model, coca)
    patch_head = nn.Linear(WIDTH, len(LABELS))
    preprocess = image_transform_v2(PREPROCESS, is_train=False)
    batches = SceneBatches(schedule.seed, schedule.steps, schedule.batch, preprocess, build_tokenizer(), GRID)
    out.mkdir(parents=True, exist_ok=True)
    run = Run(out, command, lambda count: recall_at_1(model, count), lambda: save(model, out), model.logit_scale)
    return run.train(
        [*model.parameters(), *patch_head.parameters()],
        batches.loader(),
        lambda _, batch: _losses(model, patch_head, batch),
        schedule,
        Curve(report),
        loss_weights={"patch": schedule.patch_weight},
    )


def _losses(model: open_clip.CustomTextCLIP, patch_head: nn.Linear, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Mean losses of one batch: `pixels` [B, 3, S, S], `text` [2B, CONTEXT], `patches` [B, patches, labels]."""
    trunk = model.visual.trunk
    tokens = trunk.forward_features(batch["pixels"])
    image = F.normalize(trunk.forward_head(tokens), dim=-1)
    text, _ = embed_captions(model.text, batch["text"])
    count = len(image)
    own = 2 * torch.eye(count) - 1
    sigmoid = torch.zeros(())
    for half in torch.split(text, count):
        logits = model.logit_scale.exp() * image @ half.T + model.logit_bias
        sigmoid = sigmoid - F.logsigmoid(own * logits).sum() / count / 2
    patch = F.binary_cross_entropy_with_logits(patch_head(tokens), batch["patches"])
    return {"sigmoid": sigmoid, "patch": patch}


@torch.no_grad()
def recall_at_1(model: open_clip.CustomTextCLIP, count: int) -> float:
    """T2I Recall@1 over `count` held-out scenes; a tie is a miss."""
    model.eval()
    pixels, ids = held_out(count, image_transform_v2(PREPROCESS, is_train=False), build_tokenizer())
    images = torch.cat([model.encode_image(batch, normalize=True) for batch in pixels])
    texts = torch.cat([model.encode_text(batch, normalize=True) for batch in ids])
    model.train()
    return found_first(texts @ images.T)
