"""CoCa: equal to open_clip without objects, perturbed at its pooler with them, and its weights found or refused."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from torch.nn import functional as F

from pipeline.encoders import list_encoders, load_encoder
from pipeline.encoders.open_clip.encoder import OpenClipEncoder
from pipeline.encoders.sites import Site
from pipeline.errors import QpertError
from pipeline.method.objects import Objects
from pipeline.method.settings import Perturbation

TINY = {
    "embed_dim": 24,
    "vision_cfg": {
        "image_size": 32, "patch_size": 8, "width": 36, "layers": 2, "head_width": 12, "attentional_pool": True,
        "attn_pooler_queries": 5, "attn_pooler_heads": 4, "output_tokens": True,
    },
    "text_cfg": {
        "context_length": 10, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1, "embed_cls": True,
        "output_tokens": True,
    },
    "multimodal_cfg": {"context_length": 10, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1},
}  # fmt: skip
WORDS = ["[PAD]", "[UNK]", "a", "small", "red", "star"]


@pytest.fixture
def model() -> open_clip.CoCa:
    torch.manual_seed(0)
    made = open_clip.CoCa(**TINY).eval()
    nn.init.normal_(made.visual.attn_pool.attn.in_proj_bias)
    return made


@pytest.fixture
def folder(model: open_clip.CoCa, tmp_path: Path) -> Path:
    """A CoCa in the miniature's format."""
    config = {"model_cfg": TINY, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    save_file(
        {k: v.half().contiguous() for k, v in model.state_dict().items()}, tmp_path / "open_clip_model.safetensors"
    )
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def photos() -> list[Objects]:
    return [
        Objects(torch.tensor([[0.1, 0.2, 0.4, 0.5], [0.3, 0.3, 0.9, 1.0]]), ["a", "b"], [1, 1], (60, 40)),
        Objects.empty((40, 60)),
        Objects(torch.tensor([[0.0, 0.0, 0.1, 1.0]]), ["outside the crop"], [1], (80, 40)),
    ]


@torch.no_grad()
def test_without_objects_embeddings_equal_open_clip(model: open_clip.CoCa) -> None:
    pixels, names = torch.randn(3, 3, 32, 32), list(model.state_dict())
    want = model.encode_image(pixels)
    encoder = OpenClipEncoder.from_model(model)
    tokens = encoder.backbone(pixels)
    assert tokens.shape == (3, encoder.grid.tokens, 36) == (3, 17, 36)
    got = encoder.embed(tokens)
    assert got.shape == (3, encoder.vectors, encoder.dim) == (3, 1, 24)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got[:, 0], want, atol=1e-5, rtol=0)
    torch.testing.assert_close(model.encode_image(pixels), want, atol=1e-6, rtol=0)
    assert list(model.state_dict()) == names
    for objects, perturbation in (
        (photos(), None),
        (None, Perturbation()),
        ([Objects.empty((9, 9))] * 3, Perturbation()),
        (photos(), Perturbation(scale=0.0)),
        (photos(), Perturbation(stages=("itm",))),
    ):
        assert torch.equal(encoder.embed(tokens, objects, perturbation), got)


