"""The plain CoCa: equal to open_clip's, to the last bit, and built only from what it can hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.encoders import encoder_spec, load_encoder, resolve_weights
from pipeline.encoders.open_clip.encoder import OpenClipEncoder
from pipeline.encoders.open_clip.plain_coca import PlainCoca
from pipeline.encoders.open_clip.plain_weights import load_plain_weights
from pipeline.encoders.open_clip.weights import load_weights
from pipeline.errors import QpertError
from pipeline.method.objects import Objects
from pipeline.method.settings import Perturbation
from tests.encoders.hostile import change_json

MINIATURE = resolve_weights("coca", None)
bit_for_bit = pytest.mark.skipif(open_clip.__version__ >= "4", reason="open_clip 4's attention rounds otherwise")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MINIATURE, tmp_path / "coca"))


@bit_for_bit
def test_the_miniature_equals_open_clips_to_the_last_bit() -> None:
    plain = load_encoder("coca")
    model, tokenizer = load_weights(MINIATURE)
    whole = OpenClipEncoder.from_model(model, tokenizer)
    assert isinstance(plain, OpenClipEncoder)
    assert isinstance(plain.model, PlainCoca)
    assert isinstance(whole.model, open_clip.CoCa)
    assert (plain.grid, plain.dim, plain.dtype, list(plain.sites())) == (
        whole.grid, whole.dim, whole.dtype, list(whole.sites()),
    )  # fmt: skip
    pixels = torch.randn(3, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    boxes = Objects(torch.tensor([[0.1, 0.2, 0.5, 0.6], [0.3, 0.3, 0.9, 1.0]]), ["a", "b"], [1, 1], (60, 40))
    objects = [boxes, Objects.empty((40, 60)), boxes]
    tokens = plain.backbone(pixels)
    assert torch.equal(tokens, whole.backbone(pixels))
    for setting in (None, Perturbation.paper(), Perturbation.released()):
        assert torch.equal(plain.embed(tokens, objects, setting), whole.embed(tokens, objects, setting))
    texts = ["a red star", "", "zebra", "the red star " * 30]
    assert torch.equal(plain.embed_text(texts), whole.embed_text(texts))


@bit_for_bit
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_equals_open_clips(dtype: torch.dtype) -> None:
    plain = OpenClipEncoder.load(MINIATURE, torch.device("cpu"), dtype)
    model, tokenizer = load_weights(MINIATURE)
    whole = OpenClipEncoder.from_model(model.to(dtype), tokenizer)
    pixels = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    assert torch.equal(plain.backbone(pixels), whole.backbone(pixels))
    assert torch.equal(plain.embed(plain.backbone(pixels)), whole.embed(whole.backbone(pixels)))
    assert torch.equal(plain.embed_text(["a red star"]), whole.embed_text(["a red star"]))


@pytest.mark.parametrize(
    ("tower", "values"),
    [
        ("vision_cfg", {"ls_init_value": 0.1}),
        ("vision_cfg", {"pool_type": "avg"}),
        ("vision_cfg", {"attentional_pool": "parallel"}),
        ("text_cfg", {"embed_cls": True}),
        ("text_cfg", {"pool_type": "last"}),
        ("text_cfg", {"qk_norm": True}),
    ],
)
def test_other_configurations_are_left_to_open_clip(folder: Path, tower: str, values: dict[str, Any]) -> None:
    assert load_plain_weights(str(folder)) is not None
    change_json(folder / "open_clip_config.json", lambda content: content["model_cfg"][tower].update(values))
    assert load_plain_weights(str(folder)) is None


def test_weights_that_do_not_fit_are_left_to_open_clip_which_says_so(folder: Path) -> None:
    path = folder / "open_clip_model.safetensors"
    weights = load_file(path)
    weights.pop("visual.ln_post.weight")
    save_file(weights, path)
    assert load_plain_weights(str(folder)) is None
    with pytest.raises(QpertError, match=r"does not hold a model of open_clip.*"):
        load_encoder("coca", weights=str(folder))


def test_a_configuration_of_a_huge_tower_takes_no_memory(folder: Path) -> None:
    huge = {"attn_pooler_queries": 2**20}
    change_json(folder / "open_clip_config.json", lambda content: content["model_cfg"]["vision_cfg"].update(huge))
    assert load_plain_weights(str(folder)) is None


def test_photos_are_prepared_as_the_folder_says(folder: Path) -> None:
    change_json(folder / "open_clip_config.json", lambda content: content.update(preprocess_cfg={"mean": [0.5] * 3}))
    plain = load_plain_weights(str(folder))
    assert plain is not None
    change_json(folder / "open_clip_config.json", lambda content: content.update(preprocess_cfg={"size": 112}))
    assert load_plain_weights(str(folder)) is None
    assert json.loads((folder / "open_clip_config.json").read_text())["preprocess_cfg"] == {"size": 112}


def test_the_spec_counts_the_weights_that_are_loaded() -> None:
    model = load_encoder("coca").model  # type: ignore[attr-defined]
    spec = encoder_spec("coca", None)
    assert spec.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (spec.tokens, spec.width, spec.vectors, spec.dim) == (50, 160, 1, 128)
