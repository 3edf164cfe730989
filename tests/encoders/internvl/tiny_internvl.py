"""Tiny InternVL-14Bs: reproducible weights, and a folder in the published form."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from sentencepiece import SentencePieceTrainer
from torch import Tensor

from pipeline.encoders import InternVLConfig, build_internvl
from pipeline.encoders.internvl.model import InternVL

SMALL: dict[str, Any] = {
    "vision_config": {
        "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128,
        "image_size": 56, "patch_size": 14,
    },
    "qllama_config": {
        "hidden_size": 128, "num_hidden_layers": 8, "num_attention_heads": 4, "intermediate_size": 256,
        "vocab_size": 100,
    },
    "clip_embed_dim": 48, "attn_pool_num_heads": 4, "num_query_token": 96, "cross_attention_frequency": 2,
}  # fmt: skip
"""Like the published config.json, only small: four cross-attentions."""


def fill(state: dict[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """Weights for every name of `state`, the same on every machine: not trivial, with activations of ordinary size."""
    stream = np.random.RandomState(seed)
    filled = {}
    for name in sorted(state):
        shape, part = tuple(state[name].shape), name.split(".")
        values = stream.standard_normal(shape)
        norm = len(part) > 1 and "norm" in part[-2]
        if part[-1] in ("ls1", "ls2") or (norm and part[-1] == "weight"):
            values = 0.7 + 0.2 * values
        elif values.ndim < 2 or part[-1].endswith("bias"):
            values = 0.2 * values
        elif part[-1] in ("class_embedding", "position_embedding", "query_tokens") or "embed_tokens" in part:
            values = 0.3 * values
        else:
            wide = 1.5 if part[-2:-1] and part[-2] in ("q", "k", "q_proj", "k_proj", "qkv") else 1.0
            inputs = shape[0] if name == "text_projection" else int(np.prod(shape[1:]))
            values = wide * values / inputs**0.5
        filled[name] = torch.from_numpy(np.asarray(values)).float()
    return filled


def some_pixels(size: int = 56) -> Tensor:
    return torch.from_numpy(np.random.RandomState(7).standard_normal((3, 3, size, size))).float()


def build(config: dict[str, Any] | None = None, seed: int = 0) -> InternVL:
    model = build_internvl(InternVLConfig.from_dict(config or SMALL))
    model.load_state_dict(fill(model.state_dict(), seed))
    return model


def write_words(path: Path, words: int = 100) -> None:
    """A `tokenizer.model` of LLaMA's kind with the given number of pieces."""
    text = "a red dog on the beach with two small boats and one old man who throws a ball to the left of a tree"
    lines = iter([text, text.title(), "children play in the park near a big fountain"] * 20)
    with path.open("wb") as file:
        SentencePieceTrainer.train(
            sentence_iterator=lines, model_writer=file, model_type="bpe", vocab_size=words, hard_vocab_limit=True,
            unk_id=0, bos_id=1, eos_id=2, pad_id=-1, minloglevel=2,
        )  # fmt: skip


def write_folder(folder: Path, config: dict[str, Any] | None = None, shards: int = 3, dtype: Any = None) -> str:
    """A folder in the published form: config.json, shards with their index, tokenizer.model."""
    folder.mkdir(parents=True, exist_ok=True)
    model = build(config)
    junk = {"architectures": ["InternVLModel"], "auto_map": {"AutoModel": "modeling_internvl.InternVLModel"}}
    (folder / "config.json").write_text(json.dumps({"model_type": "internvl", **junk, **asdict(model.config)}))
    state = {name: value.to(dtype or torch.bfloat16).contiguous() for name, value in model.state_dict().items()}
    where = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = dict(list(state.items())[shard::shards])
        save_file(part, folder / file, {"format": "pt"})
        where |= dict.fromkeys(part, file)
    size = sum(value.nbytes for value in state.values())
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": size}, "weight_map": where})
    )
    write_words(folder / "tokenizer.model", model.config.qllama_config.vocab_size)
    return str(folder)