@torch.no_grad()
def test_objects_perturb_the_pooler(model: open_clip.CoCa) -> None:
    encoder, p = OpenClipEncoder.from_model(model), Perturbation.one_component(scale=4, threshold=0.8)
    assert list(encoder.sites()) == ["visual.attn_pool.attn"]
    tokens = encoder.backbone(torch.randn(3, 3, 32, 32))
    plain, got = encoder.embed(tokens), encoder.embed(tokens, photos(), p)
    assert torch.equal(got[1:], plain[1:])  # no object, and none that the crop leaves
    assert (got[0] - plain[0]).abs().max() > 1e-3

    # By hand for the first photo: 60 x 40 becomes 48 x 32, and 8 pixels are cut off left and right. The boxes touch
    # patches of rows 0-1 and columns 0-1, and of rows 1-3 and all columns.
    visual, pool, attn = model.visual, model.visual.attn_pool, model.visual.attn_pool.attn
    memory, query = pool.ln_k(tokens[0]), pool.ln_q(pool.query)
    weights = attn.q_proj_weight, attn.k_proj_weight, attn.v_proj_weight
    q, k, v = (
        (x @ w.T + b).unflatten(-1, (4, 6)).transpose(0, 1).double()
        for x, w, b in zip((query, memory, memory), weights, attn.in_proj_bias.chunk(3), strict=True)
    )
    spatial, perturbed = k[:, 1:].unflatten(1, (4, 4)), q.clone()
    for keys in (spatial[:, 0:2, 0:2], spatial[:, 1:4, 0:4]):
        for head in range(4):
            _, sigma, basis = torch.linalg.svd(keys[head].flatten(0, 1), full_matrices=False)
            count = max(1, int(((sigma**2).cumsum(0) / (sigma**2).sum() <= 0.8).sum()))
            perturbed[head] += 4 * q[head] @ basis[:count].T @ basis[:count]
    attended = ((perturbed @ k.mT / 6**0.5).softmax(-1) @ v).transpose(0, 1).flatten(1).float()
    want = visual.ln_post(attn.out_proj(attended))[0] @ visual.proj
    torch.testing.assert_close(got[0, 0], F.normalize(want, dim=-1), atol=1e-4, rtol=0)


def test_half_precision(model: open_clip.CoCa) -> None:
    pixels, p = torch.randn(3, 3, 32, 32), Perturbation.one_component(scale=2)
    encoder = OpenClipEncoder.from_model(model)
    ids = torch.randint(4, 50, (2, 10))
    want = encoder.embed(encoder.backbone(pixels), photos(), p)
    text = encoder.embed_text(input_ids=ids)
    for dtype in (torch.bfloat16, torch.float16):
        encoder = OpenClipEncoder.from_model(model.to(dtype))
        got = encoder.embed(encoder.backbone(pixels), photos(), p)
        assert encoder.dtype == dtype
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.norm(dim=-1), torch.ones(3, 1))
        assert F.cosine_similarity(got, want, dim=-1).min() > 0.99
        assert F.cosine_similarity(encoder.embed_text(input_ids=ids), text, dim=-1).min() > 0.99


