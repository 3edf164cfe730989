"""The miniature CoCa's vision tower as the start of BLIP-2's and InternVL's, which lack its first LayerNorm."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import open_clip
import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.encoders import resolve_weights
from pipeline.encoders.open_clip.weights import load_weights
from pipeline.miniature.scene_batches import LABELS
from pipeline.miniature.training import Curve, Schedule, train


@dataclass(frozen=True)
class TowerSchedule(Schedule):
    """Schedule of a model on CoCa's tower, with the steps in which the tower adapts to its own norms."""

    steps: int = 1500
    batch: int = 128
    learning_rate: float = 1.5e-3
    warmup: int = 60
    seed: int = 0
    vision_steps: int = 800
    vision_learning_rate: float = 1e-3


@dataclass(frozen=True)
class TokenEmbeddings:
    """The terms that a tower adds up before its first block.

    Attributes:
        patches: [C, 3, patch, patch], convolution over photos with CLIP's mean and deviation; it has no bias.
        cls: [C], the first token.
        positions: [N, C].
    """

    patches: Tensor
    cls: Tensor
    positions: Tensor


@torch.no_grad()
def embeddings_without_norm(tower: VisionTransformer, pixels: Tensor) -> TokenEmbeddings:
    """CoCa's token embeddings with the LayerNorm that follows them folded in, as far as possible.

    Centring and the affine part can be folded in. The division by each token's deviation is replaced by its average
    over `pixels` [B, 3, S, S], so some training has to follow.
    """
    norm, deviation = tower.ln_pre, 1.0

    def measure(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal deviation
        deviation = float(inputs[0].std(-1, correction=0).mean())

    hook = norm.register_forward_pre_hook(measure)
    tower._embeds(pixels)
    hook.remove()

    def scaled(weight: Tensor, channel: int) -> Tensor:
        shape = [1] * weight.ndim
        shape[channel] = -1
        centred: Tensor = (weight - weight.mean(channel, keepdim=True)) * (norm.weight / deviation).view(shape)
        return centred

    positions = scaled(tower.positional_embedding, 1) + norm.bias
    return TokenEmbeddings(scaled(tower.conv1.weight, 0), scaled(tower.class_embedding, 0), positions)


def adapt_tower(
    tower: nn.Module,
    patch_tokens: Callable[[Tensor], Tensor],
    take_vision: Callable[[open_clip.CoCa, Tensor], None],
    batches: Iterable[dict[str, Tensor]],
    width: int,
    curve: Curve,
    schedule: TowerSchedule,
) -> None:
    """Start a vision tower from CoCa's, train it by the patch loss to work with its own norms, and freeze it.

    Args:
        tower: to be trained.
        patch_tokens: from pixels [B, 3, S, S] to the tower's patch tokens [B, patches, width].
        take_vision: copies CoCa's weights into the tower as far as they fit, given some pixels.
        batches: `vision_steps` of them, see `SceneBatches`.
        width: of the tokens.
        curve: where losses are noted.
        schedule: steps and learning rate.
    """
    coca, _ = load_weights(resolve_weights("coca", None))
    coca.eval().requires_grad_(False)
    patch_head = nn.Linear(width, len(LABELS))

    def losses(step: int, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        if step == 0:
            take_vision(coca, batch["pixels"])
        predicted = patch_head(patch_tokens(batch["pixels"]))
        return {"patch": F.binary_cross_entropy_with_logits(predicted, batch["patches"])}

    steps = schedule.vision_steps
    vision = replace(schedule, steps=steps, learning_rate=schedule.vision_learning_rate, warmup=min(50, steps))
    train([*tower.parameters(), *patch_head.parameters()], batches, losses, vision, curve, stage="vision")
    tower.requires_grad_(False)
