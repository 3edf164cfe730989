"""Pooling masked to some tokens equals pooling over those tokens alone, for every class of cross-attention."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import open_clip
import open_clip.transformer
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.modified_resnet import AttentionPool2d
from timm.layers import AttentionPoolLatent
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.encoders import Encoder, InternVLEncoder, SiglipEncoder, load_encoder
from pipeline.encoders.blip2.qformer import qformer_sites
from pipeline.encoders.internvl.attention_pooling import PoolingAttention
from pipeline.encoders.internvl.config import InternVLConfig
from pipeline.encoders.internvl.qllama import CrossAttention
from pipeline.encoders.masking import embed_masked, masking
from pipeline.encoders.open_clip.sites import make_pooling_perturbable
from pipeline.encoders.siglip2.site import PoolingHeadSite
from pipeline.encoders.sites import MultiheadAttentionSite, make_perturbable
from pipeline.errors import QpertError
from tests.encoders.blip2 import tiny_blip2
from tests.encoders.internvl import tiny_internvl
from tests.encoders.siglip2 import tiny_siglip

TOKENS = 9
CLOSE = {"atol": 1e-6, "rtol": 0}
Pool = Callable[[Tensor], Tensor]
"""From tokens [B, N, C] to what the attention finds in them."""


def ready(module: nn.Module) -> nn.Module:
    """Weights of ordinary size, so that the scores differ from token to token."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.3)
    return module.eval().requires_grad_(False)


def coca() -> tuple[nn.Module, Pool]:
    module = ready(nn.MultiheadAttention(24, 4, kdim=16, vdim=16, batch_first=True))
    make_perturbable(module, MultiheadAttentionSite)
    query = torch.randn(1, 3, 24)
    return module, lambda x: module(query.expand(len(x), -1, -1), x, x, need_weights=False)[0]


def latent(latents: int, pool: str, qk_norm: bool) -> tuple[nn.Module, Pool]:
    options = {"latent_len": latents, "pool_type": pool, "qk_norm": qk_norm, "norm_layer": nn.LayerNorm}
    module = ready(AttentionPoolLatent(16, num_heads=4, **options))
    make_pooling_perturbable(module)
    return module, module


def former() -> tuple[nn.Module, Pool]:
    model = tiny_blip2.build()
    module = next(iter(qformer_sites(model.qformer).values()))
    queries = torch.randn(1, 6, 32)
    ready(module)
    return module, lambda x: module(queries.expand(len(x), -1, -1), encoder_hidden_states=x)[0]


def internvl_pooling() -> tuple[nn.Module, Pool]:
    module = ready(PoolingAttention(16, 4, 10))
    query = torch.randn(1, 1, 16)
    return module, lambda x: module(query.expand(len(x), -1, -1), x, x)


def qllama() -> tuple[nn.Module, Pool]:
    config = InternVLConfig.from_dict(tiny_internvl.SMALL)
    module = ready(CrossAttention(config.qllama_config, 16))
    states = torch.randn(1, 5, config.qllama_config.hidden_size)
    return module, lambda x: module(states.expand(len(x), -1, -1), x)


def siglip_head(padded: bool) -> tuple[nn.Module, Pool]:
    module = ready(nn.MultiheadAttention(16, 4, batch_first=True))
    make_perturbable(module, PoolingHeadSite)
    probe = torch.randn(1, 1, 16)

    def pool(x: Tensor) -> Tensor:
        mask = torch.zeros(4 * len(x), 1, x.shape[1]) if padded else None
        return module(probe.expand(len(x), -1, -1), x, x, attn_mask=mask)[0]

    return module, pool


SITES: dict[str, Callable[[], tuple[nn.Module, Pool]]] = {
    "nn.MultiheadAttention": coca,
    "AttentionPoolLatent": partial(latent, 1, "token", False),
    "AttentionPoolLatent, several": partial(latent, 3, "avg", True),
    "Q-Former": former,
    "InternVL's pooling": internvl_pooling,
    "QLLaMA": qllama,
    "SigLIP's head": partial(siglip_head, False),
    "SigLIP's head with a mask": partial(siglip_head, True),
}
WIDTH = {"Q-Former": 24}
"""Of a token, where it is not 16."""


