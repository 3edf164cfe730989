"""The miniature in the manner of SigLIP2: its model card and its folder. Its tokenizer is the miniature CoCa's."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.transform import PreprocessCfg
from safetensors.torch import save_file

from pipeline.encoders.open_clip.miniature_trunk import IMAGE_SIZE, NAME, PATCH
from pipeline.method.objects import TokenGrid
from pipeline.miniature.coca_model import MODEL as COCA
from pipeline.miniature.coca_model import build_tokenizer

MODEL: dict[str, Any] = {
    "embed_dim": 128,
    "init_logit_scale": math.log(20),
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {
        "image_size": IMAGE_SIZE,
        "timm_model_name": NAME,
        "timm_model_pretrained": False,
        "timm_pool": "map",
        "timm_proj": None,
    },
    "text_cfg": {name: value for name, value in COCA["text_cfg"].items() if name != "output_tokens"},
}
"""A model card like open_clip's own: attention pooling with one latent query, and a sigmoid loss with its bias.

Temperature and bias begin near where they end, since some hundred steps would not carry them far.
"""
GRID = TokenGrid(IMAGE_SIZE, PATCH, "squash", prefix=0)
PREPROCESS = PreprocessCfg(
    size=IMAGE_SIZE, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interpolation="bicubic", resize_mode="squash"
)


def build() -> open_clip.CustomTextCLIP:
    """The model with fresh weights."""
    return open_clip.CustomTextCLIP(**{name: value for name, value in MODEL.items() if name != "custom_text"})


def start_from_coca(model: open_clip.CustomTextCLIP, coca: open_clip.CoCa) -> None:
    """Copy what fits of the miniature CoCa: its text tower, and its vision tower up to the attention pooler."""
    text = {name: value for name, value in coca.text.state_dict().items() if name in model.text.state_dict()}
    model.text.load_state_dict(text)
    tower, trunk = coca.visual, model.visual.trunk
    with torch.no_grad():
        # CoCa's pixels have CLIP's mean and deviation.
        clip = PreprocessCfg()
        deviations = torch.tensor(PREPROCESS.std) / torch.tensor(clip.std)
        trunk.patch_embed.proj.weight.copy_(tower.conv1.weight * deviations.view(1, 3, 1, 1))
        means = (torch.tensor(PREPROCESS.mean) - torch.tensor(clip.mean)) / torch.tensor(clip.std)
        shift = (tower.conv1.weight * means.view(1, 3, 1, 1)).sum((1, 2, 3))
        trunk.pos_embed.copy_(tower.positional_embedding[1:] + shift)
        trunk.norm_pre.load_state_dict(tower.ln_pre.state_dict())
        trunk.norm.load_state_dict(tower.attn_pool.ln_k.state_dict())
    for block, source in zip(trunk.blocks, tower.transformer.resblocks, strict=True):
        block.norm1.load_state_dict(source.ln_1.state_dict())
        block.norm2.load_state_dict(source.ln_2.state_dict())
        attention = source.attn.state_dict()
        block.attn.qkv.load_state_dict({"weight": attention["in_proj_weight"], "bias": attention["in_proj_bias"]})
        block.attn.proj.load_state_dict(source.attn.out_proj.state_dict())
        block.mlp.fc1.load_state_dict(source.mlp.c_fc.state_dict())
        block.mlp.fc2.load_state_dict(source.mlp.c_proj.state_dict())


def save(model: open_clip.CustomTextCLIP, out: Path) -> None:
    """Write the folder that `load_encoder("open_clip", weights=out)` opens; half-precision weights."""
    state = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(state, out / "open_clip_model.safetensors")
    build_tokenizer().save(str(out / "tokenizer.json"))
    names = ("mean", "std", "interpolation", "resize_mode")
    preprocessing = {name: getattr(PREPROCESS, name) for name in names}
    (out / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": MODEL, "preprocess_cfg": preprocessing}, indent=1)
    )
