"""The encoders by name. A new one is a file or folder in this package and an entry in `ENCODERS`.

torch and the model libraries are imported inside functions: commands check names and print help without them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from pipeline.encoders.spec import EncoderSpec, item_bytes
from pipeline.errors import QpertError

if TYPE_CHECKING:
    from pipeline.encoders.base import Encoder

_MINIATURES = Path(__file__).parents[1] / "miniature"


@dataclass(frozen=True)
class EncoderEntry:
    """Where an encoder is, and what it needs.

    Attributes:
        location: `module:class`; the module is imported when the encoder is first used.
        environment: module with `ensure` and `runtime_env`, for an encoder that runs in an environment of its own;
            None: it runs in the driver's.
        twin: encoder that does the same with the same weights in the driver's environment; None: the encoder itself.
        miniature: folder in `pipeline/miniature` with its bundled weights; None: there are none.
        sizes: those of the bundled weights, which would take seconds to read from them.
    """

    location: str
    environment: str | None = None
    twin: str | None = None
    miniature: str | None = None
    sizes: EncoderSpec = field(default_factory=EncoderSpec)


_INTERNVL = EncoderSpec(2_778_339, tokens=50, width=160, vectors=1, dim=128, sites=3)
ENCODERS = {
    "blip2": EncoderEntry(
        "pipeline.encoders.blip2.encoder:Blip2Encoder",
        miniature="blip2",
        sizes=EncoderSpec(2_914_914, tokens=50, width=160, vectors=8, dim=64, float32_parameters=1_236_994, sites=2),
    ),
    "blip2-lavis": EncoderEntry(
        "pipeline.encoders.blip2_lavis.encoder:Blip2LavisEncoder",
        environment="pipeline.encoders.blip2_lavis.environment",
        twin="blip2",
    ),
    "coca": EncoderEntry(
        "pipeline.encoders.open_clip.encoder:CocaEncoder",
        miniature="coca",
        sizes=EncoderSpec(2_396_161, tokens=50, width=160, vectors=1, dim=128, sites=1),
    ),
    "open_clip": EncoderEntry(
        "pipeline.encoders.open_clip.encoder:OpenClipEncoder",
        miniature="open_clip",
        sizes=EncoderSpec(2_632_258, tokens=49, width=160, vectors=1, dim=128, sites=1),
    ),
    "internvl": EncoderEntry(
        "pipeline.encoders.internvl.encoder:InternVLEncoder", miniature="internvl", sizes=_INTERNVL
    ),
    "internvl-c": EncoderEntry(
        "pipeline.encoders.internvl.encoder:InternVLCEncoder", miniature="internvl", sizes=replace(_INTERNVL, sites=1)
    ),
    "siglip2": EncoderEntry("pipeline.encoders.siglip2.encoder:SiglipEncoder"),
}


def list_encoders() -> list[str]:
    """Names that `load_encoder` takes."""
    return sorted(ENCODERS)


def miniature_encoders() -> list[str]:
    """Names of the encoders that have a bundled miniature of their own."""
    return [name for name in list_encoders() if ENCODERS[name].miniature == name]


def resolve_weights(name: str, weights: str | None) -> str:
    """The weights to load: the folder of the bundled miniature for None and "miniature", all else as given.

    Raises:
        QpertError: no such encoder, or it has no miniature.
    """
    miniature = _entry(name).miniature
    if weights is not None and weights != "miniature":
        return weights
    if miniature is None:
        raise QpertError(f"the encoder {name} has no miniature: say which --weights")
    folder = _MINIATURES / miniature
    if not folder.is_dir():
        raise QpertError(f"the miniature {miniature} is not in {folder}; make it: qpert train-miniature {miniature}")
    return str(folder)


def check_encoder(name: str, weights: str | None) -> None:
    """Check that the encoder and its weights exist, as far as that is known without loading them.

    Raises:
        QpertError: what `load_encoder` would say.
    """
    path = resolve_weights(name, weights)
    if path == weights:  # not bundled
        _class(name).check_weights(path)


def check_perturbable(name: str, weights: str | None) -> None:
    """Refuse an encoder without cross-attentions, where perturbed embeddings are the purpose.

    Raises:
        QpertError: it has none; or what `check_encoder` would say.
    """
    if encoder_spec(name, weights).sites == 0:
        raise QpertError(
            f"{name} {weights} has no cross-attention for objects to act on, so there is nothing to compare or tune;"
            " index and evaluate serve it as it is"
        )


def encoder_spec(name: str, weights: str | None, image_size: int | None = None) -> EncoderSpec:
    """The sizes of an encoder, without loading it.

    Args:
        name: one of `list_encoders()`.
        weights: see `load_encoder`.
        image_size: see `load_encoder`.

    Raises:
        QpertError: what `check_encoder` would say, or a size that the encoder cannot take, where that shows.
    """
    path = resolve_weights(name, weights)
    if image_size is not None:
        _check_resizable(name)
    if path != weights:  # bundled
        spec = _entry(name).sizes
    else:
        check_encoder(name, weights)
        spec = _spec(name, path)
    return spec if image_size is None else _resized(name, path, spec, image_size, f"{name} {weights or 'miniature'}")


def _check_resizable(name: str) -> None:
    from pipeline.encoders.base import Encoder

    if _class(name).resize is Encoder.resize:
        raise QpertError(f"the encoder {name} takes photos at its own resolution only: leave out --image-size")


def _resized(name: str, weights: str, spec: EncoderSpec, image_size: int, title: str) -> EncoderSpec:
    from pipeline.encoders.positions import check_side

    known = _class(name).resolution(weights)
    if known is None:
        return spec
    own, patch = known
    if image_size != own:  # which may be no multiple of the patches
        check_side(image_size, patch, title)
    prefix = spec.tokens - math.isqrt(spec.tokens) ** 2
    return replace(spec, tokens=(image_size // patch) ** 2 + prefix)


@cache
def _spec(name: str, weights: str) -> EncoderSpec:
    return _class(name).spec(weights)


def runtime_env(name: str) -> dict[str, Any] | None:
    """Ray's runtime environment for the actors of an encoder; None: the driver's own."""
    environment = _entry(name).environment
    if environment is None:
        return None
    options: dict[str, Any] = import_module(environment).runtime_env()
    return options


def prepare_environment(name: str) -> None:
    """Build the environment of an encoder on this machine, if it needs one and it is missing.

    Raises:
        QpertError: it cannot be built here.
    """
    if environment := _entry(name).environment:
        import_module(environment).ensure()


def can_match(name: str) -> bool:
    """Whether an encoder has image-text matching.

    Raises:
        QpertError: no such encoder.
    """
    from pipeline.encoders.base import Encoder

    return _class(twin_of(name)).match is not Encoder.match


def twin_of(name: str) -> str:
    """The encoder with which this process searches and measures features of `name`, mostly itself.

    Raises:
        QpertError: no such encoder.
    """
    return _entry(name).twin or name


def load_encoder(
    name: str,
    *,
    weights: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    image_size: int | None = None,
) -> Encoder:
    """Load an encoder, ready for inference.

    Args:
        name: one of `list_encoders()`.
        weights: what the encoder's `load` takes; None or "miniature" is the bundled miniature.
        device: a torch device, "cpu", "cuda", "cuda:1", ...
        dtype: "float32", "float16" or "bfloat16".
        image_size: resolution of photos in pixels, see `Encoder.resize`; None for the model's own.

    Raises:
        QpertError: unknown name, dtype or device, weights that cannot be loaded, a device that is too small, or a
            resolution that the model cannot take.
    """
    import torch

    path = resolve_weights(name, weights)
    item_bytes(dtype)
    try:
        place = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise QpertError(f"device {device!r} cannot be used here: {str(error).splitlines()[0]}") from error
    check_room(name, weights, device, dtype)
    encoder = _class(name).load(path, place, getattr(torch, dtype))
    if image_size is not None:
        encoder.resize(image_size)
    return encoder


def check_room(name: str, weights: str | None, device: str, dtype: str) -> None:
    """Refuse a device that cannot hold an encoder. On a CPU half-precision weights are mapped and need no room.

    Raises:
        QpertError: with the memory that it takes and the memory that the device has.
    """
    import torch

    place = torch.device(device)
    if place.type == "cuda":
        room, owner = torch.cuda.get_device_properties(place).total_memory, torch.cuda.get_device_name(place)
        advice = "leave such GPUs out (--accelerators)"
    elif place.type == "cpu" and dtype == "float32":
        room, owner = psutil.virtual_memory().total, "this machine"
        advice = "--dtype bfloat16 maps its files instead of copying them, a GPU serves it best"
    else:
        return
    needed = encoder_spec(name, weights).memory(dtype)
    if needed > room:
        raise QpertError(f"{name} takes {needed / 1e9:.1f} GB in {dtype}, and {owner} has {room / 1e9:.1f}: {advice}")


def _entry(name: str) -> EncoderEntry:
    if name not in ENCODERS:
        raise QpertError(f"unknown encoder {name!r}; choose one of: {', '.join(list_encoders())}")
    return ENCODERS[name]


def _class(name: str) -> type[Encoder]:
    module, _, cls = _entry(name).location.partition(":")
    encoder: type[Encoder] = getattr(import_module(module), cls)
    return encoder
