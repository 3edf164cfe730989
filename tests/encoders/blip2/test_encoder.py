"""BLIP-2: equal to transformers without objects, to a naive reference with them; each known trap has a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as TF

from pipeline.encoders.blip2.encoder import Blip2Encoder
from pipeline.encoders.sites import perturbing
from pipeline.errors import QpertError
from pipeline.method.object_keys import pool_object_keys
from pipeline.method.objects import Objects, batch_coverage
from pipeline.method.operator import object_operator
from pipeline.method.settings import Perturbation
from tests.encoders.blip2.tiny_blip2 import build, counting, head_state, perturbed_naively, some_objects, tokenizer

TEXTS = ["a small red star", "Two dogs.", "a dog on the beach"]


@pytest.fixture
def encoder(tmp_path: Path) -> Blip2Encoder:
    model = build()
    return Blip2Encoder.from_model(model, tokenizer(tmp_path), head_state(model))


@pytest.fixture
def pixels() -> Tensor:
    return torch.randn(3, 3, 56, 56, generator=torch.Generator().manual_seed(3))


def ids_of(encoder: Blip2Encoder) -> dict[str, Tensor]:
    return dict(encoder.tokenizer([text.lower().replace(".", "") for text in TEXTS], padding=True, return_tensors="pt"))


@torch.no_grad()
def test_without_objects_everything_equals_transformers(encoder: Blip2Encoder, pixels: Tensor) -> None:
    found = {name: ids_of(encoder)[name] for name in ("input_ids", "attention_mask")}
    untouched = build()
    contrast = untouched(pixels, **found)
    tokens = encoder.backbone(pixels)
    assert tokens.shape == (3, encoder.grid.tokens, 24)
    image, text = encoder.embed(tokens), encoder.embed_text(TEXTS)
    assert image.shape == (3, encoder.vectors, encoder.dim) == (3, 6, 16)
    torch.testing.assert_close(image, contrast.image_embeds, atol=1e-6, rtol=0)
    torch.testing.assert_close(text, contrast.text_embeds, atol=1e-6, rtol=0)
    scores = (image @ text.T).amax(1)
    torch.testing.assert_close(scores, contrast.logits_per_image, atol=1e-6, rtol=0)
    matched = untouched(pixels, **found, use_image_text_matching_head=True).logits_per_image
    torch.testing.assert_close(encoder.match(tokens, TEXTS), matched[:, 1], atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder.match(tokens, **found), matched[:, 1], atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder.embed_text(**found), text)
    for stages in (("itm", "lm"), ()):
        untouched_by = Perturbation(scale=2, stages=stages)  # type: ignore[arg-type]
        assert torch.equal(encoder.embed(tokens, some_objects(), untouched_by), image)


@pytest.mark.parametrize("weight", ["constant", "area", "0.5-area"])
@pytest.mark.parametrize("threshold", [0.8, 0.9, 0.99])
@pytest.mark.parametrize("combine", ["sum", "mean"])
@torch.no_grad()
def test_with_objects_embeddings_follow_algorithm_1_1(
    encoder: Blip2Encoder, pixels: Tensor, weight: Any, threshold: float, combine: Any
) -> None:
    perturbation = Perturbation(
        weight=weight, scale=20, threshold=threshold, combine=combine, tokens="coverage", stages=("itc", "itm")
    )
    objects, tokens = some_objects(), encoder.backbone(pixels)
    coverage, _ = batch_coverage(objects, encoder.grid)
    masks = [cover[: len(photo)].double().numpy() for cover, photo in zip(coverage, objects, strict=True)]
    shares = [max(1, len(photo)) if combine == "mean" else 1 for photo in objects]
    alphas = [perturbation.alphas(photo.areas).numpy() / share for photo, share in zip(objects, shares, strict=True)]
    reference = Blip2Encoder.from_model(build(), encoder.tokenizer)
    with perturbed_naively(reference.model.qformer, masks, alphas, threshold):
        image = reference.embed(tokens)
        pairs = reference.match(tokens, TEXTS)
    got = encoder.embed(tokens, objects, perturbation)
    torch.testing.assert_close(got, image, atol=1e-4, rtol=0)
    torch.testing.assert_close(encoder.match(tokens, TEXTS, objects, perturbation), pairs, atol=1e-4, rtol=1e-4)
    assert (got - encoder.embed(tokens)).abs().amax((1, 2))[[0, 2]].min() > 3e-4  # more than twice the tolerance
    torch.testing.assert_close(got[1], encoder.embed(tokens)[1], atol=1e-6, rtol=0)


@torch.no_grad()
def test_each_stage_perturbs_only_its_own_pass(encoder: Blip2Encoder, pixels: Tensor) -> None:
    objects, tokens = some_objects(), encoder.backbone(pixels)

    def outcome(setting: Perturbation | None) -> dict[str, Any]:
        return {
            "itc": encoder.embed(tokens, objects, setting),
            "itm": encoder.match(tokens, TEXTS, objects, setting),
            "lm": encoder.caption(tokens, objects, setting),
        }

    def same(a: Any, b: Any) -> bool:
        return a == b if isinstance(a, list) else torch.equal(a, b)

    plain = outcome(None)
    for stages in ((), ("itc",), ("itm",), ("lm",), ("itc", "itm"), ("itc", "itm", "lm")):
        got = outcome(Perturbation(scale=60, stages=stages))  # type: ignore[arg-type]
        assert {stage for stage in plain if not same(got[stage], plain[stage])} == set(stages)


@torch.no_grad()
def test_one_photo_is_matched_with_many_texts_at_once(
    encoder: Blip2Encoder, pixels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    perturbation, objects, tokens = Perturbation(scale=2, stages=("itm",)), some_objects(), encoder.backbone(pixels)
    alone = torch.cat(
        [
            encoder.match(tokens[row : row + 1], [text], objects[row : row + 1], perturbation)
            for row in range(3)
            for text in TEXTS
        ]
    )
    torch.testing.assert_close(encoder.match(tokens, TEXTS * 3, objects, perturbation), alone, atol=1e-5, rtol=1e-5)
    monkeypatch.setattr("pipeline.encoders.blip2.family._PAIRS", 3)
    keys = counting(next(iter(encoder.sites().values())).key)
    made = []
    monkeypatch.setattr(
        "pipeline.encoders.base.object_operator", lambda *args: made.append(1) or object_operator(*args)
    )
    torch.testing.assert_close(encoder.match(tokens, TEXTS * 3, objects, perturbation), alone, atol=1e-5, rtol=1e-5)
    assert len(made) == len(encoder.sites()) == 2  # once per site for any number of passes
    assert keys() == 3
    many = encoder.match(tokens[2:], TEXTS, objects[2:], perturbation)
    torch.testing.assert_close(many, alone[6:], atol=1e-5, rtol=1e-5)
    one = encoder.match(tokens, TEXTS[:1], objects, perturbation)
    torch.testing.assert_close(one, alone[::3], atol=1e-5, rtol=1e-5)
    with pytest.raises(QpertError, match="2 texts cannot be shared evenly among 3 photos"):
        encoder.match(tokens, TEXTS[:2])


@torch.no_grad()
def test_padding_is_never_attended_to(encoder: Blip2Encoder, pixels: Tensor) -> None:
    """Trap 1 (a mask that is silently lost), and the mask of a text given as ids."""
    tokens, objects = encoder.backbone(pixels[:1]), some_objects()[:1]
    ids = encoder.tokenizer([TEXTS[0]], return_tensors="pt")["input_ids"]
    longer = torch.cat([ids, torch.zeros(1, 7, dtype=torch.int64)], 1)
    perturbation = Perturbation(scale=2, stages=("itm",))
    for setting in (None, perturbation):
        short = encoder.match(tokens, input_ids=ids, objects=objects, perturbation=setting)
        padded = encoder.match(tokens, input_ids=longer, objects=objects, perturbation=setting)
        torch.testing.assert_close(short, padded, atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder.embed_text(input_ids=ids), encoder.embed_text(input_ids=longer))
    cut = encoder.embed_text(input_ids=ids, attention_mask=torch.ones_like(ids).index_fill(1, torch.tensor([3]), 0))
    assert (cut - encoder.embed_text(input_ids=ids)).abs().max() > 1e-3


@torch.no_grad()
def test_image_tokens_in_the_configuration_change_nothing(encoder: Blip2Encoder, pixels: Tensor) -> None:
    """Trap 5: transformers' own forward would cut 32 ids off the text."""
    model = build()
    model.config.image_token_index = 9
    other = Blip2Encoder.from_model(model, encoder.tokenizer)
    tokens = encoder.backbone(pixels)
    assert torch.equal(other.match(tokens, TEXTS), encoder.match(tokens, TEXTS))
    assert torch.equal(other.embed_text(TEXTS), encoder.embed_text(TEXTS))


