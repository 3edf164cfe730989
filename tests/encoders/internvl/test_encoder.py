"""InternVL-C and InternVL-G against the published code's outputs, and the encoder's other promises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from pipeline.encoders import InternVLConfig, InternVLEncoder, build_internvl
from pipeline.encoders.internvl import encoder as internvl
from pipeline.encoders.internvl.encoder import InternVLCEncoder
from pipeline.encoders.internvl.inputs import text_ids
from pipeline.encoders.internvl.sentence_pieces import SentencePieces
from pipeline.encoders.sites import perturbing
from pipeline.errors import QpertError
from pipeline.method.object_keys import pool_object_keys
from pipeline.method.objects import Objects
from pipeline.method.operator import object_operator
from pipeline.method.settings import Perturbation
from tests.encoders.internvl.tiny_internvl import SMALL, build, fill, some_pixels, write_words

CASES = json.loads(Path(__file__).with_name("internvl_published.json").read_text())["cases"]
"""Made by the published code, as the file describes."""
NAMES = [case["name"] for case in CASES]


def encoders(case: dict[str, Any]) -> dict[str, InternVLEncoder]:
    model = build(case["config"])
    return {"g": InternVLEncoder.from_model(model, "g"), "c": InternVLEncoder.from_model(model, "c")}


def objects_of(case: dict[str, Any], size: tuple[int, int] = (640, 480)) -> list[Objects]:
    return [Objects(boxes, [""] * len(boxes), [1] * len(boxes), size) if boxes else Objects.empty(size)
            for boxes in case["boxes"]]  # fmt: skip


def pixels_of(encoder: InternVLEncoder) -> Tensor:
    return some_pixels(encoder.grid.image_size)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_plain_embeddings_equal_the_published_ones(case: dict[str, Any]) -> None:
    for mode, encoder in encoders(case).items():
        tokens = encoder.backbone(pixels_of(encoder))
        assert tokens.shape == (3, encoder.grid.tokens, case["config"]["vision_config"]["hidden_size"])
        vectors = encoder.embed(tokens)
        assert vectors.shape == (3, 1, encoder.dim)
        assert vectors.dtype == torch.float32
        torch.testing.assert_close(vectors[:, 0], torch.tensor(case[mode]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_text_embeddings_equal_the_published_ones(case: dict[str, Any]) -> None:
    """One of the texts contains an unknown token, id 0, which the published code takes for padding."""
    encoder, ids = encoders(case)["c"], torch.tensor(case["input_ids"])
    torch.testing.assert_close(encoder.embed_text(input_ids=ids), torch.tensor(case["text"]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_perturbed_embeddings_equal_the_published_code_with_algorithm_1_1(case: dict[str, Any]) -> None:
    for setting in case["perturbed"]:
        names = ("weight", "threshold", "combine", "scale", "sites")
        perturbation = Perturbation(**{name: setting[name] for name in names if name in setting})
        for mode, encoder in encoders(case).items():
            if mode not in setting:
                continue
            tokens = encoder.backbone(pixels_of(encoder))
            vectors = encoder.embed(tokens, objects_of(case), perturbation)[:, 0]
            torch.testing.assert_close(vectors, torch.tensor(setting[mode]), atol=1e-4, rtol=0)
            assert (vectors[0] - torch.tensor(case[mode])[0]).abs().max() > 0.005  # the perturbation did something
            assert torch.equal(vectors[2:], encoder.embed(tokens)[2:, 0])  # the photo without objects


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, masks: list[Tensor], threshold: float, scale: float) -> Tensor:
    """Algorithm 1.1 of one photo in float64, head by head and object by object: queries [Q, W], keys [N, W]."""
    parts, size = [], q.shape[1] // heads
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        query, key, value = (x[:, part].double().numpy() for x in (q, k, v))
        extra = np.zeros_like(query)
        for mask in masks:
            mine = key[mask.numpy()]
            sigma, vectors = np.linalg.eigh(mine.T @ mine)
            sigma, vectors = sigma[::-1].clip(0), vectors[:, ::-1]
            keep = np.cumsum(sigma) / sigma.sum() <= threshold
            keep[0] = True
            basis = vectors[:, keep & (sigma > 1e-9 * sigma[0])]
            extra += scale * query @ basis @ basis.T
        scores = (query + extra) @ key.T / size**0.5
        weights = np.exp(scores - scores.max(1, keepdims=True))
        parts.append(torch.from_numpy(weights / weights.sum(1, keepdims=True) @ value))
    return torch.cat(parts, 1)


@pytest.mark.parametrize("threshold", [0.8, 0.9, 0.99])
def test_internvl_c_by_hand(threshold: float) -> None:
    """The pooling attention photo by photo, independent of the published code's numbers."""
    encoder = InternVLEncoder.from_model(build(), "c")
    block, objects = encoder.model.clip_projector, objects_of(CASES[0])
    attention = block.cross_attn
    tokens = encoder.backbone(some_pixels())
    grid = torch.arange(16).view(4, 4) + 1
    masks = [[grid[:2, :2].flatten(), grid[1:, 2].flatten()], [grid[:1, 1].flatten()], []]
    rows = []
    for photo, mine in zip(tokens, masks, strict=True):
        q = F.linear(block.norm1_q(photo.mean(0, keepdim=True)), attention.q.weight, attention.q_bias)
        k = F.linear(block.norm1_k(photo), attention.k.weight, attention.k_bias)
        v = F.linear(block.norm1_v(photo), attention.v.weight, attention.v_bias)
        attended = attend(q, k, v, 4, mine, threshold, 2.0)
        rows.append(attended @ attention.proj.weight.double().T + attention.proj.bias.double())
    expected = F.normalize(torch.cat(rows), dim=-1).float()
    vectors = encoder.embed(tokens, objects, Perturbation(scale=2, threshold=threshold))[:, 0]
    torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=0)


