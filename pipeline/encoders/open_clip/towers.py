"""The vision towers of open_clip's models, each cut in two before its pooling: the expensive part, and the cheap one.

What comes before pooling knows nothing of objects. Where pooling is a cross-attention, objects perturb its queries.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from pipeline.encoders.open_clip.plain_coca import VisionTower


@dataclass(frozen=True)
class Tower:
    """A vision tower, cut in two.

    Attributes:
        backbone: from pixels [B, 3, S, S] to tokens [B, N, C].
        pool: from tokens [B, N, C] to vectors [B, D], not normalised.
        image_size: S, side of the input in pixels; a pair if the model's configuration has one.
        patch: side of a token's patch in pixels; a pair likewise.
        prefix: tokens before those of the patches.
        width: C.
        sites: the perturbable cross-attentions by name; empty for a tower without one.
    """

    backbone: Callable[[Tensor], Tensor]
    pool: Callable[[Tensor], Tensor]
    image_size: int | tuple[int, int]
    patch: int | tuple[int, int]
    prefix: int
    width: int
    sites: dict[str, nn.Module] = field(default_factory=dict)


def cut_tower(visual: Any) -> Tower:
    """Cut the `visual` of a model of open_clip; its cross-attention becomes perturbable.

    Raises:
        ValueError: a pooling that cannot be perturbed; a message says why.
    """
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer
    from timm.layers import AttentionPoolLatent
    from timm.models import NaFlexVit

    from pipeline.encoders.open_clip.sites import make_pooling_perturbable

    if isinstance(visual, VisionTransformer):
        if getattr(visual, "attn_pool_contrastive", None) is not None:
            raise ValueError("a second pooler (attentional_pool parallel or cascade) is not supported")
        if visual.attn_pool is not None:
            make_pooling_perturbable(visual.attn_pool.attn)
        return cut_transformer(visual)
    if isinstance(visual, ModifiedResNet):
        make_pooling_perturbable(visual.attnpool)
        return _cut_resnet(visual)
    if isinstance(visual, TimmModel):
        if not isinstance(getattr(visual.trunk, "attn_pool", None), AttentionPoolLatent):
            return _whole(visual)
        if isinstance(visual.trunk, NaFlexVit):
            raise ValueError("towers of variable resolution (NaFlex) are served by the encoder siglip2")
        make_pooling_perturbable(visual.trunk.attn_pool)
        return _cut_timm(visual)
    raise ValueError(f"{type(visual).__name__} is not a vision tower of open_clip")


def vocabulary_size(model: Any) -> int | None:
    """Words that the text tower of a model has embeddings of; None for towers of transformers."""
    embedding = getattr(getattr(model, "text", model), "token_embedding", None)
    return None if embedding is None else int(embedding.num_embeddings)


def cut_transformer(visual: VisionTower) -> Tower:
    """Cut open_clip's own vision transformer, or the plain one of the same interface; see `cut_tower`."""
    pooler = getattr(visual, "attn_pool", None)

    def pool(tokens: Tensor) -> Tensor:
        pooled, _ = visual._pool(tokens)
        return pooled if visual.proj is None else pooled @ visual.proj

    return Tower(
        lambda pixels: visual.transformer(visual._embeds(pixels)),
        pool,
        visual.image_size,
        visual.patch_size,
        prefix=1,
        width=visual.conv1.out_channels,
        sites={} if pooler is None else {"visual.attn_pool.attn": pooler.attn},
    )


def _cut_resnet(visual: Any) -> Tower:
    """CLIP's ResNet: the tokens are those that its pooling attends to, the mean first."""
    pooling = visual.attnpool
    side = math.isqrt(len(pooling.positional_embedding) - 1)

    def backbone(pixels: Tensor) -> Tensor:
        features = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(pixels)))))
        patches = features.flatten(2).mT
        return torch.cat([patches.mean(1, keepdim=True), patches], 1)

    def pool(tokens: Tensor) -> Tensor:
        """Patches of an object, which come without the mean, are stretched to the whole grid."""
        patches = tokens if math.isqrt(tokens.shape[1]) ** 2 == tokens.shape[1] else tokens[:, 1:]
        given = math.isqrt(patches.shape[1])
        features = patches.mT.reshape(len(tokens), -1, given, given)
        if given != side:
            features = F.interpolate(features, (side, side), mode="bilinear", align_corners=False)
        vectors: Tensor = pooling(features)
        return vectors

    size = visual.image_size if isinstance(visual.image_size, int) else max(visual.image_size)
    width = pooling.positional_embedding.shape[1]
    return Tower(backbone, pool, size, size // side, prefix=1, width=width, sites={"visual.attnpool": pooling})


def _cut_timm(visual: Any) -> Tower:
    """A tower of timm with attention pooling: the tokens are those that the pooling sees."""
    trunk, pooling = visual.trunk, visual.trunk.attn_pool
    # timm's ViT leaves its prefix out of the pooling unless told otherwise, its EVA (PE-Core) never does.
    prefix = trunk.num_prefix_tokens
    unseen = 0 if getattr(trunk, "pool_include_prefix", True) else prefix

    def pool(tokens: Tensor) -> Tensor:
        vectors: Tensor = visual.head(trunk.head(trunk.head_drop(trunk.fc_norm(pooling(tokens)))))
        return vectors

    return Tower(
        lambda pixels: trunk.forward_features(pixels)[:, unseen:],
        pool,
        visual.image_size,
        trunk.patch_embed.patch_size,
        prefix=prefix - unseen,
        width=trunk.embed_dim,
        sites={"visual.trunk.attn_pool": pooling},
    )


def _whole(visual: Any) -> Tower:
    """A tower of timm without attention pooling, in one piece: the photo's vector is its only token."""
    size = visual.image_size if isinstance(visual.image_size, int) else max(visual.image_size)
    projections = [layer.out_features for layer in visual.head.modules() if isinstance(layer, nn.Linear)]
    width = projections[-1] if projections else visual.trunk.num_classes or visual.trunk.num_features
    return Tower(lambda pixels: visual(pixels)[:, None], lambda tokens: tokens[:, 0], size, size, prefix=0, width=width)
