"""A tiny CLIP in open_clip's form, which pools without a cross-attention."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

CONFIG: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {"layers": 1, "width": 32, "head_width": 16, "image_size": 32, "patch_size": 8},
    "text_cfg": {"context_length": 10, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1},
}


def write(folder: Path) -> str:
    """Write model and tokenizer; returns the folder, as weights."""
    folder.mkdir()
    torch.manual_seed(0)
    state = {name: value.contiguous() for name, value in open_clip.CLIP(**CONFIG).state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG}))
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "star": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return str(folder)
