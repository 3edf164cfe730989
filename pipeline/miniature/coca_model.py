"""The miniature CoCa: its model card, its tokenizer and its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
from open_clip.transform import PreprocessCfg
from safetensors.torch import save_file
from tokenizers import Tokenizer

from pipeline.method.objects import TokenGrid
from pipeline.miniature.word_tokenizer import CAPTION_WORDS, build_word_tokenizer

CONTEXT = 40
"""Tokens of a caption, including begin and end; the longest caption has 36 words."""
EOS = 3
"""Id of the token that ends a caption, whose state becomes the embedding."""
MODEL: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {
        "image_size": 112,
        "patch_size": 16,
        "width": 160,
        "layers": 5,
        "head_width": 32,
        "attentional_pool": True,
        "attn_pooler_queries": 17,
        "attn_pooler_heads": 8,
        "output_tokens": True,
    },
    "text_cfg": {
        "context_length": CONTEXT,
        "vocab_size": 64,
        "width": 128,
        "heads": 4,
        "layers": 3,
        "pool_type": "eos",
        "eos_id": EOS,
        "output_tokens": True,
    },
    "multimodal_cfg": {
        "context_length": CONTEXT,
        "vocab_size": 64,
        "width": 128,
        "heads": 4,
        "layers": 1,
        "attn_pooler_heads": 8,
    },
}
"""A model card like open_clip's own: `open_clip.CoCa(**MODEL)`."""
IMAGE_SIZE: int = MODEL["vision_cfg"]["image_size"]
GRID = TokenGrid(IMAGE_SIZE, MODEL["vision_cfg"]["patch_size"], "center_crop")


def build_tokenizer() -> Tokenizer:
    """One id for each word of the captions, `[PAD]` = 0; sequences are framed by `[BOS]` and `[EOS]`."""
    words = ["[PAD]", "[UNK]", "[BOS]", "[EOS]", *CAPTION_WORDS]
    return build_word_tokenizer(words, CONTEXT, pad="[PAD]", begin="[BOS]", end="[EOS]", unknown="[UNK]")


def save(model: open_clip.CoCa, out: Path) -> None:
    """Write the folder that `load_encoder("coca", weights=out)` opens; half-precision weights."""
    state = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(state, out / "open_clip_model.safetensors")
    build_tokenizer().save(str(out / "tokenizer.json"))
    preprocess = PreprocessCfg(size=IMAGE_SIZE)
    config = {"model_cfg": MODEL, "preprocess_cfg": {"mean": preprocess.mean, "std": preprocess.std}}
    (out / "open_clip_config.json").write_text(json.dumps(config, indent=1))
