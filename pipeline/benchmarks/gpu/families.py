"""One model of each family of encoders at its real size, with random weights made on the device itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from pipeline.encoders.base import Encoder
from pipeline.encoders.catalogue import find_entries
from pipeline.encoders.registry import ENCODERS, load_encoder
from pipeline.encoders.spec import EncoderSpec
from pipeline.errors import QpertError

Build = Callable[[torch.device, torch.dtype], Encoder]


@dataclass(frozen=True)
class Family:
    """A model to measure.

    Attributes:
        name: encoder and model.
        spec: its sizes.
        build: makes it on a device, in a dtype.
    """

    name: str
    spec: EncoderSpec
    build: Build


def families(names: Sequence[str] | None = None) -> list[Family]:
    """Those whose name contains one of `names` (all for None), the most telling ones first.

    `blip2-lavis` is left out: it is `blip2` in an environment of its own.

    Raises:
        QpertError: a name that none contains.
    """
    known = [
        _family("blip2", "Salesforce/blip2-itm-vit-g-coco", _blip2),
        _siglip("google/siglip2-so400m-patch16-384"),
        *(_open_clip("open_clip", model) for model in ("PE-Core-L-14-336", "ViT-B-32", "ViT-L-14")),
        _open_clip("coca", "coca_ViT-L-14"),
        _siglip("google/siglip2-so400m-patch16-naflex"),
        _family("internvl", "OpenGVLab/InternVL-14B-Flickr30K-FT-364px", _internvl("g")),
        _family("internvl-c", "OpenGVLab/InternVL-14B-Flickr30K-FT-364px", _internvl("c")),
    ]
    for name in names or ():
        if not any(name in family.name for family in known):
            raise QpertError(f"no family {name!r}; there are: {', '.join(family.name for family in known)}")
    return [family for family in known if names is None or any(name in family.name for name in names)]


def miniatures(names: Sequence[str] | None = None) -> list[Family]:
    """The bundled miniatures, which stand in for their families in a rehearsal."""

    def build_of(name: str) -> Build:
        return lambda device, dtype: load_encoder(name, device=str(device), dtype=str(dtype).removeprefix("torch."))

    return [
        Family(f"{name} miniature", entry.sizes, build_of(name))
        for name, entry in ENCODERS.items()
        if entry.miniature and (names is None or name in names)
    ]


def _family(encoder: str, weights: str, build: Build) -> Family:
    entry = next(entry for entry in find_entries(weights) if entry.encoder == encoder)
    return Family(f"{encoder} {weights.rpartition('/')[2]}", entry.spec, build)


def _blip2(device: torch.device, dtype: torch.dtype) -> Encoder:
    from transformers import Blip2ForImageTextRetrieval

    from pipeline.benchmarks.blip2_pass import full_size
    from pipeline.encoders.blip2.encoder import Blip2Encoder

    with device:
        model = Blip2ForImageTextRetrieval(full_size())
    nn.init.normal_(model.query_tokens, std=0.02)  # transformers initialises them with zeros
    model.vision_model.to(dtype)
    return Blip2Encoder.from_model(model)


def _siglip(name: str) -> Family:
    from pipeline.encoders.siglip2.sizes import read_spec

    def build(device: torch.device, dtype: torch.dtype) -> Encoder:
        from transformers import Siglip2Model, SiglipModel

        from pipeline.encoders.siglip2.encoder import SiglipEncoder
        from pipeline.encoders.siglip2.sizes import published

        sizes = published(name)
        assert sizes is not None
        with device:
            model = (Siglip2Model if sizes.native else SiglipModel)(sizes.for_transformers())
        return SiglipEncoder.from_model(model.to(dtype))

    return Family(f"siglip2 {name.rpartition('/')[2]}", read_spec(name), build)


def _open_clip(encoder: str, name: str) -> Family:
    from pipeline.encoders.open_clip.table import open_clip_models

    def build(device: torch.device, dtype: torch.dtype) -> Encoder:
        import open_clip

        from pipeline.encoders.open_clip.config import ModelConfig
        from pipeline.encoders.open_clip.encoder import OpenClipEncoder
        from pipeline.encoders.open_clip.library import build

        with device:
            model = build(ModelConfig.of(open_clip.get_model_config(name), name))
        return OpenClipEncoder.from_model(model.to(dtype))

    return Family(f"{encoder} {name}", open_clip_models()[name].spec, build)


def _internvl(mode: str) -> Build:
    def build(device: torch.device, dtype: torch.dtype) -> Encoder:
        from pipeline.encoders.internvl.config import InternVLConfig
        from pipeline.encoders.internvl.encoder import InternVLEncoder
        from pipeline.encoders.internvl.model import build_internvl

        with device, _default(dtype):  # in float32 it would take 55 GB first
            model = build_internvl(InternVLConfig(force_image_size=364))
        return InternVLEncoder.from_model(model, mode=mode)  # type: ignore[arg-type]

    return build


@contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
