"""The real sizes, built without memory for them."""

from __future__ import annotations

import pytest
import torch

from pipeline.benchmarks.gpu.families import families, miniatures
from pipeline.encoders.registry import ENCODERS
from pipeline.errors import QpertError

NAMES = [family.name for family in families()]


def test_every_encoder_has_a_family_except_lavis_twin() -> None:
    assert {name.partition(" ")[0] for name in NAMES} == ENCODERS.keys() - {"blip2-lavis"}
    assert len({*NAMES}) == len(NAMES)


def test_families_are_chosen_by_parts_of_their_names() -> None:
    assert [family.name for family in families(["ViT-B", "PE-Core"])] == [
        "open_clip PE-Core-L-14-336",
        "open_clip ViT-B-32",
    ]
    with pytest.raises(QpertError, match="no family 'ViT-Z'; there are: blip2 "):
        families(["blip2", "ViT-Z"])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_model_is_the_one_whose_memory_is_estimated(name: str) -> None:
    (family,) = [one for one in families([name]) if one.name == name]
    encoder = family.build(torch.device("meta"), torch.bfloat16)
    parameters = list(encoder.model.parameters())  # type: ignore[attr-defined]
    assert sum(weight.numel() for weight in parameters) == family.spec.parameters
    assert {weight.device.type for weight in parameters} == {"meta"}
    assert encoder.dtype == torch.bfloat16
    size = sum(weight.nbytes for weight in parameters)
    assert size == pytest.approx(family.spec.memory("bfloat16") - 2**30, rel=1e-3)
    assert (encoder.vectors, encoder.dim) == (family.spec.vectors, family.spec.dim)
    assert len(encoder.sites()) == family.spec.sites
    assert torch.get_default_dtype() == torch.float32


def test_miniatures_stand_in() -> None:
    assert [family.name for family in miniatures(["coca", "blip2"])] == ["blip2 miniature", "coca miniature"]
    encoder = miniatures(["coca"])[0].build(torch.device("cpu"), torch.float32)
    assert encoder.name == "coca"
