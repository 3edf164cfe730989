"""The keys that open_clip_config.json may have: sizes, switches and names of timm's towers, which are code of timm."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline.errors import QpertError
from pipeline.io.model_files import Count, Index, Number, Plain, Size, read_json

CONFIG = "open_clip_config.json"
_ELSEWHERE = {
    "text_cfg": ("hf_model_name", "hf_model_config"),
    "multimodal_cfg": ("hf_model_name", "hf_model_config"),
}
"""Keys that would make a tower another library's model, of any name or path."""
Scalars = dict[str, bool | Number]
Length = Annotated[int, Field(strict=True, ge=1, le=4096)]
"""Pixels of a side, or tokens of a text: towers allocate its square, however small their weights."""
Side = Length | Annotated[list[Length], Field(min_length=2, max_length=2)]
Triple = Annotated[list[Number], Field(min_length=3, max_length=3)]
Deviations = Annotated[list[Annotated[Number, Field(gt=0)]], Field(min_length=3, max_length=3)]


class _Attention(Plain):
    """Keys that all towers of open_clip share."""

    layers: Count = 12
    width: Size = 512
    mlp_ratio: Annotated[Number, Field(gt=0, le=64)] = 4.0
    ls_init_value: Number | None = None
    pool_type: str = "tok"
    final_ln_after_pool: bool = False
    output_tokens: bool = False
    act_kwargs: dict[str, bool | Number | Literal["tanh"]] | None = None
    norm_kwargs: Scalars | None = None
    block_type: str | None = None
    qk_norm: bool = False
    scaled_cosine_attn: bool = False
    scale_heads: bool = False
    scale_attn_inner: bool = False
    scale_attn: bool = False
    scale_fc: bool = False


class _Vision(_Attention):
    """`CLIPVisionCfg`."""

    layers: Count | Annotated[list[Count], Field(min_length=4, max_length=4)] = 12  # type: ignore[assignment]
    head_width: Size = 64
    patch_size: Side | None = 16
    image_size: Side = 224
    patch_dropout: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    attentional_pool: bool | Literal["parallel", "cascade"] = False
    attn_pooler_queries: Size = 256
    attn_pooler_heads: Count = 8
    no_ln_pre: bool = False
    pos_embed_type: str = "learnable"
    # A registered name alone: with a slash or a colon, timm would take it for a place to load from.
    timm_model_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?$")] | None = None
    timm_model_pretrained: bool = False
    timm_pool: Literal["avg", "map", "token", "max", "avgmax", "abs_attn", "rot_attn", ""] | None = "avg"
    timm_proj: Literal["linear", "mlp", "none", ""] | None = "linear"
    timm_proj_bias: bool = False
    timm_drop: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    timm_drop_path: Annotated[Number, Field(ge=0, lt=1)] | None = None


class _TokenizerOptions(Plain):
    """Options of open_clip's tokenizers besides their files."""

    clean: Literal["canonicalize", "lower", "whitespace"] = "whitespace"
    strip_sep_token: bool = False


class _Text(_Attention):
    """`CLIPTextCfg` without text towers of transformers. The tokenizer's files are read from the folder."""

    context_length: Length = 77
    vocab_size: Size = 49408
    heads: Count = 8
    embed_cls: bool = False
    pad_id: Index = 0
    eos_id: Index = 2
    no_causal_mask: bool = False
    proj_bias: bool = False
    proj_type: str = "linear"
    hf_tokenizer_name: str | None = None
    tokenizer_mode: Literal["", "clips"] | None = None
    tokenizer_kwargs: _TokenizerOptions | None = None


class _Multimodal(_Text):
    """`MultimodalCfg`."""

    dim_head: Size = 64
    n_queries: Size = 256
    attn_pooler_heads: Count = 8


class ModelConfig(Plain):
    """`model_cfg`: the arguments of `open_clip.CoCa`, `CustomTextCLIP` or `CLIP`."""

    embed_dim: Size
    vision_cfg: _Vision
    text_cfg: _Text
    multimodal_cfg: _Multimodal | None = None
    quick_gelu: bool = False
    init_logit_scale: Number = 0.0
    init_logit_bias: Number | None = None
    nonscalar_logit_scale: bool = False
    pad_id: Index = 0
    custom_text: bool = False

    def arguments(self) -> dict[str, Any]:
        """For the model's class. The tower's weights are in the model's file, and never timm's own."""
        given = self.given()
        given["vision_cfg"].pop("timm_model_pretrained", None)
        return {name: value for name, value in given.items() if name != "custom_text"}


class _Preprocessing(Plain):
    """`preprocess_cfg`."""

    size: Side | None = None
    mode: Literal["RGB"] = "RGB"
    mean: Triple | None = None
    std: Deviations | None = None
    interpolation: Literal["bicubic", "bilinear", "random"] = "bicubic"
    resize_mode: Literal["shortest", "longest", "squash"] = "shortest"
    fill_color: Index = 0


def read_config(path: Path) -> tuple[ModelConfig, dict[str, Any]]:
    """`model_cfg` and `preprocess_cfg` of an open_clip_config.json.

    Raises:
        QpertError: an unknown key, a key that leads to code or to another model, or a value out of range, by name.
        OSError, ValueError: not such a file.
    """
    content = read_json(path)
    given = content.get("model_cfg")
    if not isinstance(given, dict):
        raise ValueError("model_cfg is missing or not a JSON object")
    for tower, keys in _ELSEWHERE.items():
        inner = given.get(tower)
        for key in keys:
            if isinstance(inner, dict) and inner.get(key):
                raise QpertError(
                    f"{path} asks for {tower}.{key} = {str(inner[key])[:80]!r}: models of other libraries are not"
                    " loaded from the configuration of a folder or hub repository"
                )
    config = ModelConfig.of(given, f"{path}, model_cfg")
    preprocessing = _Preprocessing.of(content.get("preprocess_cfg") or {}, f"{path}, preprocess_cfg").given()
    return config, preprocessing
