"""Encoders by name (`load_encoder`), and their classes to wrap existing models (`from_model`)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pipeline.encoders.registry import (
    can_match,
    check_encoder,
    check_perturbable,
    check_room,
    encoder_spec,
    list_encoders,
    load_encoder,
    miniature_encoders,
    prepare_environment,
    resolve_weights,
    runtime_env,
    twin_of,
)
from pipeline.encoders.spec import EncoderSpec

if TYPE_CHECKING:
    from pipeline.encoders.base import Encoder
    from pipeline.encoders.blip2.encoder import Blip2Encoder
    from pipeline.encoders.internvl.config import InternVLConfig
    from pipeline.encoders.internvl.encoder import InternVLEncoder
    from pipeline.encoders.internvl.model import build_internvl
    from pipeline.encoders.open_clip.encoder import CocaEncoder, OpenClipEncoder
    from pipeline.encoders.siglip2.encoder import SiglipEncoder

_MODULES = {
    "Blip2Encoder": "blip2.encoder",
    "CocaEncoder": "open_clip.encoder",
    "Encoder": "base",
    "InternVLConfig": "internvl.config",
    "InternVLEncoder": "internvl.encoder",
    "OpenClipEncoder": "open_clip.encoder",
    "SiglipEncoder": "siglip2.encoder",
    "build_internvl": "internvl.model",
}
"""Names whose modules need torch or a model library, and are imported when they are first asked for."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


__all__ = [
    "Blip2Encoder",
    "CocaEncoder",
    "Encoder",
    "EncoderSpec",
    "InternVLConfig",
    "InternVLEncoder",
    "OpenClipEncoder",
    "SiglipEncoder",
    "build_internvl",
    "can_match",
    "check_encoder",
    "check_perturbable",
    "check_room",
    "encoder_spec",
    "list_encoders",
    "load_encoder",
    "miniature_encoders",
    "prepare_environment",
    "resolve_weights",
    "runtime_env",
    "twin_of",
]
