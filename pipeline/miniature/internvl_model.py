"""The miniature InternVL-G: its sizes, its tokenizer, its vision tower from the miniature CoCa, and its folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from pipeline.encoders.internvl.config import InternVLConfig, QLlamaConfig, VisionConfig
from pipeline.encoders.internvl.inputs import IMAGENET_MEAN, IMAGENET_STD
from pipeline.encoders.internvl.intern_vit import InternViT
from pipeline.encoders.internvl.llama import RMSNorm
from pipeline.encoders.internvl.model import InternVL
from pipeline.encoders.internvl.text_inputs import PROMPT
from pipeline.method.objects import TokenGrid
from pipeline.miniature import coca_model
from pipeline.miniature.tower_transfer import embeddings_without_norm
from pipeline.miniature.word_tokenizer import CAPTION_WORDS, build_word_tokenizer, save_for_transformers

CONTEXT = 44
"""Tokens of a caption, including begin, end and prompt; the longest caption has 36 words."""
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
"""LLaMA's, with padding as id 0, by which InternVL recognises it."""
WORDS = (*SPECIAL, "summarize", ":", *CAPTION_WORDS)
_TOWER = coca_model.MODEL["vision_cfg"]
CONFIG = InternVLConfig(
    VisionConfig(
        hidden_size=_TOWER["width"],
        num_hidden_layers=_TOWER["layers"],
        num_attention_heads=_TOWER["width"] // _TOWER["head_width"],
        intermediate_size=4 * _TOWER["width"],
        image_size=coca_model.IMAGE_SIZE,
        patch_size=_TOWER["patch_size"],
    ),
    QLlamaConfig(
        hidden_size=128, num_hidden_layers=4, num_attention_heads=4, intermediate_size=320, vocab_size=len(WORDS)
    ),
    clip_embed_dim=128,
    attn_pool_num_heads=4,
    num_query_token=16,
)
"""The published classes, only small: two cross-attentions of 4 heads x 32 and the pooling attention of 4 heads x 40."""
GRID = TokenGrid(CONFIG.image_size, CONFIG.vision_config.patch_size, "squash")


def build_tokenizer(prompted: bool = False) -> Tokenizer:
    """One id for each word of the captions; sequences are framed by `<s>` and `</s>`.

    Args:
        prompted: put InternVL's prompt before each caption, as the encoder does.
    """
    prompt = PROMPT if prompted else ""
    return build_word_tokenizer(WORDS, CONTEXT, pad="<pad>", begin="<s>", end="</s>", unknown="<unk>", prompt=prompt)


@torch.no_grad()
def take_vision(vision: InternViT, coca: open_clip.CoCa, pixels: Tensor) -> None:
    """Copy a CoCa's vision tower as far as the two agree; some training has to follow.

    CoCa's LayerNorms become RMSNorms: the output of each block is centred, so that there is no mean to subtract, and
    their biases move into the layers that follow. Queries and keys lose their biases, and InternViT's RMSNorm keeps
    only their mean length over `pixels`.

    Args:
        vision: a tower of CoCa's sizes.
        coca: the trained model.
        pixels: [B, 3, S, S], preprocessed for InternVL.
    """
    tower, embeddings = coca.visual, vision.embeddings
    bias = embeddings.patch_embedding.bias
    assert bias is not None
    statistics = (IMAGENET_MEAN, IMAGENET_STD, OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)
    mean, std, clip_mean, clip_std = (torch.tensor(values).view(1, 3, 1, 1) for values in statistics)
    start = embeddings_without_norm(tower, (pixels * std + mean - clip_mean) / clip_std)
    embeddings.patch_embedding.weight.copy_(start.patches * std / clip_std)
    bias.copy_((start.patches * (mean - clip_mean) / clip_std).sum((1, 2, 3)))
    embeddings.class_embedding.copy_(start.cls[None, None])
    embeddings.position_embedding.copy_(start.positions[None])
    layers: list[Any] = list(vision.encoder.layers)
    for layer, block in zip(layers, tower.transformer.resblocks, strict=True):
        qkv, qkv_bias = block.attn.in_proj_weight, block.attn.in_proj_bias
        values = block.attn.out_proj.weight @ (qkv @ block.ln_1.bias + qkv_bias).chunk(3)[2]
        layer.attn.qkv.weight.copy_(qkv)
        layer.attn.proj.weight.copy_(_centred(block.attn.out_proj.weight))
        layer.attn.proj.bias.copy_(_centred(block.attn.out_proj.bias + values))
        layer.mlp.fc1.weight.copy_(block.mlp.c_fc.weight)
        layer.mlp.fc1.bias.copy_(block.mlp.c_fc.bias + block.mlp.c_fc.weight @ block.ln_2.bias)
        layer.mlp.fc2.weight.copy_(_centred(block.mlp.c_proj.weight))
        layer.mlp.fc2.bias.copy_(_centred(block.mlp.c_proj.bias))
        layer.norm1.weight.copy_(block.ln_1.weight)
        layer.norm2.weight.copy_(block.ln_2.weight)
        for scale in (layer.ls1, layer.ls2):
            scale.fill_(1.0)
    hooks = [
        norm.register_forward_pre_hook(_keep_length)
        for layer in layers
        for norm in (layer.attn.q_norm, layer.attn.k_norm)
    ]
    vision(pixels)
    for hook in hooks:
        hook.remove()


def _centred(weight: Tensor) -> Tensor:
    return weight - weight.mean(0, keepdim=True)


def _keep_length(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    assert isinstance(norm, RMSNorm)
    nn.init.constant_(norm.weight, float(inputs[0].square().mean(-1).sqrt().mean()))


def save(model: InternVL, out: Path) -> None:
    """Write the folder that `load_encoder("internvl", weights=out)` opens; half-precision weights."""
    out.mkdir(parents=True, exist_ok=True)
    halves = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(halves, out / "model.safetensors", {"format": "pt"})
    (out / "config.json").write_text(json.dumps({"model_type": "internvl", **asdict(model.config)}, indent=1) + "\n")
    names = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), SPECIAL, strict=True))
    save_for_transformers(build_tokenizer(), out, CONTEXT, names)
