"""The class swap: it changes nothing until an operator is set, and leaves nothing behind."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from pipeline.encoders.blip2.qformer import QFormerSite, qformer_sites
from pipeline.encoders.sites import MultiheadAttentionSite, choose_sites, make_perturbable, perturbing, restore
from pipeline.errors import QpertError

DIM, HEADS, WIDTH = 16, 4, 24


def attention(**options: object) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    settings = {"kdim": WIDTH, "vdim": WIDTH, "batch_first": True, **options}
    module = nn.MultiheadAttention(DIM, HEADS, **settings).eval()  # type: ignore[arg-type]
    if module.in_proj_bias is not None:
        nn.init.normal_(module.in_proj_bias)
    return module


def inputs(width: int = WIDTH) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.randn(3, 5, DIM, generator=g), torch.randn(3, 7, width, generator=g)


def by_hand(module: nn.MultiheadAttention, query: Tensor, memory: Tensor, operator: Tensor) -> Tensor:
    """softmax((q + q A) k^T / sqrt(d)) v, head by head, in float64; batch first."""
    module = copy.deepcopy(module).double()
    if module._qkv_same_embed_dim:
        weights = module.in_proj_weight.chunk(3)
    else:
        weights = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
    biases = module.in_proj_bias.chunk(3) if module.in_proj_bias is not None else (torch.zeros(()).double(),) * 3
    q, k, v = (x.double() @ w.T + b for x, w, b in zip((query, memory, memory), weights, biases, strict=True))
    size, parts = DIM // HEADS, []
    for head in range(HEADS):
        part = slice(head * size, (head + 1) * size)
        qh = q[..., part] + q[..., part] @ operator[:, head].double()
        scores = qh @ k[..., part].mT / size**0.5
        parts.append(scores.softmax(-1) @ v[..., part])
    return module.out_proj(torch.cat(parts, -1)).float()


@pytest.mark.parametrize(
    "options",
    [{}, {"kdim": None, "vdim": None}, {"batch_first": False}, {"bias": False}],
    ids=["cross", "packed", "batch second", "no bias"],
)
@torch.no_grad()
def test_multihead_attention(options: dict[str, object]) -> None:
    module = attention(**options)
    query, memory = inputs(WIDTH if "kdim" not in options else DIM)
    first = options.get("batch_first", True)
    arguments = [x if first else x.transpose(0, 1) for x in (query, memory, memory)]
    plain, names = module(*arguments, need_weights=False)[0], list(module.state_dict())
    make_perturbable(module, MultiheadAttentionSite)
    assert torch.equal(module(*arguments, need_weights=False)[0], plain)
    seen: list[Tensor] = []

    def operator_of(name: str, keys: Tensor) -> Tensor:
        assert name == "pool"
        seen.append(keys)
        return operator

    for operator in (torch.zeros(3, HEADS, 4, 4), torch.randn(3, HEADS, 4, 4)):
        with perturbing({"pool": module}, operator_of):
            got, weights = module(*arguments, need_weights=False)
        assert weights is None
        assert got.shape == plain.shape
        want = by_hand(module, query, memory, operator)
        torch.testing.assert_close(got if first else got.transpose(0, 1), want, atol=1e-5, rtol=1e-5)
        assert torch.equal(got, plain) == (not operator.any())  # bit for bit
    assert [k.shape for k in seen] == [(3, HEADS, 7, 4)] * 2
    assert torch.equal(module(*arguments, need_weights=False)[0], plain)
    assert list(module.state_dict()) == names
    restore(module)
    assert type(module) is nn.MultiheadAttention
    assert "operator" not in module.__dict__


def test_only_this_instance_changes() -> None:
    mine, other = attention(), attention()
    forward = nn.MultiheadAttention.forward
    make_perturbable(mine, MultiheadAttentionSite)
    make_perturbable(mine, MultiheadAttentionSite)  # a second call changes nothing
    assert type(other) is nn.MultiheadAttention
    assert nn.MultiheadAttention.forward is forward
    assert type(pickle.loads(pickle.dumps(mine))) is type(copy.deepcopy(mine)) is MultiheadAttentionSite
    restore(other)
    assert type(other) is nn.MultiheadAttention


def test_the_operator_is_cleared_even_after_an_error() -> None:
    module = attention()
    make_perturbable(module, MultiheadAttentionSite)
    query, memory = inputs()

    def broken(name: str, keys: Tensor) -> Tensor:
        raise ZeroDivisionError(name)

    with pytest.raises(ZeroDivisionError), perturbing({"pool": module}, broken):
        module(query, memory, memory, need_weights=False)
    assert module.operator is None
    plain = nn.Linear(2, 2)
    with (
        pytest.raises(ValueError, match="other is not perturbable"),
        perturbing({"pool": module, "other": plain}, broken),
    ):
        pass
    assert module.operator is None


def test_operators_can_be_cached_by_name() -> None:
    module, (query, memory), calls = attention(), inputs(), []
    make_perturbable(module, MultiheadAttentionSite)
    bank: dict[str, Tensor] = {}

    def operator_of(name: str, keys: Tensor) -> Tensor:
        if name not in bank:
            calls.append(name)
            bank[name] = keys.mT @ keys
        return bank[name]

    with torch.no_grad(), perturbing({"pool": module}, operator_of):
        outputs = [module(query, memory, memory, need_weights=False)[0] for _ in range(3)]
    assert calls == ["pool"]
    assert torch.equal(outputs[0], outputs[2])


def test_unsupported_attention_options_are_refused() -> None:
    with pytest.raises(ValueError, match="add_bias_kv"):
        make_perturbable(attention(add_bias_kv=True), MultiheadAttentionSite)
    with pytest.raises(ValueError, match="not Linear"):
        make_perturbable(nn.Linear(2, 2), MultiheadAttentionSite)
    module = attention()
    make_perturbable(module, MultiheadAttentionSite)
    query, memory = inputs()
    with perturbing({"pool": module}, lambda _, k: k.mT @ k), pytest.raises(ValueError, match="no masks"):
        module(query, memory, memory, key_padding_mask=torch.zeros(3, 7, dtype=torch.bool), need_weights=False)
    with perturbing({"pool": module}, lambda _, k: k.mT @ k), pytest.raises(ValueError, match="no weights"):
        module(query, memory, memory)


def qformer(implementation: str) -> Blip2QFormerModel:
    torch.manual_seed(0)
    config = Blip2QFormerConfig(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=48, encoder_hidden_size=20,
        vocab_size=9, attn_implementation=implementation,
    )  # fmt: skip
    return Blip2QFormerModel(config).eval()


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@torch.no_grad()
def test_qformer(implementation: str) -> None:
    model = qformer(implementation)
    queries, tokens = torch.randn(2, 6, 32), torch.randn(2, 9, 20)
    mask = torch.tensor([[1] * 9, [1] * 5 + [0] * 4])

    def run() -> Tensor:
        out = model(query_embeds=queries, encoder_hidden_states=tokens, encoder_attention_mask=mask)
        return out.last_hidden_state

    plain, names = run(), list(model.state_dict())
    sites = qformer_sites(model)
    assert list(sites) == [f"encoder.layer.{i}.crossattention.attention" for i in (0, 2)]
    assert all(type(site) is QFormerSite for site in sites.values())
    assert list(model.state_dict()) == names
    assert not any(type(layer.attention.attention) is QFormerSite for layer in model.encoder.layer)
    assert torch.equal(run(), plain)
    with perturbing(sites, lambda _, keys: torch.zeros(2, 2, 16, 16)):
        assert torch.equal(run(), plain)
    with perturbing(sites, lambda _, keys: torch.eye(16).expand(2, 2, 16, 16)):
        doubled = run()
    assert torch.equal(run(), plain)
    for site in sites.values():  # q + q I = 2 q: the same as twice the query projection
        site.query.weight *= 2
        site.query.bias *= 2
    torch.testing.assert_close(doubled, run())
    assert (doubled - plain).abs().max() > 1e-4


@torch.no_grad()
def test_qformer_keys_are_the_projected_tokens() -> None:
    model = qformer("sdpa")
    sites, tokens = qformer_sites(model), torch.randn(2, 9, 20)
    calls = dict.fromkeys(sites, 0)

    def operator_of(name: str, keys: Tensor) -> Tensor:
        want = F.linear(tokens, sites[name].key.weight, sites[name].key.bias)
        assert torch.equal(keys.transpose(1, 2).flatten(2), want)
        calls[name] += 1
        return torch.zeros(2, 2, 16, 16)

    projections = [0]
    for site in sites.values():
        site.key.register_forward_hook(lambda *_: projections.__setitem__(0, projections[0] + 1))
    with perturbing(sites, operator_of):
        model(query_embeds=torch.randn(2, 6, 32), encoder_hidden_states=tokens)
    assert calls == dict.fromkeys(sites, 1)
    assert projections == [2]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (None, ["layer.0.attention", "layer.2.attention", "pool"]),
        ((0, -1), ["layer.0.attention", "pool"]),
        (("pool", 0, "pool"), ["layer.0.attention", "pool"]),
        (("layer.*",), ["layer.0.attention", "layer.2.attention"]),
    ],
)
def test_sites_by_name_and_number(chosen: tuple[str | int, ...] | None, expected: list[str]) -> None:
    sites = {name: nn.Identity() for name in ("layer.0.attention", "layer.2.attention", "pool")}
    assert list(choose_sites(sites, chosen)) == expected


@pytest.mark.parametrize("wrong", [3, -4, "layer.1.attention", "nothing.*"])
def test_unknown_sites_are_refused(wrong: str | int) -> None:
    with pytest.raises(QpertError, match=r"no cross-attention .* 0 to 1: a, b"):
        choose_sites({"a": nn.Identity(), "b": nn.Identity()}, (0, wrong))
