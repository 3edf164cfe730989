"""LAVIS' BLIP-2 checkpoints (`.pth`): opening them safely, reading their sizes, renaming them for transformers."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.errors import QpertError
from pipeline.io.model_files import Count, Plain, read_json
from pipeline.io.model_weights import split_weights

LN_VISION_EPS = 1e-5
"""Epsilon of LAVIS' LayerNorm after the vision tower, where transformers has the tower's own 1e-6."""
HEAD = "Qformer.cls.predictions."
_VISION_HEAD_WIDTH, _BERT_HEAD_WIDTH = 88, 64
_BEGINNINGS = (b"PK", b"\x80")
"""First bytes of a zip file, and of a pickle, torch's old format."""
_DROPPED = {"temp", "Qformer.bert.embeddings.position_ids"}
"""The temperature of the training loss, and a constant."""
_EVA_DEPTH, _EVA_WIDTH = 39, 1408
_EVA_DROPPED = re.compile(r"norm\.|fc_norm\.|head\.|mask_token|lm_head\.")
"""Parts of EVA's checkpoint that LAVIS' ViT-g leaves out, besides its last block."""
_NAMES = [
    (r"(query_tokens|itm_head\..*)", r"\1"),
    (r"(vision|text)_proj\.(.*)", r"\1_projection.\2"),
    (r"ln_vision\.(.*)", r"vision_model.post_layernorm.\1"),
    (r"visual_encoder\.cls_token", "vision_model.embeddings.class_embedding"),
    (r"visual_encoder\.pos_embed", "vision_model.embeddings.position_embedding"),
    (r"visual_encoder\.patch_embed\.proj\.(.*)", r"vision_model.embeddings.patch_embedding.\1"),
    (r"visual_encoder\.blocks\.(\d+)\.norm([12])\.(.*)", r"vision_model.encoder.layers.\1.layer_norm\2.\3"),
    (
        r"visual_encoder\.blocks\.(\d+)\.attn\.(qkv\.weight|q_bias|v_bias)",
        r"vision_model.encoder.layers.\1.self_attn.\2",
    ),
    (r"visual_encoder\.blocks\.(\d+)\.attn\.proj\.(.*)", r"vision_model.encoder.layers.\1.self_attn.projection.\2"),
    (r"visual_encoder\.blocks\.(\d+)\.mlp\.(.*)", r"vision_model.encoder.layers.\1.mlp.\2"),
    (r"Qformer\.bert\.embeddings\.(word|position)_embeddings\.(.*)", r"embeddings.\1_embeddings.\2"),
    (r"Qformer\.bert\.embeddings\.LayerNorm\.(.*)", r"qformer.layernorm.\1"),
    (
        r"Qformer\.bert\.encoder\.layer\.(\d+)\.((?:cross)?attention)\.self\.(.*)",
        r"qformer.encoder.layer.\1.\2.attention.\3",
    ),
    (r"Qformer\.bert\.encoder\.layer\.(.*)", r"qformer.encoder.layer.\1"),
]


class _Heads(Plain):
    """Numbers of heads, in a file beside the checkpoint."""

    vision_heads: Count = 1
    heads: Count = 1