@torch.no_grad()
def test_dropout_is_off_and_the_model_is_unchanged(pixels: Tensor) -> None:
    """Trap 7; nothing of the perturbation is left behind."""
    model = build().train()
    names = list(model.state_dict())
    encoder = Blip2Encoder.from_model(model)
    assert not model.training
    tokens = encoder.backbone(pixels)
    plain = encoder.embed(tokens)
    encoder.embed(tokens, some_objects(), Perturbation(scale=5))
    assert torch.equal(encoder.embed(tokens), plain)
    assert list(model.state_dict()) == names
    assert list(encoder.sites()) == [f"qformer.encoder.layer.{i}.crossattention.attention" for i in (0, 2)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.no_grad()
def test_only_the_vision_tower_takes_half_precision(encoder: Blip2Encoder, pixels: Tensor, dtype: torch.dtype) -> None:
    """Trap 4: keys, eigenvalues and heads in float32 whatever the tower's dtype."""
    half = Blip2Encoder.from_model(build().to(dtype), encoder.tokenizer, head_state(build()))
    assert half.dtype == dtype
    assert {p.dtype for name, p in half.model.named_parameters() if not name.startswith("vision_model.")} == {
        torch.float32
    }
    tokens = half.backbone(pixels)
    assert tokens.dtype == dtype
    got = half.embed(tokens, some_objects(), Perturbation(scale=2))
    assert got.dtype == torch.float32
    want = encoder.embed(encoder.backbone(pixels), some_objects(), Perturbation(scale=2))
    assert torch.nn.functional.cosine_similarity(got, want, dim=-1).min() > 0.98
    assert len(half.caption(tokens, max_length=6)) == 3


def test_preprocessing_squashes_by_pils_bicubic_filter(encoder: Blip2Encoder) -> None:
    """Trap 8: resizing a tensor uses another filter."""
    image = Image.effect_noise((93, 41), 80).convert("RGB")
    resized = TF.to_tensor(image.resize((56, 56), Image.Resampling.BICUBIC))
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    torch.testing.assert_close(encoder.preprocess(image), TF.normalize(resized, mean, std))
    assert encoder.preprocess(image.convert("L")).shape == (3, 56, 56)


def operators(
    encoder: Blip2Encoder, tokens: Tensor, objects: list[Objects], perturbation: Perturbation
) -> dict[str, Tensor]:
    """A of every site, computed before the pass that uses it."""
    groups = pool_object_keys(*batch_coverage(objects, encoder.grid), perturbation)
    bank: dict[str, Tensor] = {}

    def remember(name: str, keys: Tensor) -> Tensor:
        return bank.setdefault(name, object_operator(keys, groups, perturbation))

    with perturbing(encoder.sites(), remember):
        encoder.embed(tokens)
    return bank


@torch.no_grad()
def test_prepared_operators_compile_into_one_graph(encoder: Blip2Encoder, pixels: Tensor) -> None:
    tokens, perturbation = encoder.backbone(pixels), Perturbation(scale=2)
    banks = [operators(encoder, tokens, objects, perturbation) for objects in (some_objects(), some_objects()[::-1])]
    torch._dynamo.reset()
    graphs: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    run = torch.compile(encoder.model.qformer, fullgraph=True, backend=backend)
    queries = encoder.model.query_tokens.expand(3, -1, -1)
    for bank, objects in zip(banks, (some_objects(), some_objects()[::-1]), strict=True):
        with perturbing(encoder.sites(), bank):
            states = run(query_embeds=queries, encoder_hidden_states=tokens).last_hidden_state
        got = torch.nn.functional.normalize(encoder.model.vision_projection(states), dim=-1)
        torch.testing.assert_close(got, encoder.embed(tokens, objects, perturbation), atol=1e-5, rtol=0)
    assert len(graphs) == 1


def test_wrong_use_is_reported(encoder: Blip2Encoder, pixels: Tensor) -> None:
    tokens = encoder.backbone(pixels)
    bare = Blip2Encoder.from_model(build())
    with pytest.raises(QpertError, match="without a tokenizer"):
        bare.embed_text(["a dog"])
    with pytest.raises(QpertError, match="either texts or input_ids"):
        bare.match(tokens)
    with pytest.raises(QpertError, match="no language head"):
        bare.caption(tokens)
    with pytest.raises(QpertError, match="one Objects per photo"):
        encoder.match(tokens, TEXTS, [Objects.empty((4, 4))], Perturbation(stages=("itm",)))
    with pytest.raises(QpertError, match="is not transformers' Blip2ForImageTextRetrieval"):
        Blip2Encoder.from_model(torch.nn.Linear(2, 2))  # type: ignore[arg-type]


def test_texts_are_cut_at_lavis_length(encoder: Blip2Encoder) -> None:
    assert encoder.max_text_length == 35
    long = "dog " * 60
    assert torch.equal(encoder.embed_text([long]), encoder.embed_text(["dog " * 33]))
