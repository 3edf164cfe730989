"""Attention pooling of every kind: the original's numbers without objects, Algorithm 1.1 per head with them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import open_clip
import open_clip.transformer
import pytest
import torch
from open_clip.modified_resnet import AttentionPool2d
from timm.layers import AttentionPoolLatent
from torch import Tensor, nn

from pipeline.encoders.open_clip.sites import make_pooling_perturbable
from pipeline.encoders.sites import Site, perturbing, remembering, restore
from pipeline.method.object_keys import pool_object_keys
from pipeline.method.operator import object_operator
from pipeline.method.settings import Perturbation

SCALE, THRESHOLD = 3.0, 0.8
OBJECTS = torch.tensor([[0, 1, 1, 0, 0, 1, 0.0], [0, 0, 0, 1, 1, 1, 1.0]])
"""Tokens of the first photo's two objects; the second photo has none."""


def perturbed(module: nn.Module, inputs: Sequence[Tensor], tokens: int) -> Tensor:
    settings = Perturbation.one_component(scale=SCALE, threshold=THRESHOLD)
    cover = torch.stack([OBJECTS, torch.zeros_like(OBJECTS)])[..., :tokens]
    groups = pool_object_keys(cover, torch.full((2, 2), 0.1), settings)
    with torch.no_grad(), perturbing({"site": module}, lambda _, keys: object_operator(keys, groups, settings)):
        out: Tensor = module(*inputs)
    return out


def enhanced(q: Tensor, k: Tensor) -> Tensor:
    """Algorithm 1.1 for one photo, head by head in float64; q [H, Q, d], k [H, N, d]."""
    changed = q.clone()
    for tokens, head in itertools.product(OBJECTS.bool()[:, : k.shape[1]], range(len(q))):
        _, sigma, basis = torch.linalg.svd(k[head][tokens], full_matrices=False)
        count = max(1, int(((sigma**2).cumsum(0) / (sigma**2).sum() <= THRESHOLD).sum()))
        changed[head] += SCALE * q[head] @ basis[:count].T @ basis[:count]
    return changed


def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """[H, Q, d] to [Q, H d], with the queries perturbed."""
    scores = enhanced(q, k) @ k.mT / q.shape[-1] ** 0.5
    return (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)


def check(module: nn.Module, inputs: Sequence[Tensor], by_hand: Callable[..., Tensor], tokens: int = 7) -> None:
    """Without objects the very same numbers and weights; with them, those computed by hand for the first photo."""
    module.eval()
    with torch.no_grad():
        want = module(*inputs)
    names, original = list(module.state_dict()), type(module)
    make_pooling_perturbable(module)
    make_pooling_perturbable(module)  # a second time does nothing
    assert isinstance(module, Site)
    assert list(module.state_dict()) == names
    with torch.no_grad():
        assert torch.equal(module(*inputs), want)
    got = perturbed(module, inputs, tokens)
    torch.testing.assert_close(got[1], want[1], atol=1e-6, rtol=0)
    with torch.no_grad():
        exact = by_hand(*(given[0].double() for given in inputs))
    torch.testing.assert_close(got[0].double(), exact, atol=1e-4, rtol=1e-4)
    assert (got[0] - want[0]).abs().max() > 1e-2
    with remembering({"site": module}):
        assert torch.equal(perturbed(module, inputs, tokens), got)
        assert torch.equal(perturbed(module, inputs, tokens), got)
    restore(module)
    assert type(module) is original


@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("pos_embed", ["", "abs"])
@pytest.mark.parametrize(("latents", "pool"), [(1, "token"), (3, "avg"), (2, "")])
def test_attention_pool_latent(qk_norm: bool, pos_embed: str, latents: int, pool: str) -> None:
    torch.manual_seed(1)
    norm = partial(nn.LayerNorm, eps=1e-6)
    module = AttentionPoolLatent(
        24, num_heads=4, feat_size=7, qk_norm=qk_norm, pos_embed=pos_embed, latent_len=latents, pool_type=pool,
        norm_layer=norm,
    )  # fmt: skip
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)

    def by_hand(x: Tensor) -> Tensor:
        pooling = module.double()
        tokens = x if pooling.pos_embed is None else x + pooling.pos_embed
        q = pooling.q_norm(pooling.q(pooling.latent[0]).unflatten(-1, (4, 6)).transpose(0, 1))
        k, v = pooling.kv(tokens).unflatten(-1, (2, 4, 6)).permute(1, 2, 0, 3)
        found = pooling.proj(attended(q, pooling.k_norm(k), v))
        found = found + pooling.mlp(pooling.norm(found))
        module.float()
        return {"token": found[0], "avg": found.mean(0), "": found}[pool]

    check(module, [torch.randn(2, 7, 24)], by_hand)


def test_attention_pool_2d() -> None:
    torch.manual_seed(1)
    module = AttentionPool2d(2, 24, num_heads=4, output_dim=10)  # a mean and four patches

    def by_hand(x: Tensor) -> Tensor:
        pooling = module.double()
        tokens = x.flatten(1).T
        tokens = torch.cat([tokens.mean(0, keepdim=True), tokens]) + pooling.positional_embedding
        q, k, v = (
            layer(tokens).unflatten(-1, (4, 6)).transpose(0, 1)
            for layer in (pooling.q_proj, pooling.k_proj, pooling.v_proj)
        )
        found = pooling.c_proj(attended(q, k, v))[0]
        module.float()
        return found

    check(module, [torch.randn(2, 24, 2, 2)], by_hand, tokens=5)


@pytest.mark.skipif(
    int(open_clip.__version__.partition(".")[0]) < 4, reason="open_clip 4's attention (not on PyPI yet)"
)
@pytest.mark.parametrize(("kdim", "qk_norm", "scale_heads"), [(24, False, True), (20, True, False)])
def test_attention_of_open_clip_4(kdim: int, qk_norm: bool, scale_heads: bool) -> None:
    torch.manual_seed(1)
    attention: Any = open_clip.transformer.Attention
    module = attention(24, 4, kdim=kdim, vdim=kdim, qk_norm=qk_norm, scale_heads=scale_heads, norm_layer=nn.LayerNorm)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)

    def by_hand(x: Tensor, k_x: Tensor, v_x: Tensor) -> Tensor:
        pooling = module.double()
        in_one = pooling.in_proj_weight
        weights = [pooling.q_proj_weight, pooling.k_proj_weight, pooling.v_proj_weight]
        if in_one is not None:
            weights = in_one.chunk(3)
        q, k, v = (
            (y @ w.T + b).unflatten(-1, (4, 6)).transpose(0, 1)
            for y, w, b in zip((x, k_x, v_x), weights, pooling.in_proj_bias.chunk(3), strict=True)
        )
        found = attended(pooling.ln_q(q), pooling.ln_k(k), v)
        if scale_heads:
            found = (found.unflatten(-1, (4, 6)) * pooling.head_scale.flatten()[:, None]).flatten(1)
        found = pooling.out_proj(found)
        module.float()
        return found

    keys = torch.randn(2, 7, kdim)
    check(module, [torch.randn(2, 3, 24), keys, keys], by_hand)


def test_others_are_refused() -> None:
    with pytest.raises(ValueError, match="Linear cannot be perturbed, only MultiheadAttention"):
        make_pooling_perturbable(nn.Linear(2, 2))
    attention = open_clip.transformer.Attention(24, 4, scaled_cosine=True)
    with pytest.raises(ValueError, match="scaled cosines"):
        make_pooling_perturbable(attention)