def test_sites() -> None:
    case = encoders(CASES[0])
    crossed = [f"qllama.model.layers.{layer}.cross_attn" for layer in (0, 2, 4, 6)]
    assert list(case["g"].sites()) == [*crossed, "clip_projector.cross_attn"]
    assert list(case["c"].sites()) == ["clip_projector.cross_attn"]
    with torch.device("meta"):
        published = InternVLEncoder.from_model(internvl.InternVL(InternVLConfig()))
    assert len(published.sites()) == 17
    assert list(published.sites())[15] == "qllama.model.layers.30.cross_attn"


def test_only_the_chosen_sites_are_perturbed() -> None:
    encoder = InternVLEncoder.from_model(build())
    tokens, objects = encoder.backbone(some_pixels()), objects_of(CASES[0])
    every = encoder.embed(tokens, objects, Perturbation(scale=4))
    by_number = encoder.embed(tokens, objects, Perturbation(scale=4, sites=(0, 1, 2, 3)))
    by_name = encoder.embed(tokens, objects, Perturbation(scale=4, sites=("qllama.*",)))
    last = encoder.embed(tokens, objects, Perturbation(scale=4, sites=(-1,)))
    pooled = InternVLEncoder.from_model(encoder.model, "c")
    c = pooled.embed(tokens, objects, Perturbation(scale=4))
    assert torch.equal(by_number, by_name)
    assert len({every.sum().item(), by_name.sum().item(), last.sum().item(), encoder.embed(tokens).sum().item()}) == 4
    # InternVL-G is the sum of two parts: the last site changes one of them, all others change the other.
    part = encoder.model.embed_queries(tokens)
    torch.testing.assert_close(last[:, 0], F.normalize(c[:, 0] + part, dim=-1))
    with pytest.raises(QpertError, match="no cross-attention 5"):
        encoder.embed(tokens, objects, Perturbation(sites=(5,)))


def test_without_objects_the_model_is_untouched() -> None:
    encoder = InternVLEncoder.from_model(build())
    tokens = encoder.backbone(some_pixels())
    plain = encoder.embed(tokens)
    nothing = [Objects.empty((10, 10))] * 3
    assert torch.equal(encoder.embed(tokens, nothing, Perturbation(scale=4)), plain)
    assert torch.equal(encoder.embed(tokens, objects_of(CASES[0]), None), plain)
    assert torch.equal(encoder.embed(tokens, objects_of(CASES[0]), Perturbation(stages=("itm",))), plain)
    with pytest.raises(QpertError, match="one Objects per photo"):
        encoder.embed(tokens, nothing[:2], Perturbation())


def test_texts_are_prompted_framed_and_padded_on_the_right(tmp_path: Path) -> None:
    write_words(tmp_path / "tokenizer.model")
    words = SentencePieces(tmp_path / "tokenizer.model")
    encoder = InternVLEncoder.from_model(build(), tokenizer=words)
    texts = ["a red dog", "two small boats on the left of the beach", "Ein Löwe </s>", "dog " * 100]
    ids = text_ids(words, texts)
    for row, text in zip(ids.tolist(), texts, strict=True):
        pieces = words.pieces.encode("summarize:" + text)
        assert row == [1, *pieces[:78], 2] + [0] * (ids.shape[1] - min(78, len(pieces)) - 2)
    assert ids.shape == (4, 80)
    assert ids[3, -1] == 2
    vectors = encoder.embed_text(texts)
    torch.testing.assert_close(vectors, encoder.embed_text(input_ids=ids))
    torch.testing.assert_close(vectors[:1], encoder.embed_text("a red dog"), atol=1e-6, rtol=0)  # padding has no effect
    assert encoder.embed_text([]).shape == (0, encoder.dim)


def test_an_attention_mask_replaces_the_padding_id() -> None:
    encoder = InternVLEncoder.from_model(build())
    ids = torch.tensor([[1, 5, 7, 2], [1, 9, 2, 0]])
    other = ids.masked_fill(ids == 0, 42)
    vectors = encoder.embed_text(input_ids=other, attention_mask=(ids > 0).long())
    torch.testing.assert_close(vectors, encoder.embed_text(input_ids=ids))
    with pytest.raises(QpertError, match="padded on the right"):
        encoder.embed_text(input_ids=torch.tensor([[0, 0, 1, 5, 2]]))


