"""SigLIPs of transformers' own classes, small enough for any test, and a tokenizer of Gemma's kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import (
    Siglip2Config,
    Siglip2ImageProcessor,
    Siglip2Model,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
)

SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
LETTERS = [chr(code) for code in (*range(ord("a"), ord("z") + 1), *range(ord("A"), ord("Z") + 1))]
MERGES = [("d", "o"), ("do", "g"), ("▁", "dog"), ("▁", "a"), ("r", "e"), ("re", "d"), ("▁", "red"), ("D", "O")]
WORDS = [*SPECIAL, "▁", *LETTERS, *map("".join, MERGES), *(f"<0x{byte:02X}>" for byte in range(256))]
LENGTH, PATCH, MOST, SIDE = 12, 8, 20, 32
TOWER = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4}
VISION = {**TOWER, "patch_size": PATCH}
NO_IDS = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"))
TEXT = {**TOWER, **NO_IDS, "vocab_size": len(WORDS), "max_position_embeddings": LENGTH}


def config(native: bool) -> SiglipConfig | Siglip2Config:
    if native:
        return Siglip2Config(vision_config={**VISION, "num_patches": 16}, text_config=TEXT)
    return SiglipConfig(vision_config={**VISION, "image_size": SIDE}, text_config=TEXT)


def build(native: bool) -> Any:
    torch.manual_seed(0)
    model = (Siglip2Model if native else SiglipModel)(config(native)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.requires_grad_(False)  # with gradients torch takes other kernels, of other last bits


def image_processor(native: bool) -> Any:
    if native:
        return Siglip2ImageProcessor(patch_size=PATCH, max_num_patches=MOST)
    return SiglipImageProcessor(size={"height": SIDE, "width": SIDE}, resample=2)


def write_tokenizer(folder: Path, named: str = "GemmaTokenizer") -> None:
    """As the published folders have it: BPE, an end token, and no mask."""
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.BPE(vocabulary, MERGES, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(folder / "tokenizer.json"))
    values = {
        "add_bos_token": False, "add_eos_token": True, "bos_token": "<bos>", "eos_token": "<eos>",
        "pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>", "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids"], "model_max_length": LENGTH, "padding_side": "right",
        "tokenizer_class": named, "sp_model_kwargs": {}, "use_default_system_prompt": False,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(values))


def write_folder(folder: Path, native: bool) -> str:
    """A folder in transformers' form, as `save_pretrained` leaves it."""
    build(native).save_pretrained(folder)
    image_processor(native).save_pretrained(folder)
    write_tokenizer(folder)
    return str(folder)