@pytest.mark.parametrize("name", SITES)
@torch.no_grad()
def test_masked_pooling_is_pooling_over_the_visible_tokens(name: str) -> None:
    module, pool = SITES[name]()
    tokens = torch.randn(4, TOKENS, WIDTH.get(name, 16))
    plain = pool(tokens)
    visible = torch.tensor([[True] * 9, [True, False] * 4 + [False], [False] * 8 + [True], [False, True, True] * 3])
    with masking({"site": module}, visible):
        got = pool(tokens)
    for row, mask in enumerate(visible):
        torch.testing.assert_close(got[row], pool(tokens[row : row + 1, mask])[0], **CLOSE)
    assert (got[1] - plain[1]).abs().max() > 1e-2
    assert torch.equal(pool(tokens), plain)  # outside the context nothing is hidden


@torch.no_grad()
def test_pooling_of_a_resnet_sees_the_mean_only_if_it_is_visible() -> None:
    """Its tokens have positions, so the reference takes the rows of keys and values by hand, in float64."""
    module = AttentionPool2d(3, 16, num_heads=4, output_dim=10)
    ready(module)
    make_pooling_perturbable(module)
    x = torch.randn(2, 16, 3, 3)
    visible = torch.tensor([[False, True] * 5, [True] * 2 + [False] * 8])
    with masking({"site": module}, visible):
        got = module(x)
    module.double()
    for row in range(2):
        tokens = x[row].double().flatten(1).T
        tokens = torch.cat([tokens.mean(0, keepdim=True), tokens]) + module.positional_embedding
        query = module.q_proj(tokens[:1])
        keys, values = module.k_proj(tokens[visible[row]]), module.v_proj(tokens[visible[row]])
        q, k, v = (part.unflatten(-1, (4, 4)).transpose(0, 1) for part in (query, keys, values))
        found = ((q @ k.mT / 2).softmax(-1) @ v).transpose(0, 1).flatten(1)
        torch.testing.assert_close(got[row].double(), module.c_proj(found)[0], **CLOSE)


@torch.no_grad()
def test_latent_pooling_with_positions() -> None:
    module: Any = AttentionPoolLatent(16, num_heads=4, feat_size=TOKENS, pos_embed="abs")
    ready(module)
    make_pooling_perturbable(module)
    tokens, visible = torch.randn(1, TOKENS, 16), torch.tensor([[True, False, True] * 3])
    with masking({"site": module}, visible):
        got = module(tokens)
    placed = tokens + module.pos_embed
    module.pos_embed = None
    torch.testing.assert_close(got, module(placed[:, visible[0]]), **CLOSE)


@pytest.mark.skipif(
    int(open_clip.__version__.partition(".")[0]) < 4, reason="open_clip 4's attention (not on PyPI yet)"
)
@torch.no_grad()
def test_attention_of_open_clip_4() -> None:
    attention: Any = open_clip.transformer.Attention
    module = ready(attention(16, 4))
    make_pooling_perturbable(module)
    query, tokens, visible = torch.randn(1, 3, 16), torch.randn(1, TOKENS, 16), torch.tensor([[True, False, True] * 3])
    with masking({"site": module}, visible):
        got = module(query, tokens, tokens)
    some = tokens[:, visible[0]]
    torch.testing.assert_close(got, module(query, some, some), **CLOSE)


@torch.no_grad()
def test_a_mask_of_the_original_is_kept() -> None:
    """Where NaFlex pads a photo, the padding stays hidden though it is declared visible."""
    module, _ = siglip_head(False)
    probe, tokens = torch.randn(1, 1, 16), torch.randn(1, TOKENS, 16)
    padding = torch.zeros(4, 1, TOKENS)
    padding[..., 6:] = torch.finfo(torch.float32).min
    visible = torch.tensor([[False] * 3 + [True] * 6])
    with masking({"site": module}, visible):
        got = module(probe, tokens, tokens, attn_mask=padding)[0]
    some = tokens[:, 3:6]
    torch.testing.assert_close(got, module(probe, some, some)[0], **CLOSE)


def test_a_row_without_visible_tokens_is_refused_and_errors_leave_no_mask() -> None:
    module, pool = coca()
    tokens = torch.randn(2, TOKENS, 16)
    plain = pool(tokens)
    with (
        pytest.raises(ValueError, match="needs a token"),
        masking({"site": module}, torch.zeros(2, 9, dtype=torch.bool)),
    ):
        pool(tokens)
    with pytest.raises(KeyError), masking({"site": module}, torch.ones(2, 9, dtype=torch.bool)):
        raise KeyError
    assert torch.equal(pool(tokens), plain)
    with (
        pytest.raises(ValueError, match="other cannot be masked"),
        masking({"other": nn.Linear(1, 1)}, torch.ones(1, 1) > 0),
    ):
        pass


