from __future__ import annotations

import json
from pathlib import Path

import torch

from pipeline.datasets.scenes import draw_scene, make_scene
from pipeline.encoders import load_encoder
from pipeline.miniature.train_siglip import SiglipSchedule, train_siglip

BUNDLED = Path(__file__).parents[2] / "pipeline" / "miniature" / "open_clip"


def test_training_writes_a_folder_that_the_encoder_opens(tmp_path: Path) -> None:
    lines: list[str] = []
    schedule = SiglipSchedule(steps=3, batch=8, warmup=1, held_out=20)
    recall = train_siglip(tmp_path, schedule, "the command", lines.append)
    log = json.loads((tmp_path / "training.json").read_text())
    assert log["command"] == "the command"
    assert log["held_out_t2i_recall_at_1"] == recall
    assert [point["step"] for point in log["curve"]] == [0, 2]
    assert log["curve"][-1]["patch"] < log["curve"][0]["patch"]
    encoder = load_encoder("open_clip", weights=str(tmp_path))
    pixels = torch.stack([encoder.preprocess(draw_scene(make_scene(1, index))) for index in range(2)])
    assert encoder.embed(encoder.backbone(pixels)).shape == (2, 1, encoder.dim)


def test_the_bundled_weights_have_learned() -> None:
    """On twenty held-out scenes most captions find the right one; chance would find one in twenty."""
    from pipeline.datasets.scenes import distinct_scenes, make_captions

    encoder = load_encoder("open_clip")
    scenes = list(distinct_scenes(20, 77))
    images = encoder.embed(encoder.backbone(torch.stack([encoder.preprocess(draw_scene(s)) for s in scenes])))[:, 0]
    texts = encoder.embed_text([make_captions(scene)[0].text for scene in scenes])
    assert ((texts @ images.T).argmax(1) == torch.arange(20)).float().mean() > 0.7


def test_the_bundled_log_says_how_the_weights_were_made() -> None:
    log = json.loads((BUNDLED / "training.json").read_text())
    assert log["command"].startswith("qpert train-miniature open_clip")
    assert log["curve"][-1]["step"] == log["schedule"]["steps"] - 1
    assert 0 < log["held_out_t2i_recall_at_1"] < 1