@dataclass(frozen=True)
class Sizes:
    """The sizes of a BLIP-2, by the shapes in its checkpoint; these do not show the number of heads (see `of`)."""

    image_size: int
    patch: int
    vision_width: int
    vision_layers: int
    vision_heads: int
    vision_mlp: int
    width: int
    layers: int
    heads: int
    mlp: int
    cross_frequency: int
    vocabulary: int
    positions: int
    queries: int
    dim: int

    @classmethod
    def of(cls, state: Mapping[str, Tensor], path: Path) -> Sizes:
        """Sizes of a LAVIS state. Heads are as wide as in ViT-g (88) and BERT (64), unless `PATH.json` says otherwise.

        Raises:
            QpertError: the widths are not divisible by those of the heads, or the state is incomplete.
        """
        try:
            return cls._of(state, path)
        except (LookupError, ValueError, TypeError, AttributeError, OSError) as error:
            raise QpertError(
                f"{path} is not a whole BLIP-2, or {path}.json beside it is not a list of heads:"
                f" {type(error).__name__} {error}"
            ) from error

    @classmethod
    def _of(cls, state: Mapping[str, Tensor], path: Path) -> Sizes:
        side = Path(f"{path}.json")
        heads = _Heads.of(read_json(side), str(side)).given() if side.is_file() else {}
        positions, patch = (
            state["visual_encoder.pos_embed"].shape[1],
            state["visual_encoder.patch_embed.proj.weight"].shape[-1],
        )
        vision_width, width = state["visual_encoder.pos_embed"].shape[2], state["query_tokens"].shape[2]
        words = state["Qformer.bert.embeddings.word_embeddings.weight"]
        crossed = sorted({int(n.split(".")[4]) for n in state if ".crossattention." in n})
        sizes = cls(
            image_size=round((positions - 1) ** 0.5) * patch,
            patch=patch,
            vision_width=vision_width,
            vision_layers=1 + max(int(n.split(".")[2]) for n in state if n.startswith("visual_encoder.blocks.")),
            vision_heads=heads.get("vision_heads", vision_width // _VISION_HEAD_WIDTH),
            vision_mlp=state["visual_encoder.blocks.0.mlp.fc1.weight"].shape[0],
            width=width,
            layers=1 + max(int(n.split(".")[4]) for n in state if n.startswith("Qformer.bert.encoder.layer.")),
            heads=heads.get("heads", width // _BERT_HEAD_WIDTH),
            mlp=state["Qformer.bert.encoder.layer.0.intermediate_query.dense.weight"].shape[0],
            cross_frequency=crossed[1] - crossed[0] if len(crossed) > 1 else 2,
            vocabulary=words.shape[0],
            positions=state["Qformer.bert.embeddings.position_embeddings.weight"].shape[0],
            queries=state["query_tokens"].shape[1],
            dim=state["vision_proj.weight"].shape[0],
        )
        for heads_count, total in ((sizes.vision_heads, vision_width), (sizes.heads, width)):
            if not heads_count or total % heads_count:
                raise QpertError(
                    f"{path} is not of a published size, so how many heads it has cannot be told from it; write"
                    f' {{"vision_heads": ..., "heads": ...}} into {side}'
                )
        return sizes


def check_files(weights: str) -> None:
    """Refuse `.pth` files that do not exist, or whose first bytes are not those of a checkpoint."""
    first, second = split_weights(weights)
    for path in filter(None, (first, second)):
        if not path.endswith(".pth"):
            continue
        if not Path(path).is_file():
            raise QpertError(f"there is no file {path}")
        with open(path, "rb") as file:
            begin = file.read(2)
        if not begin.startswith(_BEGINNINGS):
            problem = "it holds something else" if begin else "the file is empty"
            raise QpertError(f"{path} is not a checkpoint: {problem}")
    if second and not second.endswith(".pth"):
        raise QpertError(
            f"what follows the + in {weights!r} must be a .pth file: LAVIS' for captions, or eva_vit_g.pth"
        )


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.pth` file by LAVIS' names; no code in it is run.

    Raises:
        QpertError: it cannot be opened, or holds something else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise QpertError(
            f"{path} was refused, as opening it could run code; save its state_dict alone, as {{'model': state_dict}}"
        ) from error
    except Exception as error:  # a damaged pickle can raise anything
        raise QpertError(f"{path} cannot be opened as a checkpoint: {type(error).__name__} {error}") from error
    for key in ("model", "module"):
        content = content.get(key, content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise QpertError(f"{path} does not hold the weights of a model")
    return content


def read_checkpoint(path: Path, vision: Path | None = None) -> dict[str, Tensor]:
    """The whole state of a LAVIS BLIP-2.

    Args:
        path: the checkpoint.
        vision: EVA's `eva_vit_g.pth`, for a checkpoint that was saved without its frozen vision tower.

    Raises:
        QpertError: neither file has a vision tower, or the checkpoint is of another model.
    """
    state = read_state(path)
    if "query_tokens" not in state or not any(name.startswith("Qformer.bert.") for name in state):
        raise QpertError(f"{path} holds no BLIP-2 with a Q-Former that reads text, as LAVIS saves it")
    if not any(name.startswith("visual_encoder.") for name in state):
        if vision is None:
            raise QpertError(
                f"{path} was saved without its vision tower, as LAVIS does if that was frozen: add EVA's file, as in"
                f" --weights {path}+eva_vit_g.pth"
            )
        state |= _eva(read_state(vision))
    elif vision is not None:
        raise QpertError(f"{path} has a vision tower of its own; leave +{vision} out")
    return state


def to_transformers(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of `Blip2ForImageTextRetrieval`, and those of the language head (see `build_language_head`).

    Raises:
        QpertError: names that belong to neither.
    """
    renamed: dict[str, Tensor] = {}
    head: dict[str, Tensor] = {}
    unknown = []
    for name, value in state.items():
        if name in _DROPPED:
            continue
        if name.startswith(HEAD):
            head[name.removeprefix(HEAD)] = value
            continue
        fits = (re.sub(pattern, target, name) for pattern, target in _NAMES if re.fullmatch(pattern, name))
        target = next(fits, None)
        if target is None:
            unknown.append(name)
        else:
            renamed[target] = value
    if unknown:
        raise QpertError(f"the checkpoint holds {len(unknown)} weights that BLIP-2 does not have, such as {unknown[0]}")
    for name in [name for name in renamed if name.endswith(".q_bias")]:
        v = renamed.pop(name.replace("q_bias", "v_bias"), None)
        if v is None:
            continue  # the remaining name is reported as unknown
        q = renamed.pop(name)
        renamed[name.replace("q_bias", "qkv.bias")] = torch.cat([q, torch.zeros_like(q), v])  # EVA's keys have none
    return renamed, head


def _eva(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    plain = {name.removeprefix("visual_encoder.").removeprefix("visual."): value for name, value in state.items()}
    depth = _EVA_DEPTH if plain.get("pos_embed", torch.empty(0, 0, 0)).shape[-1] == _EVA_WIDTH else len(plain)
    return {
        f"visual_encoder.{name}": value
        for name, value in plain.items()
        if not _EVA_DROPPED.match(name) and not (name.startswith("blocks.") and int(name.split(".")[1]) >= depth)
    }
