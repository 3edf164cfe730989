"""Training the miniature BLIP-2: a few steps, its vision tower, its losses, and the bundled weights."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.datasets.scenes import distinct_scenes, draw_scene, make_captions
from pipeline.encoders import Blip2Encoder, OpenClipEncoder, load_encoder, resolve_weights
from pipeline.encoders.blip2.language_head import build_language_head
from pipeline.miniature.blip2_losses import Objective, embed_texts
from pipeline.miniature.blip2_model import CONTEXT, GRID, WORDS, build_model, build_tokenizer, save, take_vision
from pipeline.miniature.train_blip2 import Blip2Schedule, train_blip2


def encoded(texts: list[str]) -> torch.Tensor:
    return torch.tensor([encoding.ids for encoding in build_tokenizer().encode_batch(texts)])


def test_training_writes_a_folder_that_the_encoder_opens(tmp_path: Path) -> None:
    lines: list[str] = []
    schedule = Blip2Schedule(vision_steps=3, steps=3, batch=8, warmup=1, held_out=20)
    recall = train_blip2(tmp_path, schedule, "the command", lines.append)
    log = json.loads((tmp_path / "training.json").read_text())
    assert log["command"] == "the command"
    assert log["held_out_t2i_recall_at_1"] == recall
    assert [(point["stage"], point["step"]) for point in log["curve"]] == [
        ("vision", 0), ("vision", 2), ("qformer", 0), ("qformer", 2),
    ]  # fmt: skip
    encoder: Any = load_encoder("blip2", weights=str(tmp_path))
    assert encoder.grid == GRID
    assert encoder.max_text_length == CONTEXT
    assert encoder.decoding.max_length == CONTEXT
    pixels = torch.stack([encoder.preprocess(draw_scene(scene)) for scene in distinct_scenes(2, 1)])
    tokens = encoder.backbone(pixels)
    assert encoder.embed(tokens).shape == (2, 8, 64)
    assert all(text for text in encoder.caption(tokens))


@torch.no_grad()
def test_the_vision_tower_starts_close_to_cocas() -> None:
    """Before training it lacks only the division by each token's own deviation."""
    coca: Any = load_encoder("coca")
    model = build_model().eval()
    pixels = torch.stack([coca.preprocess(draw_scene(scene)) for scene in distinct_scenes(6, 4)])
    take_vision(model.vision_model, coca.model, pixels)
    want = coca.backbone(pixels)
    got = model.vision_model.encoder(model.vision_model.embeddings(pixels)).last_hidden_state
    assert torch.nn.functional.cosine_similarity(got, want, dim=-1).mean() > 0.8
    other = build_model().eval().vision_model
    random = other.encoder(other.embeddings(pixels)).last_hidden_state
    assert torch.nn.functional.cosine_similarity(random, want, dim=-1).abs().mean() < 0.3
    assert isinstance(coca, OpenClipEncoder)


def test_losses_equal_those_of_the_encoders_outputs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_model().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    head = build_language_head(model.embeddings.word_embeddings)
    tokens = torch.randn(3, GRID.tokens, 160)
    texts = ["a red star", "a huge blue moon above a tiny green ring", "a white heart at the top"] * 2
    ids = encoded(texts)
    objective = Objective(model, head, nn.Parameter(torch.tensor(math.log(10.0))))
    losses = objective(tokens, ids)
    assert set(losses) == {"contrastive", "matching", "caption"}
    torch.autograd.backward(torch.stack([*losses.values()]).sum())
    assert all(p.grad is not None for n, p in model.named_parameters() if not n.startswith("vision_model"))
    save(model, head, tmp_path)
    encoder = Blip2Encoder.from_model(model, None, head.state_dict())
    with torch.no_grad():
        image, text = encoder.embed(tokens), encoder.embed_text(input_ids=ids)
        torch.testing.assert_close(text, embed_texts(model, ids))
        logits = 10 * (image @ text[:3].T).amax(1)
        own = torch.arange(3)
        want = (nn.functional.cross_entropy(logits, own) + nn.functional.cross_entropy(logits.T, own)) / 2
    torch.testing.assert_close(losses["contrastive"], want, atol=1e-5, rtol=0)


def test_the_tokenizer_frames_captions_like_bert() -> None:
    encoding = build_tokenizer().encode("a Red star, a moon")
    assert encoding.tokens[:7] == ["[CLS]", "a", "red", "star", "a", "moon", "[SEP]"]
    assert len(encoding.ids) == CONTEXT
    assert WORDS[-1] == "[DEC]"


@pytest.fixture(scope="module")
def bundled() -> tuple[Any, list[Any], torch.Tensor]:
    encoder = load_encoder("blip2")
    scenes = list(distinct_scenes(30, 77))
    return encoder, scenes, encoder.backbone(torch.stack([encoder.preprocess(draw_scene(s)) for s in scenes]))


def test_the_bundled_weights_have_learned_contrast_and_matching(bundled: tuple[Any, list[Any], torch.Tensor]) -> None:
    """On thirty held-out scenes; chance would find one in thirty, and distinguish half of the pairs."""
    encoder, scenes, tokens = bundled
    texts = [make_captions(scene)[0].text for scene in scenes]
    scores = torch.einsum("iqd,td->tiq", encoder.embed(tokens), encoder.embed_text(texts)).amax(-1)
    assert (scores.argmax(1) == torch.arange(30)).float().mean() > 0.7
    right, wrong = encoder.match(tokens, texts), encoder.match(tokens, texts[1:] + texts[:1])
    assert (right > wrong).float().mean() > 0.9


def test_the_bundled_weights_describe_scenes(bundled: tuple[Any, list[Any], torch.Tensor]) -> None:
    """Most captions name the largest object by colour and shape, out of eight colours and ten shapes."""
    encoder, scenes, tokens = bundled
    captions = encoder.caption(tokens)
    named = [
        f"{scene.objects[0].colour} {scene.objects[0].shape}" in text
        for scene, text in zip(scenes, captions, strict=True)
    ]
    assert sum(named) > 18


def test_the_bundled_log_says_how_the_weights_were_made() -> None:
    log = json.loads((Path(resolve_weights("blip2", None)) / "training.json").read_text())
    assert log["command"].startswith("qpert train-miniature blip2")
    assert log["schedule"]["steps"] == log["curve"][-1]["step"] + 1
    assert 0 < log["held_out_t2i_recall_at_1"] < 1