def test_texts_embed_the_same_in_a_batch_and_alone() -> None:
    encoder = InternVLEncoder.from_model(build())
    ids = torch.from_numpy(np.random.RandomState(3).randint(1, 100, (70, 5)))
    each = torch.cat([encoder.embed_text(input_ids=row[None]) for row in ids[60:]])
    torch.testing.assert_close(encoder.embed_text(input_ids=ids)[60:], each, atol=1e-5, rtol=0)


def test_photos_are_squashed_and_normalised_as_published() -> None:
    encoder = InternVLEncoder.from_model(build())
    image = Image.effect_noise((90, 40), 80).convert("L")
    pixels = encoder.preprocess(image)
    squashed = np.asarray(image.convert("RGB").resize((56, 56), Image.Resampling.BICUBIC), np.float64) / 255
    expected = (squashed - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(pixels.numpy(), expected.transpose(2, 0, 1), atol=1e-5)
    assert encoder.grid.mode == "squash"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_its_dtype_and_is_close(dtype: torch.dtype) -> None:
    """The subspace of half-precision keys is computed in float32."""
    exact = InternVLEncoder.from_model(build())
    half = InternVLEncoder.from_model(build().to(dtype))
    tokens = half.backbone(some_pixels())
    assert half.dtype == tokens.dtype == dtype
    setting = Perturbation(scale=1, threshold=0.99)
    vectors = half.embed(tokens, objects_of(CASES[0]), setting)
    assert vectors.dtype == torch.float32
    near = F.cosine_similarity(vectors, exact.embed(exact.backbone(some_pixels()), objects_of(CASES[0]), setting), -1)
    assert near.min() > 0.97
    ids = torch.tensor(CASES[0]["input_ids"])
    assert F.cosine_similarity(half.embed_text(input_ids=ids), exact.embed_text(input_ids=ids)).min() > 0.97


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_one_compiled_graph_for_any_photos() -> None:
    encoder = InternVLEncoder.from_model(build())
    tokens, objects = encoder.backbone(some_pixels()), objects_of(CASES[0])
    setting = Perturbation(scale=4)
    operators: dict[str, Tensor] = {}
    coverage = torch.zeros(3, 2, 17)
    for photo, boxed in enumerate(objects):
        for number, box in enumerate(boxed.boxes * 4):
            x0, y0, x1, y1 = box.round().int().tolist()
            coverage[photo, number, 1:].view(4, 4)[y0:y1, x0:x1] = 1
    areas = torch.tensor([[0.25, 0.1875], [0.0625, 0], [0, 0]])
    groups = pool_object_keys(coverage, areas, setting)

    def remember(name: str, keys: Tensor) -> Tensor:
        operators[name] = object_operator(keys, groups, setting)
        return operators[name]

    with torch.no_grad(), perturbing(encoder.sites(), remember):
        encoder.model.embed_g(tokens)
    compiled = torch.compile(encoder.model.embed_g, fullgraph=True, backend="eager")
    with torch.no_grad(), perturbing(encoder.sites(), operators):
        vectors = compiled(tokens)
    torch.testing.assert_close(vectors, encoder.embed(tokens, objects, setting)[:, 0], atol=1e-5, rtol=0)


def test_unknown_modes_and_models_are_refused() -> None:
    model = build()
    assert InternVLEncoder.from_model(model).mode == "g"
    assert InternVLCEncoder.from_model(model).mode == "c"
    assert InternVLCEncoder.from_model(model).name == "internvl-c"
    with pytest.raises(QpertError, match="unknown InternVL mode 'x'"):
        InternVLEncoder.from_model(model, "x")  # type: ignore[arg-type]
    with pytest.raises(QpertError, match="Linear is not the InternVL of this package"):
        InternVLEncoder.from_model(torch.nn.Linear(2, 2))  # type: ignore[arg-type]
    with pytest.raises(QpertError, match="no image-text matching"):
        InternVLEncoder.from_model(model).match(torch.zeros(1, 17, 64), ["a"])
    with pytest.raises(QpertError, match="without a tokenizer"):
        InternVLEncoder.from_model(model).embed_text(["a"])


def test_random_weights_are_finite_and_have_the_configured_size() -> None:
    model = build_internvl(InternVLConfig.from_dict(SMALL))
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert torch.isfinite(InternVLEncoder.from_model(model).embed(torch.randn(1, 17, 64))).all()
    assert fill(model.state_dict()).keys() == model.state_dict().keys()


def test_published_size() -> None:
    """13.835 billion parameters (section 4 of the notes on the released files)."""
    with torch.device("meta"):
        model = internvl.InternVL(InternVLConfig())
    assert round(sum(value.numel() for value in model.state_dict().values()) / 1e9, 3) == 13.835


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_qllama_lora": 16}, "merge them"),
        ({"attn_pool_num_heads": 5}, "not divisible by 5"),
        ({"force_image_size": 60}, "the image size = 60 is not divisible by 14"),
    ],
)
def test_invalid_configurations_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(QpertError, match=message):
        InternVLConfig.from_dict({**SMALL, **change})
