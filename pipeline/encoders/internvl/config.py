"""Sizes of an InternVL-14B, named as in its published config.json."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar, get_args

from pipeline.errors import QpertError
from pipeline.io.model_files import Activation

Config = TypeVar("Config")
_LARGEST = 2**20
_MOST_LAYERS = 1024


@dataclass(frozen=True)
class VisionConfig:
    """InternViT-6B's sizes; the defaults are the published ones.

    Attributes:
        hidden_size: C, width of an image token.
        num_hidden_layers: blocks.
        num_attention_heads: heads of each.
        intermediate_size: width of the MLPs.
        image_size: side of the square photos that the position embeddings are for.
        patch_size: side of a patch.
        qkv_bias: whether queries, keys and values have a bias.
        qk_normalization: whether queries and keys pass through an RMSNorm.
        hidden_act: activation of the MLPs, by its name in transformers.
        layer_norm_eps: of all RMSNorms.
        initializer_factor: initial value of LayerScale.
    """

    hidden_size: int = 3200
    num_hidden_layers: int = 48
    num_attention_heads: int = 25
    intermediate_size: int = 12800
    image_size: int = 224
    patch_size: int = 14
    qkv_bias: bool = False
    qk_normalization: bool = True
    hidden_act: Activation = "gelu"
    layer_norm_eps: float = 1e-6
    initializer_factor: float = 0.1


@dataclass(frozen=True)
class QLlamaConfig:
    """QLLaMA's sizes; the defaults are the published ones."""

    hidden_size: int = 4096
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    intermediate_size: int = 11008
    vocab_size: int = 49954
    hidden_act: Activation = "silu"
    rms_norm_eps: float = 1e-6


@dataclass(frozen=True)
class InternVLConfig:
    """An InternVL-14B; the defaults are those of OpenGVLab/InternVL-14B-224px.

    Attributes:
        vision_config: InternViT-6B, or a mapping with its fields.
        qllama_config: QLLaMA, or a mapping with its fields.
        clip_embed_dim: D, length of an embedding.
        attn_pool_num_heads: heads of the two attention-pooling projectors.
        num_query_token: learned queries.
        cross_attention_frequency: layers of QLLaMA from one cross-attention to the next; the first layer has one.
        force_image_size: side of the photos, if it is not the vision tower's own (364 in the fine-tuned models).
        use_backbone_lora: rank of LoRA weights that are not merged into the vision tower; only 0 is supported.
        use_qllama_lora: likewise for QLLaMA.
        initializer_range: standard deviation of random weights.

    Raises:
        QpertError: sizes that do not fit together.
    """

    vision_config: VisionConfig = field(default_factory=VisionConfig)
    qllama_config: QLlamaConfig = field(default_factory=QLlamaConfig)
    clip_embed_dim: int = 768
    attn_pool_num_heads: int = 16
    num_query_token: int = 96
    cross_attention_frequency: int = 2
    force_image_size: int | None = None
    use_backbone_lora: int = 0
    use_qllama_lora: int = 0
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        if isinstance(self.vision_config, Mapping):
            object.__setattr__(self, "vision_config", _known(VisionConfig, self.vision_config))
        if isinstance(self.qllama_config, Mapping):
            object.__setattr__(self, "qllama_config", _known(QLlamaConfig, self.qllama_config))
        if self.use_backbone_lora or self.use_qllama_lora:
            raise QpertError("this InternVL has LoRA weights of its own: merge them into the model first")
        vision, qllama, heads = self.vision_config, self.qllama_config, self.attn_pool_num_heads
        for name, width, parts in (
            ("vision_config.hidden_size", vision.hidden_size, vision.num_attention_heads),
            ("qllama_config.hidden_size", qllama.hidden_size, qllama.num_attention_heads),
            ("vision_config.hidden_size", vision.hidden_size, heads),
            ("qllama_config.hidden_size", qllama.hidden_size, heads),
            ("the image size", self.image_size, vision.patch_size),
        ):
            if parts < 1 or width < 1 or width % parts:
                raise QpertError(f"InternVL: {name} = {width} is not divisible by {parts}")
        if max(vision.num_hidden_layers, qllama.num_hidden_layers) > _MOST_LAYERS or self.cross_attention_frequency < 1:
            raise QpertError(f"InternVL: more than {_MOST_LAYERS} layers, or a cross_attention_frequency of 0")

    @property
    def image_size(self) -> int:
        """S, side of the square photos."""
        return self.force_image_size or self.vision_config.image_size

    @property
    def image_tokens(self) -> int:
        """N, image tokens including [CLS]."""
        return int((self.image_size // self.vision_config.patch_size) ** 2 + 1)

    @classmethod
    def from_dict(cls, published: Mapping[str, Any]) -> InternVLConfig:
        """From a published config.json; keys without a field are ignored.

        Raises:
            QpertError: a value of another type, or out of range.
        """
        return _known(cls, published)


def _known(kind: type[Config], values: Mapping[str, Any]) -> Config:
    known = {key.name: key.default for key in fields(kind) if key.name in values}  # type: ignore[arg-type]
    for name, default in known.items():
        if not _fits(values[name], default):
            raise QpertError(f"InternVL: {name} cannot be {str(values[name])[:60]!r}")
    return kind(**{name: values[name] for name in known})


def _fits(value: Any, default: Any) -> bool:
    """Whether a value has the type of the default and is in range."""
    if default is MISSING:  # the configuration of a part
        return isinstance(value, Mapping)
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, int) or default is None:
        return (value is None and default is None) or (type(value) is int and 0 <= value <= _LARGEST)
    if isinstance(default, float):
        return type(value) in (int, float) and math.isfinite(value)
    return value in get_args(Activation)