@pytest.mark.parametrize("mode", ["shortest", "squash"])
def test_preprocessing_equals_open_clip(model: open_clip.CoCa, mode: str) -> None:
    cfg = PreprocessCfg(size=32, resize_mode=mode, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    open_clip.set_model_preprocess_cfg(model, vars(cfg))
    encoder = OpenClipEncoder.from_model(model, image_size=32)
    assert encoder.grid.mode == ("squash" if mode == "squash" else "center_crop")
    assert (encoder.grid.image_size, encoder.grid.patch, encoder.grid.side) == (32, 8, 4)
    photo = Image.effect_noise((70, 45), 80).convert("RGB")
    got = encoder.preprocess(photo)
    assert got.dtype == torch.float32
    assert torch.equal(got, image_transform_v2(cfg, is_train=False)(photo))


def test_photos_of_extreme_shape_are_cropped_before_resizing(model: open_clip.CoCa) -> None:
    encoder = OpenClipEncoder.from_model(model)
    for size in ((1, 1999), (2000, 1), (2, 1500)):
        photo = Image.effect_noise(size, 90).convert("RGB")
        transform = image_transform_v2(PreprocessCfg(size=32), is_train=False)
        assert torch.allclose(encoder.preprocess(photo), transform(photo), atol=1e-5)
    assert encoder.preprocess(Image.new("RGB", (1, 200_000))).shape == (3, 32, 32)  # 20 GB otherwise


def test_text(model: open_clip.CoCa) -> None:
    ids = torch.tensor([[2, 3, 4, 5, 0, 0, 0, 0, 0, 0], [5, 4, 3, 2, 2, 3, 4, 5, 2, 3]])
    encoder = OpenClipEncoder.from_model(model, tokenizer=lambda texts: ids[: len(texts)])
    with torch.no_grad():
        want = model.encode_text(ids)
    torch.testing.assert_close(encoder.embed_text(["one", "two"]), want, atol=1e-6, rtol=0)
    torch.testing.assert_close(encoder.embed_text("one"), want[:1], atol=1e-6, rtol=0)  # type: ignore[arg-type]
    torch.testing.assert_close(encoder.embed_text(input_ids=ids), want, atol=1e-6, rtol=0)
    dirty, mask = ids.clone(), (ids != 0).long()
    dirty[ids == 0] = 7
    torch.testing.assert_close(encoder.embed_text(input_ids=dirty, attention_mask=mask), want, atol=1e-6, rtol=0)
    many = encoder.embed_text(input_ids=ids[:1].expand(300, -1))
    torch.testing.assert_close(many, want[:1].expand(300, -1), atol=1e-5, rtol=0)
    with pytest.raises(QpertError, match="either texts or input_ids"):
        encoder.embed_text()
    with pytest.raises(QpertError, match="without a tokenizer"):
        OpenClipEncoder.from_model(model).embed_text(["one"])


def test_objects_must_match_the_batch(model: open_clip.CoCa) -> None:
    encoder = OpenClipEncoder.from_model(model)
    with pytest.raises(QpertError, match="3 for 2 photos"):
        encoder.embed(torch.randn(2, 17, 36), photos(), Perturbation())


def test_unsupported_models_are_refused(model: open_clip.CoCa) -> None:
    with pytest.raises(QpertError, match="not an open_clip model"):
        OpenClipEncoder.from_model(nn.Linear(2, 2))
    with pytest.raises(QpertError, match="images of 32 pixels, not 64"):
        OpenClipEncoder.from_model(model, image_size=64)
    open_clip.set_model_preprocess_cfg(model, vars(PreprocessCfg(size=32, resize_mode="longest")))
    with pytest.raises(QpertError, match="longest"):
        OpenClipEncoder.from_model(model)
    vision = {**TINY["vision_cfg"], "attentional_pool": "parallel"}  # type: ignore[dict-item]
    with pytest.raises(QpertError, match="second pooler"):
        OpenClipEncoder.from_model(open_clip.CoCa(**{**TINY, "vision_cfg": vision}))


def test_load_a_folder(model: open_clip.CoCa, folder: Path) -> None:
    encoder = load_encoder("coca", weights=str(folder))
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        want = model.half().float().encode_image(pixels)
    torch.testing.assert_close(encoder.embed(encoder.backbone(pixels))[:, 0], want, atol=1e-5, rtol=0)
    assert encoder.preprocess(Image.new("RGB", (32, 32), (255, 255, 255))).max().item() == pytest.approx(0.5 / 0.2)
    ids = torch.tensor([[2, 3, 4, 5, 0, 0, 0, 0, 0, 0], [1, 5] + [5] * 8])  # cut at ten tokens, filled with 0
    texts = ["a small red star", "unheard" + " star" * 20]
    assert torch.equal(encoder.embed_text(texts), encoder.embed_text(input_ids=ids))
    assert load_encoder("coca", weights=str(folder), dtype="bfloat16").dtype == torch.bfloat16
    assert isinstance(encoder.sites()["visual.attn_pool.attn"], Site)


def test_broken_folders_are_refused(folder: Path) -> None:
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["width"] = 48
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(QpertError, match="does not hold a model of open_clip"):
        load_encoder("coca", weights=str(folder))
    (folder / "open_clip_config.json").write_text("{}")
    with pytest.raises(QpertError, match="does not hold a model of open_clip"):
        load_encoder("coca", weights=str(folder))
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(QpertError, match=r"has no open_clip_model\.safetensors"):
        load_encoder("coca", weights=str(folder))


def test_load_a_checkpoint_by_path(model: open_clip.CoCa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = tmp_path / "coca_tiny-test.json"
    card.write_text(json.dumps({**TINY, "custom_text": True}))
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [*open_clip.factory._MODEL_CONFIG_PATHS, card])
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", dict(open_clip.factory._MODEL_CONFIGS))
    open_clip.factory._rescan_model_configs()
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        want = model.encode_image(pixels)
    for name, content in (("plain.bin", model.state_dict()), ("wrapped.pt", {"state_dict": model.state_dict()})):
        torch.save(content, tmp_path / name)
        encoder = load_encoder("coca", weights=f"coca_tiny-test:{tmp_path / name}")
        torch.testing.assert_close(encoder.embed(encoder.backbone(pixels))[:, 0], want, atol=1e-5, rtol=0)
    torch.save(model, tmp_path / "module.bin")  # a pickled module: opening it would run its code
    with pytest.raises(QpertError, match="could run code"):
        load_encoder("coca", weights=f"coca_tiny-test:{tmp_path / 'module.bin'}")
    (tmp_path / "torn.bin").write_bytes((tmp_path / "plain.bin").read_bytes()[:5000])
    with pytest.raises(QpertError, match="could not be loaded"):
        load_encoder("coca", weights=f"coca_tiny-test:{tmp_path / 'torn.bin'}")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("coca_ViT-Z-99:laion", "unknown open_clip weights .*coca_ViT-L-14"),
        ("coca_ViT-L-14", "model:tag.*its tags are: laion2b_s13b_b90k"),
        ("ViT-B-16-SigLIP2-256:web", "its tags are: webli"),
        ("coca_ViT-L-14:laion3b", "its tags are: laion2b_s13b_b90k"),
        ("coca_ViT-L-14:/no/such/file.bin", "no such file"),
        ("/no/such/folder", "unknown open_clip weights"),
    ],
)
def test_unknown_weights_are_refused(weights: str, message: str) -> None:
    with pytest.raises(QpertError, match=message):
        load_encoder("coca", weights=weights)


