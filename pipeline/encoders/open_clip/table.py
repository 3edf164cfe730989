"""The table of open_clip's models: sizes and published weights, known without importing open_clip or torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.encoders.spec import EncoderSpec

TABLE = Path(__file__).with_name("models.json")
"""Written by `measuring.py`."""


@dataclass(frozen=True)
class OpenClipModel:
    """A model that open_clip has a configuration for.

    Attributes:
        name: in open_clip.
        sites: cross-attentions that objects can act on; 0: the model runs plain only.
        heads: of the site; 0 without one.
        image_size: side of the square photo in pixels.
        tokens: N, image tokens: those that the site attends to, including prefix tokens where it sees them. Without a
            site those of open_clip's own transformer; the vector of a tower of timm, which is not cut in two, is one.
        width: C, numbers in a token.
        dim: D, length of an embedding.
        parameters: of the whole model, text tower included.
        gigaflops: floating-point operations of the image tower for one photo, in 10^9; a multiplication and an
            addition are two.
        weights: tag -> repository on the Hugging Face hub, or a file in one.
    """

    name: str
    sites: int
    heads: int
    image_size: int
    tokens: int
    width: int
    dim: int
    parameters: int
    gigaflops: float
    weights: Mapping[str, str] = field(default_factory=dict)

    @property
    def spec(self) -> EncoderSpec:
        """What memory and disk space are planned by."""
        return EncoderSpec(self.parameters, self.tokens, self.width, vectors=1, dim=self.dim, sites=self.sites)

    def with_weights(self, weights: Mapping[str, str]) -> OpenClipModel:
        """The same model with these weights."""
        return dataclasses.replace(self, weights=weights)

    def as_row(self) -> dict[str, Any]:
        """As the table holds it, below its name."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key != "name"}


@cache
def open_clip_models() -> Mapping[str, OpenClipModel]:
    """Name -> model, of the open_clip release that the table was made from."""
    rows = json.loads(TABLE.read_text(encoding="utf-8"))["models"]
    return {name: OpenClipModel(name=name, **row) for name, row in rows.items()}
