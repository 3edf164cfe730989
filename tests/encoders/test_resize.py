"""Encoders at another resolution: the libraries' own interpolation, and nothing changes at the model's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F

from pipeline.encoders import (
    Blip2Encoder,
    Encoder,
    InternVLEncoder,
    OpenClipEncoder,
    SiglipEncoder,
    encoder_spec,
    load_encoder,
)
from pipeline.encoders.positions import check_side, interpolate_positions
from pipeline.errors import QpertError
from pipeline.method.native_grid import NativeGrid
from pipeline.stages.probe_photos import probe_photos
from tests.encoders.blip2 import tiny_blip2
from tests.encoders.internvl import tiny_internvl
from tests.encoders.siglip2 import tiny_siglip

MINIATURES = Path(__file__).parents[2] / "pipeline" / "miniature"
IMAGES = [image for image, _ in probe_photos(2)]
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def embedded(encoder: Encoder) -> torch.Tensor:
    return encoder.embed(encoder.backbone(torch.stack([encoder.preprocess(image) for image in IMAGES])))


def tiny_clip() -> OpenClipEncoder:
    torch.manual_seed(0)
    vision = {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 8}
    text = {"context_length": 8, "vocab_size": 60, "width": 16, "heads": 2, "layers": 1}
    return OpenClipEncoder.from_model(open_clip.CLIP(embed_dim=16, vision_cfg=vision, text_cfg=text))


FAMILIES: dict[str, Callable[[], Encoder]] = {
    "coca": partial(load_encoder, "coca"),
    "open_clip of timm": partial(load_encoder, "open_clip"),
    "open_clip without attention pooling": tiny_clip,
    "blip2": lambda: Blip2Encoder.from_model(tiny_blip2.build()),
    "internvl": lambda: InternVLEncoder.from_model(tiny_internvl.build()),
    "siglip2": lambda: SiglipEncoder.from_model(tiny_siglip.build(False)),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_another_resolution_and_back(family: str) -> None:
    """Twice the size has four times the patches; at the model's own size, the very same numbers."""
    encoder = FAMILIES[family]()
    grid: Any = encoder.grid
    size, before = grid.image_size, embedded(encoder)
    encoder.resize(size)
    assert torch.equal(embedded(encoder), before)
    assert encoder.grid == grid
    encoder.resize(2 * size)
    assert encoder.preprocess(IMAGES[0]).shape == (3, 2 * size, 2 * size)
    pixels = torch.stack([encoder.preprocess(image) for image in IMAGES])
    tokens = encoder.backbone(pixels)
    assert tokens.shape[1] == encoder.grid.tokens == grid.prefix + 4 * grid.side**2
    after = encoder.embed(tokens)
    assert after.norm(dim=-1) == pytest.approx(torch.ones(after.shape[:2]), abs=1e-5)
    assert (after - before).abs().max() > 1e-3
    with pytest.raises(QpertError, match=f"{size + 1} is no multiple"):
        encoder.resize(size + 1)


def test_plain_coca_is_resized_as_by_open_clip() -> None:
    encoder = load_encoder("coca", image_size=208)
    model = _open_clips_coca(208)
    pixels = torch.stack([encoder.preprocess(image) for image in IMAGES])
    with torch.no_grad():
        want = F.normalize(model.encode_image(pixels), dim=-1)
    torch.testing.assert_close(encoder.embed(encoder.backbone(pixels))[:, 0], want, **CLOSE)


def _open_clips_coca(size: int) -> Any:
    """The miniature by open_clip's own classes; its loader interpolates."""
    from pipeline.encoders.open_clip.config import read_config
    from pipeline.encoders.open_clip.library import build

    config, _ = read_config(MINIATURES / "coca" / "open_clip_config.json")
    vision = config.vision_cfg.model_copy(update={"image_size": size})
    model = build(config.model_copy(update={"vision_cfg": vision})).eval()
    state = {
        name: value.float() for name, value in load_file(MINIATURES / "coca" / "open_clip_model.safetensors").items()
    }
    open_clip.model.resize_pos_embed(state, model)
    model.load_state_dict(state)
    return model


def test_open_clips_transformer_is_resized_as_by_its_loader() -> None:
    small = tiny_clip()
    state = {name: value.clone() for name, value in small.model.state_dict().items()}
    small.resize(48)
    vision = {"image_size": 48, "layers": 2, "width": 32, "patch_size": 8, "head_width": 8}
    text = {"context_length": 8, "vocab_size": 60, "width": 16, "heads": 2, "layers": 1}
    large = open_clip.CLIP(embed_dim=16, vision_cfg=vision, text_cfg=text).eval()
    open_clip.model.resize_pos_embed(state, large)
    large.load_state_dict(state)
    pixels = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        want = F.normalize(large.encode_image(pixels), dim=-1)
    torch.testing.assert_close(small.embed(small.backbone(pixels))[:, 0], want, **CLOSE)


def test_blip2_is_resized_as_by_transformers() -> None:
    encoder = Blip2Encoder.from_model(tiny_blip2.build())
    encoder.resize(84)
    pixels = torch.randn(2, 3, 84, 84)
    want = encoder.model.vision_model(pixels, interpolate_pos_encoding=True).last_hidden_state
    assert torch.equal(encoder.backbone(pixels), want)