def test_an_unreachable_hub_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("we are offline")

    monkeypatch.setattr(open_clip.factory, "download_pretrained_from_hf", offline)
    monkeypatch.setattr(open_clip.factory, "download_pretrained", offline)
    for weights in ("hf-hub:org/name", "coca_ViT-B-32:laion2b_s13b_b90k"):
        with pytest.raises(QpertError, match=r"offline.*Without a network"):
            load_encoder("coca", weights=weights)


def test_registry() -> None:
    assert "coca" in list_encoders()
    with pytest.raises(QpertError, match=r"choose one of: .*coca"):
        load_encoder("clip")
    with pytest.raises(QpertError, match="float32, float16, bfloat16"):
        load_encoder("coca", dtype="int8")
    with pytest.raises(QpertError, match="device 'abacus'"):
        load_encoder("coca", device="abacus")


def test_the_bundled_miniature() -> None:
    encoder = load_encoder("coca")
    photo = Image.new("RGB", (120, 90), (200, 180, 90))
    tokens = encoder.backbone(torch.stack([encoder.preprocess(photo)] * 2))
    objects = [Objects(torch.tensor([[0.4, 0.4, 0.6, 0.6]]), ["x"], [1], photo.size), Objects.empty(photo.size)]
    got, plain = encoder.embed(tokens, objects, Perturbation.one_component()), encoder.embed(tokens)
    assert tokens.shape[1] == encoder.grid.tokens
    assert got.shape == (2, 1, encoder.dim)
    assert torch.equal(got[1], plain[1])
    assert not torch.allclose(got[0], plain[0], atol=1e-4)
    texts = encoder.embed_text(["a small red star", "a large blue circle"])
    assert texts.shape == (2, encoder.dim)
    assert (texts[0] @ texts[1]).item() < 0.99
