"""SigLIP: equal to transformers without objects, perturbed at its pooling head with them, plain and NaFlex."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from transformers import SiglipVisionModel

from pipeline.encoders.object_embeddings import object_embeddings
from pipeline.encoders.siglip2.config import Preprocessing
from pipeline.encoders.siglip2.encoder import SiglipEncoder
from pipeline.errors import QpertError
from pipeline.method.objects import Objects
from pipeline.method.settings import Perturbation
from tests.encoders.siglip2 import tiny_siglip
from tests.encoders.siglip2.tiny_siglip import MOST, PATCH, SIDE

SIZES = [(80, 60), (30, 90), (64, 64)]
BOXES = [[0.0, 0.0, 0.5, 0.4], [0.3, 0.3, 0.9, 1.0]]
BOTH = pytest.mark.parametrize("native", [False, True], ids=["fixed", "naflex"])


def images() -> list[Image.Image]:
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)) for width, height in SIZES]


def encoder_of(model: Any) -> SiglipEncoder:
    settings = Preprocessing(patch_size=PATCH, max_num_patches=MOST, resample=2)
    return SiglipEncoder.from_model(model, preprocessing=settings)


def photos() -> list[Objects]:
    return [
        Objects(BOXES, ["a", "b"], [1, 1], SIZES[0]),
        Objects(BOXES[:1], ["a"], [1], SIZES[1]),
        Objects.empty(SIZES[2]),
    ]


def stacked(encoder: SiglipEncoder, pictures: list[Image.Image]) -> torch.Tensor:
    return torch.stack([encoder.preprocess(picture) for picture in pictures])


@BOTH
@torch.no_grad()
def test_without_objects_embeddings_equal_transformers(native: bool) -> None:
    model, pictures = tiny_siglip.build(native), images()
    names = list(model.state_dict())
    want = model.get_image_features(**tiny_siglip.image_processor(native)(pictures, return_tensors="pt")).pooler_output
    encoder = encoder_of(model)
    pixels = stacked(encoder, pictures)
    assert pixels.shape == ((3, MOST, 3 * PATCH**2 + 2) if native else (3, 3, SIDE, SIDE))
    assert pixels.dtype == torch.float32
    tokens = encoder.backbone(pixels)
    assert tokens.shape == (3, encoder.grid.tokens, 24) == (3, MOST if native else 16, 24)
    got = encoder.embed(tokens)
    assert got.shape == (3, encoder.vectors, encoder.dim) == (3, 1, 24)
    torch.testing.assert_close(got[:, 0], F.normalize(want, dim=-1), atol=1e-5, rtol=0)
    again = model.get_image_features(**tiny_siglip.image_processor(native)(pictures, return_tensors="pt"))
    assert torch.equal(again.pooler_output, want)  # the model itself is unchanged
    assert list(model.state_dict()) == names
    for objects, perturbation in (
        (photos(), None),
        (None, Perturbation()),
        ([Objects.empty(size) for size in SIZES], Perturbation()),
        (photos(), Perturbation(stages=("itm",))),
    ):
        assert torch.equal(encoder.embed(tokens, objects, perturbation), got)
    torch.testing.assert_close(encoder.embed(tokens, photos(), Perturbation(scale=0.0)), got, atol=1e-6, rtol=0)


def by_hand(
    model: Any, tokens: torch.Tensor, shape: tuple[int, int], boxes: list[list[float]], artefact: int | None = None
) -> torch.Tensor:
    """Algorithm 1.1 in float64, head by head, for one photo whose `tokens` are not padded; scale 4, threshold 0.8.

    The token `artefact` is in no object's keys.
    """
    head = model.vision_model.head
    rows, columns = shape
    weights, biases = head.attention.in_proj_weight.chunk(3), head.attention.in_proj_bias.chunk(3)
    q, k, v = (
        (x.double() @ w.double().T + b.double()).unflatten(-1, (4, 6)).transpose(0, 1)
        for x, w, b in zip((head.probe[0], tokens, tokens), weights, biases, strict=True)
    )
    perturbed = q.clone()
    for x0, y0, x1, y1 in boxes:
        inside = [
            x0 * columns < column + 1 and column < x1 * columns and y0 * rows < row + 1 and row < y1 * rows
            for row in range(rows)
            for column in range(columns)
        ]
        if artefact is not None:
            inside[artefact] = False
        for number in range(4):
            _, sigma, basis = torch.linalg.svd(k[number][inside], full_matrices=False)
            count = max(1, int(((sigma**2).cumsum(0) / (sigma**2).sum() <= 0.8).sum()))
            perturbed[number] += 4 * q[number] @ basis[:count].T @ basis[:count]
    attended = ((perturbed @ k.mT / 6**0.5).softmax(-1) @ v).transpose(0, 1).flatten(1).float()
    pooled = head.attention.out_proj(attended)
    return F.normalize((pooled + head.mlp(head.layernorm(pooled)))[0], dim=-1)


@BOTH
@torch.no_grad()
def test_objects_perturb_the_pooling_head(native: bool) -> None:
    model = tiny_siglip.build(native)
    encoder, setting = encoder_of(model), Perturbation.one_component(scale=4, threshold=0.8)
    assert list(encoder.sites()) == ["vision_model.head.attention"]
    tokens = encoder.backbone(stacked(encoder, images()))
    plain, got = encoder.embed(tokens), encoder.embed(tokens, photos(), setting)
    torch.testing.assert_close(got[2], plain[2], atol=1e-6, rtol=0)  # no object
    shapes = [encoder.grid.shape(size) for size in SIZES]
    assert shapes == ([(4, 5), (6, 2), (4, 4)] if native else [(4, 4)] * 3)
    for row, boxes in ((0, BOXES), (1, BOXES[:1])):
        rows, columns = shapes[row]
        want = by_hand(model, tokens[row, : rows * columns], shapes[row], boxes)
        assert (got[row, 0] - plain[row, 0]).abs().max() > 1e-3
        torch.testing.assert_close(got[row, 0], want, atol=1e-5, rtol=0)


@BOTH
@torch.no_grad()
def test_artefacts_are_in_no_objects_keys(native: bool) -> None:
    model = tiny_siglip.build(native)
    encoder, setting = encoder_of(model), Perturbation(scale=4, threshold=0.8, artefacts="drop")
    tokens = encoder.backbone(stacked(encoder, images()))
    tokens[0, 1] *= 9  # inside the first box
    got = encoder.embed(tokens, photos(), setting)
    rows, columns = encoder.grid.shape(SIZES[0])
    want = by_hand(model, tokens[0, : rows * columns], (rows, columns), BOXES, artefact=1)
    torch.testing.assert_close(got[0, 0], want, atol=1e-5, rtol=0)
    kept = by_hand(model, tokens[0, : rows * columns], (rows, columns), BOXES)
    assert (want - kept).abs().max() > 1e-3


@torch.no_grad()
def test_padding_is_in_no_objects_keys_and_is_not_attended_to() -> None:
    """What it holds cannot matter, with objects or without; and a photo alone has the vector that it has in a batch."""
    encoder = encoder_of(tiny_siglip.build(native=True))
    tokens = encoder.backbone(stacked(encoder, images()))
    assert not tokens[1, 12:].any()  # 6 x 2 of 20
    assert tokens[0].all()
    setting = Perturbation.one_component(scale=4)
    for objects, perturbation in ((None, None), (photos(), setting)):
        together = encoder.embed(tokens, objects, perturbation)
        for row, size in enumerate(SIZES):
            rows, columns = encoder.grid.shape(size)
            part = None if objects is None else objects[row : row + 1]
            alone = encoder.embed(tokens[row : row + 1], part, perturbation)
            torch.testing.assert_close(alone, together[row : row + 1], atol=1e-6, rtol=0)
            if part is None:
                short = encoder.embed(tokens[row : row + 1, : rows * columns])
                torch.testing.assert_close(short, together[row : row + 1], atol=1e-6, rtol=0)
    site = encoder.sites()["vision_model.head.attention"]
    seen: list[Any] = []
    with encoder.perturbing(tokens, photos(), setting, "itc"):
        operator_of = site.operator
        site.operator = lambda keys: seen.append((keys, operator_of(keys))) or seen[-1][1]  # type: ignore[operator, misc]
        encoder.embed(tokens)
    ((keys, operator),) = seen
    changed = keys.clone()
    changed[1, :, 12:] = 99
    with encoder.perturbing(tokens, photos(), setting, "itc"):
        assert torch.equal(site.operator(changed), operator)  # type: ignore[operator]


@BOTH
@torch.no_grad()
def test_half_precision(native: bool) -> None:
    model, setting = tiny_siglip.build(native), Perturbation.one_component(scale=2)
    ids = torch.randint(5, 50, (2, 12))
    encoder = encoder_of(model)
    pixels = stacked(encoder, images())
    want, text = encoder.embed(encoder.backbone(pixels), photos(), setting), encoder.embed_text(input_ids=ids)
    for dtype in (torch.bfloat16, torch.float16):
        encoder = encoder_of(model.to(dtype))
        tokens = encoder.backbone(pixels)
        got = encoder.embed(tokens, photos(), setting)
        assert encoder.dtype == tokens.dtype == dtype
        assert got.dtype == torch.float32
        assert F.cosine_similarity(got, want, dim=-1).min() > 0.98
        assert F.cosine_similarity(encoder.embed_text(input_ids=ids), text, dim=-1).min() > 0.98


@BOTH
@torch.no_grad()
def test_embed_each_equals_embed(native: bool) -> None:
    encoder = encoder_of(tiny_siglip.build(native))
    tokens = encoder.backbone(stacked(encoder, images()))
    settings = [None, Perturbation(scale=2), Perturbation(scale=2, artefacts="drop"), Perturbation.released(scale=1)]
    for vectors, setting in zip(encoder.embed_each(tokens, photos(), settings), settings, strict=True):
        assert torch.equal(vectors, encoder.embed(tokens, photos(), setting))


@BOTH
@torch.no_grad()
def test_object_embeddings_see_each_photos_own_grid(native: bool) -> None:
    encoder = encoder_of(tiny_siglip.build(native))
    tokens = encoder.backbone(stacked(encoder, images()))
    got = object_embeddings(encoder, tokens, photos())
    assert [rows.shape for rows in got] == [(2, 1, 24), (1, 1, 24), (0, 1, 24)]
    for row in range(2):
        alone = object_embeddings(encoder, tokens[row : row + 1], photos()[row : row + 1])[0]
        torch.testing.assert_close(alone, got[row], atol=1e-6, rtol=0)


@BOTH
@torch.no_grad()
def test_texts_equal_transformers(native: bool) -> None:
    model = tiny_siglip.build(native)
    ids = torch.randint(5, 50, (3, 12))
    ids[1, 4:] = 0
    want = F.normalize(model.get_text_features(input_ids=ids).pooler_output, dim=-1)
    encoder = SiglipEncoder.from_model(model, preprocessing=Preprocessing(patch_size=PATCH))
    torch.testing.assert_close(encoder.embed_text(input_ids=ids), want, atol=1e-6, rtol=0)
    many = encoder.embed_text(input_ids=ids[:1].expand(300, -1))
    torch.testing.assert_close(many, want[:1].expand(300, -1), atol=1e-5, rtol=0)
    mask = (ids != 0).long()
    masked = F.normalize(model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output, dim=-1)
    assert (masked[1] - want[1]).abs().max() > 1e-3
    torch.testing.assert_close(encoder.embed_text(input_ids=ids, attention_mask=mask), masked, atol=1e-6, rtol=0)
    assert encoder.embed_text(input_ids=ids[:0]).shape == (0, 24)
    with pytest.raises(QpertError, match="without a tokenizer"):
        encoder.embed_text(["a dog"])


def test_models_that_do_not_fit_are_refused() -> None:
    with pytest.raises(QpertError, match="not transformers' SiglipModel"):
        SiglipEncoder.from_model(SiglipVisionModel(tiny_siglip.config(native=False).vision_config))
    headless = tiny_siglip.build(native=False)
    headless.vision_model.config.vision_use_head = False
    with pytest.raises(QpertError, match="no pooling head"):
        SiglipEncoder.from_model(headless)
    other = tiny_siglip.build(native=False)
    other.text_model.head = nn.Linear(24, 20)
    with pytest.raises(QpertError, match="texts have 20 numbers and its photos 24"):
        SiglipEncoder.from_model(other)
    with pytest.raises(QpertError, match="patches of 16 pixels, but this SigLIP takes 8"):
        SiglipEncoder.from_model(tiny_siglip.build(native=True), preprocessing=Preprocessing())
    larger = Preprocessing.of({"size": {"height": 64, "width": 64}}, "here")
    with pytest.raises(QpertError, match="resized to 64 x 64, but this SigLIP takes 32"):
        SiglipEncoder.from_model(tiny_siglip.build(native=False), preprocessing=larger)
