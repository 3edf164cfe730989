"""Texts of models in SigLIP2's manner: cleaned, cut and padded as by open_clip, token for token."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from pipeline.encoders import load_encoder
from pipeline.encoders.open_clip import miniature_trunk

WORDS = ["<pad>", "<eos>", "<bos>", "<unk>", "a", "small", "red", "star", ",", "!"]
TEXTS = ["A small, RED star!", "star", "", "a  small__star " * 9, "étoile rouge"]
CONFIG = {
    "embed_dim": 160,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {"image_size": 112, "timm_model_name": miniature_trunk.NAME, "timm_pool": "map", "timm_proj": "none"},
    "text_cfg": {
        "context_length": 12, "vocab_size": 10, "width": 32, "heads": 2, "layers": 1, "no_causal_mask": True,
        "proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6}, "act_kwargs": {"approximate": "tanh"},
        "hf_tokenizer_name": "org/siglip", "tokenizer_kwargs": {"clean": "canonicalize"},
    },
}  # fmt: skip
"""As open_clip's ViT-B-16-SigLIP2-256, with other numbers."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    arguments = {name: value for name, value in CONFIG.items() if name != "custom_text"}
    model = open_clip.CustomTextCLIP(**arguments)
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    card = {"model_cfg": CONFIG, "preprocess_cfg": preprocess}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(card))
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "open_clip_model.safetensors")
    words = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing("$A <eos>", special_tokens=[("<eos>", 1)])
    words.save(str(tmp_path / "tokenizer.json"))
    special = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    kind = {"tokenizer_class": "PreTrainedTokenizerFast", "padding_side": "right", **special}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(kind))
    return tmp_path


@torch.no_grad()
def test_ids_and_vectors_are_those_of_open_clip(folder: Path) -> None:
    encoder = load_encoder("open_clip", weights=str(folder))
    ids = open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    assert torch.equal(encoder.tokenizer(TEXTS), ids)
    assert ids[0].tolist()[:5] == [4, 5, 6, 7, 1]  # lower case, without punctuation
    assert ids.shape == (5, 12)
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    want = model.encode_text(ids, normalize=True)
    torch.testing.assert_close(encoder.embed_text(TEXTS), want, atol=1e-5, rtol=0)
    pixels = torch.randn(2, 3, 112, 112)
    got = encoder.embed(encoder.backbone(pixels))[:, 0]
    torch.testing.assert_close(got, model.encode_image(pixels, normalize=True), atol=1e-5, rtol=0)
    reading = encoder.read_texts(TEXTS)
    assert reading is not None
    assert (reading.limit, list(reading.cut)) == (12, [False, False, False, True, False])


def test_a_tokenizer_beside_a_checkpoint_is_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "siglip-test.json").write_text(json.dumps(CONFIG))
    paths = [*open_clip.factory._MODEL_CONFIG_PATHS, folder / "siglip-test.json"]
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", paths)
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", dict(open_clip.factory._MODEL_CONFIGS))
    open_clip.factory._rescan_model_configs()
    from_file = load_encoder("open_clip", weights=f"siglip-test:{folder / 'open_clip_model.safetensors'}")
    from_folder = load_encoder("open_clip", weights=str(folder))
    assert torch.equal(from_file.embed_text(TEXTS), from_folder.embed_text(TEXTS))
