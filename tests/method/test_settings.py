"""The settings of the perturbation: presets, normal forms, and values that are refused."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from pipeline.errors import QpertError
from pipeline.method.settings import Perturbation


def test_presets() -> None:
    paper, released = Perturbation.paper(scale=6, threshold=0.85, weight="1-area"), Perturbation.released()
    assert paper == Perturbation("subspace", "sum", "overlap", "1-area", 6, 0.85, ("itc",), 0)
    assert Perturbation.one_component(6, 0.85, "1-area") == dataclasses.replace(paper, min_components=1)
    assert released == Perturbation("eigenvector-rows", "mean", "coverage", "constant", 8, 0.99, ("itc", "itm"), 1)
    area = torch.tensor([0.25])
    assert Perturbation.paper(weight="1-area").alphas(area).tolist() == [6.0]
    assert Perturbation.released(weight="1-area").alphas(area).tolist() == [-2.0]
    assert Perturbation.released(weight="0.5-area").alphas(area).tolist() == [2.0]


def test_stages_have_one_order() -> None:
    assert Perturbation(stages=("lm", "itc", "lm")).stages == ("itc", "lm")  # type: ignore[arg-type]
    assert Perturbation(stages=()).stages == ()


def test_sites_are_names_and_numbers() -> None:
    """Also in the form in which a command line gives them."""
    assert Perturbation(sites=("0", "-1", "pool.*", 2)).sites == (0, -1, "pool.*", 2)
    assert Perturbation(sites=["pool"]).sites == Perturbation(sites="pool").sites == ("pool",)  # type: ignore[arg-type]


def test_as_dict_is_the_form_of_files_and_fingerprints() -> None:
    """Features made before sites could be chosen still stand for all sites, and with all tokens."""
    plain = Perturbation()
    assert list(plain.as_dict()) == [
        "operator", "combine", "tokens", "weight", "scale", "threshold", "stages", "min_components",
    ]  # fmt: skip
    some = Perturbation(sites=(0, "pool"))
    assert some.as_dict()["sites"] == (0, "pool")
    assert Perturbation(**some.as_dict()) == some
    assert Perturbation(**plain.as_dict()) == plain
    without = Perturbation(artefacts="drop")
    assert without.as_dict() == {**plain.as_dict(), "artefacts": "drop"}
    assert Perturbation(**without.as_dict()) == without
    control = Perturbation(operator="random", pca="centred", norm="keep", boxes="shuffled", seed=3)
    assert control.as_dict().items() >= {"pca": "centred", "norm": "keep", "boxes": "shuffled", "seed": 3}.items()
    assert Perturbation(**control.as_dict()) == control


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("operator", "pca", "subspace, orthogonal, eigenvector-rows"),
        ("combine", "max", "sum, mean"),
        ("tokens", "hard", "overlap, coverage"),
        ("weight", "inverse", "0.5-area"),
        ("stages", ("itc", "vqa"), "itc, itm, lm"),
        ("min_components", 2, "0, 1"),
        ("threshold", 0.0, "0.8 to 0.99"),
        ("threshold", 90.0, "0.8 to 0.99"),
        ("threshold", float("nan"), "0.8 to 0.99"),
        ("scale", float("inf"), "2 to 10"),
        ("sites", (), "at least one cross-attention"),
        ("artefacts", "mask", "keep, drop"),
        ("pca", "whitened", "uncentred, centred, background-out"),
        ("norm", "unit", "free, keep"),
        ("boxes", "random", "own, shuffled, elsewhere"),
        ("background", 0.0, "lies in"),
        ("background", 1.5, "lies in"),
        ("seed", -1, "whole number"),
        ("seed", 2**32, "whole number"),
        ("seed", 1.5, "whole number"),
        ("seed", "3", "whole number"),
    ],
)
def test_bad_settings_are_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(QpertError, match=message):
        Perturbation(**{field: value})  # type: ignore[arg-type]
