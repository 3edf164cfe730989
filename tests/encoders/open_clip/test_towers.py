"""Vision towers of open_clip cut before their pooling: what both halves give together is what the whole gives."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import open_clip
import open_clip.model
import open_clip.timm_model
import pytest
import torch
from torch import nn

from pipeline.encoders.object_embeddings import object_embeddings
from pipeline.encoders.open_clip import miniature_trunk
from pipeline.encoders.open_clip.encoder import OpenClipEncoder
from pipeline.encoders.open_clip.towers import cut_tower
from pipeline.errors import QpertError
from pipeline.method.objects import Objects
from pipeline.method.settings import Perturbation

TEXT = {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}
MAP_MODELS = [
    name
    for name in open_clip.list_models()
    if (open_clip.get_model_config(name) or {}).get("vision_cfg", {}).get("timm_pool") == "map"
]
NAFLEX = [name for name in MAP_MODELS if "SigLIP2-naflex" in name]
OTHERS = [name for name in MAP_MODELS if "naflex" not in name]
"""Towers of variable resolution come with open_clip 4."""


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Towers of timm have one block and, of those whose size can be chosen, 24 numbers in a token."""
    create = open_clip.timm_model.timm.create_model

    def one_block(name: str, **options: Any) -> nn.Module:
        depth: dict[str, Any] = {"depth": 1} if "vit_" in name or "eva" in name else {}
        module: nn.Module = create(name, **options, **depth)
        return module

    monkeypatch.setattr(open_clip.timm_model.timm, "create_model", one_block)


def vision_tower(name: str) -> nn.Module:
    config = copy.deepcopy(open_clip.get_model_config(name))
    vision = open_clip.model.CLIPVisionCfg(**config["vision_cfg"])
    module: nn.Module = open_clip.model._build_vision_tower(config["embed_dim"], vision)
    return module


def test_the_registry_has_the_models_that_people_use() -> None:
    assert len(MAP_MODELS) >= 33
    assert {"ViT-B-16-SigLIP2-256", "ViT-SO400M-16-SigLIP2-384", "PE-Core-L-14-336", "PE-Core-bigG-14-448"} <= {
        *MAP_MODELS
    }


@pytest.mark.parametrize("name", OTHERS)
def test_attention_pooling_of_every_known_model_is_one_site(name: str, shallow: None) -> None:
    with torch.device("meta"):
        visual = vision_tower(name)
        tower = cut_tower(visual)
        assert list(tower.sites) == ["visual.trunk.attn_pool"]
        side = tower.image_size[0] // tower.patch[0]  # type: ignore[index]
        tokens = tower.backbone(torch.zeros(1, 3, *tower.image_size))  # type: ignore[misc]
        assert tokens.shape == (1, side**2 + tower.prefix, tower.width)
        assert tower.pool(tokens).shape == visual(torch.zeros(1, 3, *tower.image_size)).shape  # type: ignore[misc]
    assert tower.prefix == (1 if "PE-Core" in name and "bigG" not in name else 0)


@pytest.mark.parametrize("name", NAFLEX)
def test_towers_of_variable_resolution_are_refused(name: str, shallow: None) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match="served by the encoder siglip2"):
        cut_tower(vision_tower(name))


def small_timm(pool: str, proj: str | None, **vision: Any) -> Callable[[], open_clip.CustomTextCLIP]:
    vision = {"timm_model_name": "test_vit", "image_size": 160, "timm_pool": pool, "timm_proj": proj, **vision}
    return lambda: open_clip.CustomTextCLIP(64, vision, TEXT)


SMALL: dict[str, tuple[Callable[[], Any], str | None, int]] = {
    "no prefix": (
        small_timm("map", "none", timm_model_name=miniature_trunk.NAME, image_size=112),
        "visual.trunk.attn_pool",
        0,
    ),
    "prefix left out of pooling": (small_timm("map", None), "visual.trunk.attn_pool", 0),
    "prefix in pooling": (small_timm("map", None, timm_model_name="test_vit3"), "visual.trunk.attn_pool", 1),
    "averages": (small_timm("avg", "mlp"), None, 0),
    "convolutions": (small_timm("", "linear", timm_model_name="test_convnext"), None, 0),
    "ResNet": (
        lambda: open_clip.CLIP(64, {"layers": (1, 1, 1, 1), "width": 8, "image_size": 64, "head_width": 32}, TEXT),
        "visual.attnpool",
        1,
    ),
    "CLIP": (
        lambda: open_clip.CLIP(
            24, {"layers": 1, "width": 32, "head_width": 16, "image_size": 32, "patch_size": 8}, TEXT
        ),
        None,
        1,
    ),
}


@pytest.mark.parametrize("kind", SMALL)
@torch.no_grad()
def test_embeddings_are_the_models_own(kind: str) -> None:
    build, site, prefix = SMALL[kind]
    torch.manual_seed(0)
    model = build().eval()
    for module in model.visual.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight, 1, 0.2)
    names = list(model.state_dict())
    encoder = OpenClipEncoder.from_model(model)
    size = encoder.grid.image_size
    pixels = torch.randn(3, 3, size, size)
    want = nn.functional.normalize(model.encode_image(pixels), dim=-1)
    tokens = encoder.backbone(pixels)
    got = encoder.embed(tokens)
    torch.testing.assert_close(got[:, 0], want, atol=1e-5, rtol=0)
    assert list(model.state_dict()) == names
    assert got.shape == (3, 1, encoder.dim)
    assert tokens.shape[1] == encoder.grid.tokens
    assert list(encoder.sites()) == ([site] if site else [])
    assert encoder.grid.prefix == prefix
    ids = torch.randint(1, 50, (2, 8))
    torch.testing.assert_close(
        encoder.embed_text(input_ids=ids), model.encode_text(ids, normalize=True), atol=1e-5, rtol=0
    )

    box = Objects(torch.tensor([[0.1, 0.1, 0.6, 0.7]]), ["dog"], [1.0], (64, 64))
    objects = [box, Objects.empty((64, 64)), box]
    if site is None:
        with pytest.raises(QpertError, match="no cross-attention"):
            encoder.embed(tokens, objects, Perturbation())
        return
    changed = encoder.embed(tokens, objects, Perturbation(scale=4))
    torch.testing.assert_close(changed[1], got[1], atol=1e-6, rtol=0)
    assert (changed[0] - got[0]).abs().max() > 1e-4
    for dtype in (torch.bfloat16, torch.float16):
        half = OpenClipEncoder.from_model(model.to(dtype))
        assert nn.functional.cosine_similarity(half.embed(half.backbone(pixels)), got, dim=-1).min() > 0.99


def test_towers_that_cannot_be_cut() -> None:
    with pytest.raises(ValueError, match="Linear is not a vision tower"):
        cut_tower(nn.Linear(2, 2))


@torch.no_grad()
def test_object_embeddings_of_resnets_fill_the_grid() -> None:
    torch.manual_seed(0)
    for size in (64, 224, 288):  # grids of 2, 7 and 9 patches; objects are pooled to 7 x 7
        tiny = {"layers": (1, 1, 1, 1), "width": 8, "image_size": size, "head_width": 32}
        encoder = OpenClipEncoder.from_model(open_clip.CLIP(64, tiny, TEXT).eval())
        tokens = encoder.backbone(torch.randn(1, 3, size, size))
        whole = Objects(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), ["all"], [1.0], (size, size))
        (vectors,) = object_embeddings(encoder, tokens, [whole])
        similarity = nn.functional.cosine_similarity(vectors[0], encoder.embed(tokens)[0], dim=-1)
        assert similarity.item() > (0.9999 if size == 224 else 0.9)
