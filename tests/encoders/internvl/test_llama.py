"""LLaMA's parts: equal to transformers', to the last bit."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn
from transformers import LlamaConfig
from transformers.activations import ACT2FN
from transformers.models.llama import modeling_llama

from pipeline.encoders.internvl.llama import ACTIVATIONS, MLP, RMSNorm, SelfAttention
from pipeline.encoders.internvl.qllama import rotary
from pipeline.io.model_files import Activation

CONFIG = LlamaConfig(hidden_size=48, num_attention_heads=4, intermediate_size=80, attn_implementation="sdpa")


def alike(ours: nn.Module, theirs: nn.Module, dtype: torch.dtype) -> None:
    ours.to(dtype).load_state_dict(theirs.to(dtype).state_dict())


@pytest.mark.parametrize("name", get_args(Activation))
def test_activations(name: Activation) -> None:
    x = torch.randn(1000) * 3
    assert torch.equal(ACTIVATIONS[name](x), ACT2FN[name](x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_norm_mlp_and_attention(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    states = torch.randn(3, 7, 48).to(dtype)
    norm, their_norm = RMSNorm(48, 1e-6), modeling_llama.LlamaRMSNorm(48, 1e-6)
    nn.init.normal_(their_norm.weight)
    alike(norm, their_norm, dtype)
    assert torch.equal(norm(states), their_norm(states))

    mlp, their_mlp = MLP(48, 80, "silu"), modeling_llama.LlamaMLP(CONFIG)
    alike(mlp, their_mlp, dtype)
    assert torch.equal(mlp(states), their_mlp(states))

    attention, their_attention = SelfAttention(48, 4), modeling_llama.LlamaAttention(CONFIG, 0)
    their_attention.is_causal = False
    alike(attention, their_attention, dtype)
    positions = rotary(7, 12, states)
    causal = torch.ones(7, 7, dtype=torch.bool).tril()[None, None]
    for mask in (None, causal):
        assert torch.equal(attention(states, positions, mask), their_attention(states, positions, mask)[0])
