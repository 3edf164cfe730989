"""Training the miniature InternVL-G: a few steps, its vision tower, its tokenizer, and the bundled weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.datasets.scenes import distinct_scenes, draw_scene, make_captions
from pipeline.encoders import build_internvl, load_encoder, resolve_weights
from pipeline.encoders.internvl.inputs import text_ids
from pipeline.encoders.internvl.text_inputs import MAX_LENGTH, PROMPT
from pipeline.miniature.internvl_model import CONFIG, CONTEXT, GRID, WORDS, build_tokenizer, take_vision
from pipeline.miniature.train_internvl import InternVLSchedule, train_internvl


def test_training_writes_a_folder_that_the_encoder_opens(tmp_path: Path) -> None:
    lines: list[str] = []
    schedule = InternVLSchedule(vision_steps=3, steps=3, batch=8, warmup=1, held_out=20)
    recall = train_internvl(tmp_path, schedule, "the command", lines.append)
    log = json.loads((tmp_path / "training.json").read_text())
    assert log["command"] == "the command"
    assert log["held_out_t2i_recall_at_1"] == recall
    assert set(recall) == {"c", "g"}
    assert [(point["stage"], point["step"]) for point in log["curve"]] == [
        ("vision", 0), ("vision", 2), ("contrast", 0), ("contrast", 2),
    ]  # fmt: skip
    encoder: Any = load_encoder("internvl", weights=str(tmp_path))
    assert encoder.grid == GRID
    assert encoder.model.config == CONFIG
    assert list(encoder.sites()) == [
        "qllama.model.layers.0.cross_attn", "qllama.model.layers.2.cross_attn", "clip_projector.cross_attn",
    ]  # fmt: skip
    pixels = torch.stack([encoder.preprocess(draw_scene(scene)) for scene in distinct_scenes(2, 1)])
    assert encoder.embed(encoder.backbone(pixels)).shape == (2, 1, 128)


@torch.no_grad()
def test_the_vision_tower_starts_close_to_cocas() -> None:
    """Before training it lacks each token's deviation at the start, and the biases of queries."""
    coca: Any = load_encoder("coca")
    scenes = list(distinct_scenes(6, 4))
    want = coca.backbone(torch.stack([coca.preprocess(draw_scene(scene)) for scene in scenes]))
    want = want - want.mean(-1, keepdim=True)  # what its LayerNorms see
    torch.manual_seed(0)
    model = build_internvl(CONFIG)
    photos: Any = load_encoder("internvl").preprocess
    pixels = torch.stack([photos(draw_scene(scene)) for scene in scenes])
    random = model.vision_model(pixels)
    take_vision(model.vision_model, coca.model, pixels)
    got = model.vision_model(pixels)
    assert torch.nn.functional.cosine_similarity(got, want, dim=-1).mean() > 0.7
    assert torch.nn.functional.cosine_similarity(random, want, dim=-1).abs().mean() < 0.3


def test_training_and_encoder_tokenize_captions_alike() -> None:
    encoder: Any = load_encoder("internvl")
    captions = [caption.text for scene in distinct_scenes(20, 9) for caption in make_captions(scene)]
    trained = torch.tensor([encoding.ids for encoding in build_tokenizer(prompted=True).encode_batch(captions)])
    read = text_ids(encoder.tokenizer, captions)
    assert torch.equal(trained[:, : read.shape[1]], read)
    assert not trained[:, read.shape[1] :].any()
    assert read.shape[1] < CONTEXT < MAX_LENGTH
    first = build_tokenizer(prompted=True).encode("A red star, a zebra").tokens
    assert first[:8] == ["<s>", "summarize", ":", "a", "red", "star", "a", "<unk>"]
    assert PROMPT == "summarize:"
    assert WORDS[0] == "<pad>"


@pytest.fixture(scope="module")
def bundled() -> tuple[Any, list[Any], torch.Tensor]:
    encoder = load_encoder("internvl")
    scenes = list(distinct_scenes(30, 77))
    return encoder, scenes, encoder.backbone(torch.stack([encoder.preprocess(draw_scene(s)) for s in scenes]))


@pytest.mark.parametrize("name", ["internvl", "internvl-c"])
def test_the_bundled_weights_have_learned(name: str, bundled: tuple[Any, list[Any], torch.Tensor]) -> None:
    """On thirty held-out scenes; chance would find one in thirty."""
    encoder, scenes, tokens = load_encoder(name), *bundled[1:]
    texts = encoder.embed_text([make_captions(scene)[0].text for scene in scenes])
    scores = texts @ encoder.embed(tokens)[:, 0].T
    assert (scores.argmax(1) == torch.arange(30)).float().mean() > 0.7


def test_the_bundled_log_says_how_the_weights_were_made() -> None:
    log = json.loads((Path(resolve_weights("internvl", None)) / "training.json").read_text())
    assert log["command"].startswith("qpert train-miniature internvl")
    assert log["schedule"]["steps"] == log["curve"][-1]["step"] + 1
    assert 0 < log["held_out_t2i_recall_at_1"]["g"] < 1