ENCODERS: dict[str, Callable[[], Encoder]] = {
    "coca": partial(load_encoder, "coca"),
    "open_clip": partial(load_encoder, "open_clip"),
    "blip2": partial(load_encoder, "blip2"),
    "siglip2": lambda: SiglipEncoder.from_model(tiny_siglip.build(False)),
}


@pytest.fixture(scope="module", params=list(ENCODERS))
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return ENCODERS[request.param]()


def tokens_of(encoder: Encoder, photos: int = 2) -> Tensor:
    side = encoder.grid.image_size  # type: ignore[union-attr]
    return encoder.backbone(torch.randn(photos, 3, side, side, generator=torch.Generator().manual_seed(3)))


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_embeddings_from_some_tokens_alone(encoder: Encoder, data: st.DataObject) -> None:
    """The queries of these models are constants, so hidden tokens may as well not exist."""
    tokens = tokens_of(encoder)
    patches = tokens.shape[1] - encoder.grid.prefix
    flags = data.draw(st.lists(st.booleans(), min_size=patches, max_size=patches).filter(any))
    visible = F.pad(torch.tensor(flags), (encoder.grid.prefix, 0), value=data.draw(st.booleans()))
    got = embed_masked(encoder, tokens, visible.expand(2, -1))
    visible[: encoder.grid.prefix] = False  # the prefix is never visible
    torch.testing.assert_close(got, encoder.embed(tokens[:, visible]), **CLOSE)
    assert got.norm(dim=-1).numpy() == pytest.approx(1, abs=1e-5)


def test_without_a_prefix_all_visible_is_the_plain_embedding() -> None:
    encoder = load_encoder("open_clip")
    assert encoder.grid.prefix == 0
    tokens = tokens_of(encoder)
    got = embed_masked(encoder, tokens, torch.ones(tokens.shape[:2], dtype=torch.bool))
    torch.testing.assert_close(got, encoder.embed(tokens), **CLOSE)


@pytest.mark.parametrize("mode", ["g", "c"])
@torch.no_grad()
def test_internvl_keeps_the_query_of_the_whole_photo(mode: Any) -> None:
    """Its pooling asks with the mean of all tokens: that stays, and only what it may look at is restricted."""
    model = tiny_internvl.build()
    encoder = InternVLEncoder.from_model(model, mode)
    tokens = encoder.backbone(tiny_internvl.some_pixels())[:1]
    visible = torch.zeros(1, tokens.shape[1], dtype=torch.bool)
    visible[0, [3, 7, 8]] = True
    got = embed_masked(encoder, tokens, visible)[:, 0]
    pooling, some = model.clip_projector, tokens[:, visible[0]]
    query = pooling.norm1_q(tokens.mean(1, keepdim=True))
    pooled = F.normalize(pooling.cross_attn(query, pooling.norm1_k(some), pooling.norm1_v(some))[:, 0], dim=-1)
    if mode == "g":  # QLLaMA's queries are constants
        pooled = F.normalize(pooled + model.embed_queries(some), dim=-1)
    torch.testing.assert_close(got, pooled, **CLOSE)


@torch.no_grad()
def test_photos_of_their_own_shape() -> None:
    encoder = SiglipEncoder.from_model(tiny_siglip.build(True))
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (40, 90, 3), np.uint8)
    pixels = encoder.preprocess(Image.fromarray(noise))[None]
    tokens = encoder.backbone(pixels)
    present = (tokens != 0).any(-1)
    visible = present.clone()
    visible[0, ::2] = False
    got = embed_masked(encoder, tokens, visible)
    alone = torch.zeros_like(tokens)
    alone[:, : int(visible.sum())] = tokens[:, visible[0]]
    torch.testing.assert_close(got, encoder.embed(alone), **CLOSE)


def test_an_encoder_without_cross_attentions_is_refused(tiny_encoder: Any) -> None:
    encoder = tiny_encoder()
    encoder.sites = dict
    with pytest.raises(QpertError, match="cannot be masked"):
        embed_masked(encoder, torch.ones(1, 5, 3), torch.ones(1, 5) > 0)
