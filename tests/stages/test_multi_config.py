"""The options of further views: what they cost, and what of them changes the features."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from pipeline.features.views import VIEWS as KINDS
from pipeline.stages.multi_config import NO_MULTI, VIEWS, MultiConfig


def test_kinds_are_kept_once_and_in_the_order_of_the_views() -> None:
    assert MultiConfig(kinds=("tiles", "regions", "tiles")).kinds == ("regions", "tiles")
    assert MultiConfig.model_validate({"kinds": "crops"}).kinds == ("crops",)
    assert tuple(VIEWS.values()) == KINDS[1:]


@pytest.mark.parametrize(
    ("kinds", "cuts", "expected"),
    [
        ((), 0, 0),
        (("regions",), 0, 6),
        (("crops",), 32, 6),
        (("tiles",), 13, 13),
        (("clusters",), 0, 8),
        (("objects",), 0, 6),
        (("regions", "crops", "tiles", "clusters", "objects"), 45, 39),
    ],
)
def test_tower_passes_and_vectors(kinds: tuple[str, ...], cuts: int, expected: int) -> None:
    config = MultiConfig.model_validate({"kinds": kinds})
    assert (config.cuts, config.expected(6)) == (cuts, expected)


def test_what_a_kind_needs() -> None:
    config = MultiConfig(kinds=("regions", "crops", "tiles", "clusters", "objects"))
    assert config.needs_sites == ("regions", "clusters", "objects")
    assert config.needs_objects == ("regions", "crops", "objects")


def test_only_the_options_of_the_kinds_are_their_identity() -> None:
    assert NO_MULTI.identity() == {"kinds": []}
    assert MultiConfig(kinds=("regions",), margin=3, tiles=(5,)).identity() == {"kinds": ["regions"], "max_objects": 32}
    crops = MultiConfig(kinds=("crops",), margin=0.5, seed=7).identity()
    assert crops == {"kinds": ["crops"], "max_objects": 32, "margin": 0.5}
    assert MultiConfig(kinds=("tiles",), tiles=(3, 2, 3)).identity() == {
        "kinds": ["tiles"],
        "tiles": [2, 3],
        "overlap": 0.2,
    }
    assert MultiConfig(kinds=("clusters",), clusters=4).identity() == {"kinds": ["clusters"], "clusters": 4, "seed": 0}


@pytest.mark.parametrize(
    "wrong", [{"kinds": ["region"]}, {"tiles": []}, {"overlap": 1}, {"margin": -1}, {"tiles": [0]}]
)
def test_impossible_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        MultiConfig.model_validate(wrong)