def test_siglip_is_resized_as_by_transformers() -> None:
    encoder = SiglipEncoder.from_model(tiny_siglip.build(False))
    encoder.resize(48)
    pixels = torch.randn(2, 3, 48, 48)
    want = encoder.model.vision_model(pixels, interpolate_pos_encoding=True).pooler_output
    torch.testing.assert_close(encoder.embed(encoder.backbone(pixels))[:, 0], F.normalize(want, dim=-1), **CLOSE)


def test_naflex_takes_more_patches() -> None:
    encoder = SiglipEncoder.from_model(tiny_siglip.build(True))
    encoder.resize(64)
    assert encoder.grid == NativeGrid(8, 64)
    pixels = encoder.preprocess(Image.new("RGB", (90, 40)))
    assert pixels.shape == (64, 3 * 64 + 2)
    assert encoder.embed(encoder.backbone(pixels[None])).shape == (1, 1, 24)
    with pytest.raises(QpertError, match="60 is no multiple, 56 or 64 is"):
        encoder.resize(60)
    with pytest.raises(QpertError, match="more than 16,384"):
        encoder.resize(8 * 129)


def test_positions_are_those_of_the_corners_and_the_prefix_stays() -> None:
    """A linear field stays linear, so that every patch keeps its place in the photo."""
    grid = torch.stack(torch.meshgrid(torch.arange(8.0) + 0.5, torch.arange(8.0) + 0.5, indexing="ij"), -1)
    positions = torch.cat([torch.full((2, 2), 99.0), grid.flatten(0, 1)])
    assert interpolate_positions(positions, 8, 2, antialias=True) is positions
    larger = interpolate_positions(positions, 16, 2, antialias=False)
    assert torch.equal(larger[:2], positions[:2])
    inner = larger[2:].view(16, 16, 2)[4:12, 4:12]
    places = (torch.arange(4.0, 12.0) + 0.5) / 2
    want = torch.stack(torch.meshgrid(places, places, indexing="ij"), -1)
    torch.testing.assert_close(inner, want, atol=0.05, rtol=0)  # torch's cubic kernel bends a line by that much
    assert interpolate_positions(positions.bfloat16(), 4, 2, antialias=True).dtype == torch.bfloat16


def test_texts_are_not_affected() -> None:
    plain, large = load_encoder("coca"), load_encoder("coca", image_size=224)
    assert torch.equal(plain.embed_text(["a red star"]), large.embed_text(["a red star"]))


def test_sizes_are_known_before_loading() -> None:
    assert encoder_spec("coca", None, 224).tokens == 197
    assert encoder_spec("coca", None, 112) == encoder_spec("coca", None)
    assert encoder_spec("open_clip", "ViT-B-16-SigLIP2-256:webli", 512).tokens == 1024
    assert encoder_spec("internvl", "OpenGVLab/InternVL-14B-224px", 448).tokens == 1025
    assert encoder_spec("siglip2", "google/siglip2-base-patch16-naflex", 512).tokens == 1024
    native = encoder_spec("siglip2", "google/siglip2-so400m-patch14-384")
    assert encoder_spec("siglip2", "google/siglip2-so400m-patch14-384", 384) == native  # no multiple of 14, but its own


@pytest.mark.parametrize(
    ("name", "weights", "size"),
    [
        ("coca", None, 113),
        ("blip2", None, 100),
        ("internvl", None, 100),
        ("open_clip", None, 120),
        ("open_clip", "ViT-B-16-SigLIP2-256:webli", 500),
        ("siglip2", "google/siglip2-so400m-patch14-384", 512),
    ],
)
def test_sizes_that_do_not_fit_are_refused_before_loading(name: str, weights: str | None, size: int) -> None:
    with pytest.raises(QpertError, match="is no multiple"):
        encoder_spec(name, weights, size)


def test_encoders_that_cannot_are_named(tiny_encoder: Any) -> None:
    with pytest.raises(QpertError, match="blip2-lavis takes photos at its own resolution only"):
        encoder_spec("blip2-lavis", "model.pth", 448)
    with pytest.raises(QpertError, match="tiny takes photos at its own resolution only"):
        tiny_encoder().resize(16)
    resnet = open_clip.CLIP(
        embed_dim=16,
        vision_cfg={"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None, "head_width": 8},
        text_cfg={"context_length": 8, "vocab_size": 60, "width": 16, "heads": 2, "layers": 1},
    )
    with pytest.raises(QpertError, match=r"ModifiedResNet.* has no positions"):
        OpenClipEncoder.from_model(resnet).resize(128)


def test_a_size_below_a_patch() -> None:
    with pytest.raises(QpertError, match="8 is no multiple, 16 is"):
        check_side(8, 16, "x")


@pytest.mark.parametrize("size", [0, -16])
def test_the_size_that_is_proposed_is_one(size: int) -> None:
    with pytest.raises(QpertError, match=f"{size} is no multiple, 16 is"):
        check_side(size, 16, "It")
