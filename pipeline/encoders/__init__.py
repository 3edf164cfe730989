"""The encoders by name. A new one is a file in this folder and a line in `_ENCODERS`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import psutil
import torch

from pipeline.encoders.base import Encoder
from pipeline.errors import QpertError

_ENCODERS = {
    "blip2": "pipeline.encoders.blip2.encoder:Blip2Encoder",
    "blip2-lavis": "pipeline.encoders.blip2_lavis.encoder:Blip2LavisEncoder",
    "coca": "pipeline.encoders.open_clip.encoder:CocaEncoder",
    "internvl": "pipeline.encoders.internvl.encoder:InternVLEncoder",
    "internvl-c": "pipeline.encoders.internvl.encoder:InternVLCEncoder",
}
"""Name to `module:class`; the module is imported when the encoder is loaded."""
_ENVIRONMENTS = {"blip2-lavis": "pipeline.encoders.blip2_lavis.environment"}
"""Encoders that run in an environment of their own: the module with its `ensure` and `runtime_env`."""
_TWINS = {"blip2-lavis": "blip2"}
"""Of an encoder that needs another environment, the one that does the same with the same weights in this one."""
_MINIATURES = {"internvl-c": "internvl"}
"""Encoders that share the bundled weights of another."""
WORKING_MEMORY = 2**30
"""Bytes beside the weights: CUDA's own, and the tokens and keys of a few photos."""
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def list_encoders() -> list[str]:
    """Names that `load_encoder` takes."""
    return sorted(_ENCODERS)


def miniature_encoders() -> list[str]:
    """Names of the encoders that have a bundled miniature."""
    folder = Path(__file__).parents[1] / "miniature"
    return [name for name in list_encoders() if (folder / name).is_dir()]


def miniature_of(name: str) -> str:
    """The encoder whose bundled weights `name` uses, mostly its own."""
    return _MINIATURES.get(name, name)


def check_encoder(name: str, weights: str | None) -> None:
    """Find out cheaply whether there is such an encoder and, as far as that shows without loading, such weights.

    Raises:
        QpertError: what `load_encoder` would say.
    """
    _check_name(name)
    if weights is None or weights == "miniature":
        if miniature_of(name) not in miniature_encoders():
            raise QpertError(f"the encoder {name} has no miniature: say which --weights")
    else:
        _class(name).check_weights(weights)


def runtime_env(name: str) -> dict[str, Any] | None:
    """Ray's runtime environment for the actors of an encoder; None: the driver's own."""
    if name not in _ENVIRONMENTS:
        return None
    found: dict[str, Any] = import_module(_ENVIRONMENTS[name]).runtime_env()
    return found


def prepare_environment(name: str) -> None:
    """Make the environment of an encoder on this machine, where it needs one and that is not there yet.

    Raises:
        QpertError: it cannot be made here.
    """
    if name in _ENVIRONMENTS:
        import_module(_ENVIRONMENTS[name]).ensure()


def can_match(name: str) -> bool:
    """Whether an encoder has image-text matching; a QpertError when there is no such encoder."""
    _check_name(name)
    return _class(twin_of(name)).match is not Encoder.match


def twin_of(name: str) -> str:
    """The encoder to use in this process where features of `name` are searched or measured, mostly itself."""
    return _TWINS.get(name, name)


def memory_needed(name: str, weights: str | None, dtype: str) -> int:
    """Bytes of memory that an encoder takes on its device: its weights, and `WORKING_MEMORY` to work with.

    An estimate that keeps a model from devices that cannot hold it; how many photos fit beside it shows in use.

    Raises:
        QpertError: unknown name or dtype, or weights of which it shows that they are not there.
    """
    check_encoder(name, weights)
    return _class(name).weight_bytes(None if weights == "miniature" else weights, _dtype(dtype)) + WORKING_MEMORY


def token_bytes(name: str, weights: str | None, dtype: str) -> int:
    """Bytes of one photo's image tokens in a dtype, as far as that shows without loading the encoder; else 0."""
    count, width = _class(name).token_shape(None if weights == "miniature" else weights)
    return count * width * _dtype(dtype).itemsize


def embedding_values(name: str, weights: str | None) -> int:
    """Numbers in one photo's embeddings, as far as that shows without loading the encoder; else 0."""
    vectors, dim = _class(name).embedding_shape(None if weights == "miniature" else weights)
    return vectors * dim


def load_encoder(name: str, *, weights: str | None = None, device: str = "cpu", dtype: str = "float32") -> Encoder:
    """Load an encoder, ready for inference.

    Args:
        name: one of `list_encoders()`.
        weights: what the encoder's `load` takes; None is the bundled miniature.
        device: a torch device, "cpu", "cuda", "cuda:1", ...
        dtype: "float32", "float16" or "bfloat16".

    Raises:
        QpertError: unknown name, dtype or device, weights that cannot be had, or a GPU that is too small for them.
    """
    _check_name(name)
    kind = _dtype(dtype)
    try:
        place = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise QpertError(f"device {device!r} cannot be used here: {str(error).splitlines()[0]}") from error
    check_room(name, weights, device, dtype)
    return _class(name).load(weights, place, kind)


def check_room(name: str, weights: str | None, device: str, dtype: str) -> None:
    """Refuse a device that cannot hold an encoder. Half-precision weights on a CPU need no room: they are mapped.

    Raises:
        QpertError: with how much it takes, and how much there is.
    """
    place = torch.device(device)
    if place.type == "cuda":
        there, what = torch.cuda.get_device_properties(place).total_memory, torch.cuda.get_device_name(place)
        advice = "leave such GPUs out (--accelerators)"
    elif place.type == "cpu" and dtype == "float32":
        there, what = psutil.virtual_memory().total, "this machine"
        advice = "--dtype bfloat16 maps its files instead of copying them, a GPU serves it best"
    else:
        return
    needed = memory_needed(name, weights, dtype)
    if needed > there:
        raise QpertError(f"{name} takes {needed / 1e9:.1f} GB in {dtype}, and {what} has {there / 1e9:.1f}: {advice}")


def _dtype(name: str) -> torch.dtype:
    if name not in _DTYPES:
        raise QpertError(f"unknown dtype {name!r}; choose one of: {', '.join(_DTYPES)}")
    return _DTYPES[name]


def _check_name(name: str) -> None:
    if name not in _ENCODERS:
        raise QpertError(f"unknown encoder {name!r}; choose one of: {', '.join(list_encoders())}")


def _class(name: str) -> type[Encoder]:
    module, _, cls = _ENCODERS[name].partition(":")
    encoder: type[Encoder] = getattr(import_module(module), cls)
    return encoder


__all__ = [
    "Encoder",
    "can_match",
    "check_encoder",
    "check_room",
    "embedding_values",
    "list_encoders",
    "load_encoder",
    "memory_needed",
    "miniature_encoders",
    "miniature_of",
    "prepare_environment",
    "runtime_env",
    "token_bytes",
    "twin_of",
]
