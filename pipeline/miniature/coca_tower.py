"""The miniature CoCa's vision tower, as a start for towers that lack the LayerNorm before its first block."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn


@dataclass(frozen=True)
class TokenEmbeddings:
    """What a tower adds up before its first block.

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
    """CoCa's token embeddings with the LayerNorm that follows them folded in, as far as that goes.

    Centring and the affine part are; of the division by each token's deviation only the average over `pixels`
    [B, 3, S, S] is kept, so that some training has to follow.
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
