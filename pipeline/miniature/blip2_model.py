"""The miniature BLIP-2: its sizes, its tokenizer, its vision tower from the miniature CoCa, and its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import Blip2Config, Blip2ForImageTextRetrieval, Blip2VisionModel

from pipeline.method.objects import TokenGrid
from pipeline.miniature import coca_model
from pipeline.miniature.tower_transfer import embeddings_without_norm
from pipeline.miniature.word_tokenizer import CAPTION_WORDS, build_word_tokenizer, save_for_transformers

CONTEXT = 40
"""Tokens of a caption, including [CLS] and [SEP]; the longest caption has 36 words."""
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[DEC]")
"""BERT's, and the token with which LAVIS begins a caption to be written."""
WORDS = (*SPECIAL[:-1], *CAPTION_WORDS, SPECIAL[-1])
QUERIES = 8
VISION = {
    "image_size": coca_model.IMAGE_SIZE,
    "patch_size": coca_model.MODEL["vision_cfg"]["patch_size"],
    "hidden_size": coca_model.MODEL["vision_cfg"]["width"],
    "num_hidden_layers": coca_model.MODEL["vision_cfg"]["layers"],
    "num_attention_heads": coca_model.MODEL["vision_cfg"]["width"] // coca_model.MODEL["vision_cfg"]["head_width"],
    "intermediate_size": 4 * coca_model.MODEL["vision_cfg"]["width"],
    "initializer_range": 0.02,
}
QFORMER = {
    "vocab_size": len(WORDS),
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 384,
    "max_position_embeddings": CONTEXT,
    "encoder_hidden_size": VISION["hidden_size"],
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "use_qformer_text_input": True,
}
GRID = TokenGrid(coca_model.IMAGE_SIZE, VISION["patch_size"], "squash")


def build_model() -> Blip2ForImageTextRetrieval:
    """A small model of transformers' class with random weights: two cross-attentions of 4 heads x 32."""
    config = Blip2Config(
        vision_config=VISION, qformer_config=QFORMER, num_query_tokens=QUERIES, image_text_hidden_size=64
    )
    model = Blip2ForImageTextRetrieval(config)
    nn.init.normal_(model.query_tokens, std=0.02)  # transformers' zeros would keep all queries equal
    return model


def build_tokenizer() -> Tokenizer:
    """One id for each word of the captions; sequences are framed by `[CLS]` and `[SEP]`."""
    return build_word_tokenizer(WORDS, CONTEXT, pad="[PAD]", begin="[CLS]", end="[SEP]", unknown="[UNK]")


@torch.no_grad()
def take_vision(vision: Blip2VisionModel, coca: open_clip.CoCa, pixels: Tensor) -> None:
    """Copy a CoCa's vision tower, as BLIP-2 starts from a pretrained tower.

    BLIP-2's tower lacks the LayerNorm before CoCa's first block, see `embeddings_without_norm`.
    """
    tower, embeddings = coca.visual, vision.embeddings
    start = embeddings_without_norm(tower, pixels)
    embeddings.patch_embedding.weight.copy_(start.patches)
    embeddings.patch_embedding.bias.zero_()
    embeddings.class_embedding.copy_(start.cls[None, None])
    embeddings.position_embedding.copy_(start.positions[None])
    for layer, block in zip(vision.encoder.layers, tower.transformer.resblocks, strict=True):
        parts = {
            layer.layer_norm1: block.ln_1,
            layer.layer_norm2: block.ln_2,
            layer.self_attn.projection: block.attn.out_proj,
            layer.mlp.fc1: block.mlp.c_fc,
            layer.mlp.fc2: block.mlp.c_proj,
        }
        for target, origin in parts.items():
            target.load_state_dict(origin.state_dict())
        layer.self_attn.qkv.weight.copy_(block.attn.in_proj_weight)
        layer.self_attn.qkv.bias.copy_(block.attn.in_proj_bias)


def save(model: Blip2ForImageTextRetrieval, head: nn.Module, out: Path) -> None:
    """Write the folder that `load_encoder("blip2", weights=out)` opens; half-precision weights."""
    out.mkdir(parents=True, exist_ok=True)
    halves = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(halves, out / "model.safetensors", {"format": "pt"})
    head_state = {n: value.half() for n, value in head.state_dict().items() if n != "decoder.weight"}
    save_file(head_state, out / "language_head.safetensors", {"format": "pt"})
    # transformers itself would write hundreds of lines about a language model that does not exist here.
    config: dict[str, Any] = {
        "architectures": ["Blip2ForImageTextRetrieval"],
        "model_type": "blip-2",
        "vision_config": VISION,
        "qformer_config": QFORMER,
        "num_query_tokens": QUERIES,
        "image_text_hidden_size": model.config.image_text_hidden_size,
    }
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    decoding = {"num_beams": 3, "max_length": CONTEXT, "min_length": 6}
    (out / "generation_config.json").write_text(json.dumps(decoding, indent=1) + "\n")
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "bos_token"), SPECIAL, strict=True))
    save_for_transformers(build_tokenizer(), out, CONTEXT, names)
