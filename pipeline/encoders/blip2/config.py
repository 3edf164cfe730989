"""The keys of a BLIP-2 folder's config.json that are read: sizes and switches of the vision tower and the Q-Former.

Saved configurations hold much more, such as a language model of the second stage, which is ignored: transformers is
given these keys and never reads the file itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field
from transformers import Blip2Config

from pipeline.encoders.blip2.beam_search import Decoding
from pipeline.io.model_files import Activation, Count, Index, Number, Plain, Size, read_json

Rate = Annotated[Number, Field(ge=0, le=1)]


class _Known(Plain):
    """Keys without a field are ignored."""

    model_config = ConfigDict(extra="ignore")


class _Vision(_Known):
    """`Blip2VisionConfig`."""

    hidden_size: Size = 1408
    intermediate_size: Size = 6144
    num_hidden_layers: Count = 39
    num_attention_heads: Count = 16
    image_size: Size = 224
    patch_size: Size = 14
    hidden_act: Activation = "gelu"
    layer_norm_eps: Number = 1e-6
    attention_dropout: Rate = 0.0
    initializer_range: Number = 1e-10
    qkv_bias: bool = True


class _QFormer(_Known):
    """`Blip2QFormerConfig`."""

    vocab_size: Size = 30522
    hidden_size: Size = 768
    num_hidden_layers: Count = 12
    num_attention_heads: Count = 12
    intermediate_size: Size = 3072
    hidden_act: Activation = "gelu"
    hidden_dropout_prob: Rate = 0.1
    attention_probs_dropout_prob: Rate = 0.1
    max_position_embeddings: Size = 512
    initializer_range: Number = 0.02
    layer_norm_eps: Number = 1e-12
    pad_token_id: Index | None = 0
    cross_attention_frequency: Count = 2
    encoder_hidden_size: Size = 1408
    use_qformer_text_input: bool = False


class _Blip2(_Known):
    """`Blip2Config` without a language model."""

    vision_config: _Vision = _Vision()
    qformer_config: _QFormer = _QFormer()
    num_query_tokens: Size = 32
    image_text_hidden_size: Size = 256
    image_token_index: Index | None = None
    initializer_factor: Number = 1.0
    initializer_range: Number = 0.02


class _Generation(_Known):
    """The keys of generation_config.json that are read."""

    num_beams: Annotated[int, Field(strict=True, ge=1, le=64)] | None = None
    max_length: Size | None = None
    min_length: Index | None = None


def read_blip2_config(path: Path) -> Blip2Config:
    """The configuration in a config.json.

    Raises:
        QpertError: a key that leads to code, or a value out of range, by name.
        OSError, ValueError: not such a file.
    """
    return Blip2Config(**_Blip2.of(read_json(path), str(path)).given())


def read_decoding(path: Path) -> Decoding | None:
    """How captions are written by default, from a generation_config.json; None if there is no such file.

    Raises:
        QpertError, OSError, ValueError: see `read_blip2_config`.
    """
    if not path.is_file():
        return None
    given = _Generation.of(read_json(path), str(path)).given()
    return Decoding(**{name: value for name, value in given.items() if value is not None})
