"""The site in the heads of transformers: with a mask and weights asked for, equal to head by head in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from pipeline.encoders.siglip2.site import PoolingHeadSite
from pipeline.encoders.sites import make_perturbable, perturbing

DIM, HEADS = 16, 4


def attention() -> nn.MultiheadAttention:
    torch.manual_seed(0)
    module = nn.MultiheadAttention(DIM, HEADS, batch_first=True).eval()
    nn.init.normal_(module.in_proj_bias)
    return module


@pytest.mark.parametrize("masked", [False, True])
@torch.no_grad()
def test_masked_attention_with_weights_asked_for(masked: bool) -> None:
    module = attention()
    query, tokens, operator = torch.randn(3, 1, DIM), torch.randn(3, 7, DIM), torch.randn(3, HEADS, 4, 4)
    scores = torch.randn(3, HEADS, 1, 7)
    scores[1, :, :, 4:] = torch.finfo(torch.float32).min
    mask = scores.flatten(0, 1) if masked else None
    plain, weights = module(query, tokens, tokens, attn_mask=mask)
    reference = copy.deepcopy(module).double()
    make_perturbable(module, PoolingHeadSite)
    again, again_weights = module(query, tokens, tokens, attn_mask=mask)
    assert torch.equal(again, plain)
    assert torch.equal(again_weights, weights)
    with perturbing({"pool": module}, lambda _, keys: operator):
        got, nothing = module(query, tokens, tokens, attn_mask=mask)
    assert nothing is None
    q, k, v = (
        (x.double() @ w.T + b).unflatten(-1, (HEADS, 4)).transpose(1, 2)
        for x, w, b in zip(
            (query, tokens, tokens), reference.in_proj_weight.chunk(3), reference.in_proj_bias.chunk(3), strict=True
        )
    )
    for row in range(3):
        parts = []
        for head in range(HEADS):
            changed = q[row, head] + q[row, head] @ operator[row, head].double()
            logits = changed @ k[row, head].T / 2
            parts.append((logits + (scores[row, head] if masked else 0)).softmax(-1) @ v[row, head])
        want = reference.out_proj(torch.cat(parts, -1)).float()
        torch.testing.assert_close(got[row], want, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_other_options_are_refused_while_perturbed() -> None:
    module, x = attention(), torch.randn(2, 3, DIM)
    make_perturbable(module, PoolingHeadSite)
    hidden = torch.zeros(2, 3, dtype=torch.bool)
    module(x, x, x, key_padding_mask=hidden)
    with perturbing({"pool": module}, lambda _, k: k.mT @ k), pytest.raises(ValueError, match="key_padding_mask"):
        module(x, x, x, key_padding_mask=hidden)
