"""The sizes of SigLIPs, against models of these configurations built on the meta device."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import Siglip2Model, SiglipModel

from pipeline.encoders import encoder_spec
from pipeline.encoders.siglip2.config import Preprocessing
from pipeline.encoders.siglip2.sizes import published, spec_of
from tests.encoders.siglip2 import tiny_siglip

PUBLISHED = [
    ("google/siglip2-base-patch16-224", 0.375, 196, 768),
    ("google/siglip2-base-patch16-512", 0.376, 1024, 768),
    ("google/siglip2-base-patch16-naflex", 0.375, 256, 768),
    ("google/siglip2-large-patch16-256", 0.882, 256, 1024),
    ("google/siglip2-so400m-patch14-384", 1.136, 729, 1152),
    ("google/siglip2-so400m-patch16-naflex", 1.136, 256, 1152),
    ("google/siglip2-giant-opt-patch16-384", 1.872, 576, 1536),
    ("google/siglip-base-patch16-224", 0.203, 196, 768),
    ("google/siglip-so400m-patch14-384", 0.878, 729, 1152),
]


@pytest.mark.parametrize(("name", "billions", "tokens", "width"), PUBLISHED)
def test_published_models(name: str, billions: float, tokens: int, width: int) -> None:
    """Billions of parameters of the whole model, and the same of one built on the meta device."""
    spec = encoder_spec("siglip2", name)
    assert spec.parameters / 1e9 == pytest.approx(billions, abs=0.0006)
    assert (spec.tokens, spec.width, spec.vectors, spec.dim, spec.sites) == (tokens, width, 1, width, 1)
    sizes = published(name)
    assert sizes is not None
    with torch.device("meta"):
        model = (Siglip2Model if sizes.native else SiglipModel)(sizes.for_transformers())
    assert spec.parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("native", [False, True])
def test_folders(native: bool, tmp_path: Path) -> None:
    folder = tiny_siglip.write_folder(tmp_path, native)
    spec = encoder_spec("siglip2", folder)
    assert spec.parameters == sum(parameter.numel() for parameter in tiny_siglip.build(native).parameters())
    assert (spec.tokens, spec.width, spec.vectors, spec.dim) == (tiny_siglip.MOST if native else 16, 24, 1, 24)
    assert spec.memory("bfloat16") < spec.memory("float32")


def test_unknown_ids_count_as_the_largest_model() -> None:
    assert encoder_spec("siglip2", "someone/siglip2-of-mine") == encoder_spec(
        "siglip2", "google/siglip2-giant-opt-patch16-384"
    )


def test_cached_configurations_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_siglip.write_folder(tmp_path, True)
    monkeypatch.setattr(
        "pipeline.encoders.siglip2.sizes.try_to_load_from_cache",
        lambda name, file: str(tmp_path / file) if name == "someone/tiny" else None,
    )
    assert encoder_spec("siglip2", "someone/tiny").width == 24


def test_wider_inner_layers_and_projections_are_counted() -> None:
    sizes = published("google/siglip2-giant-opt-patch16-256")
    assert sizes is not None
    assert sizes.text_config.projection_size == 1536 != sizes.text_config.hidden_size
    assert spec_of(sizes, Preprocessing()).dim == 1536
