"""Checks of what a manifest says about how its features were made."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import QpertError
from pipeline.features.manifest import Manifest
from pipeline.features.provenance import MadeWith, perturbation_from
from pipeline.method.settings import Perturbation


def made(**fields: Any) -> MadeWith:
    return MadeWith.of(Manifest(fingerprint="f00", **{"encoder": {"name": "coca"}, **fields}), "out")


def test_a_manifest_of_qpert_index_is_read() -> None:
    made_with = made(
        encoder={"name": "blip2", "weights": {"name": "x", "digest": "0123"}},
        config={"weights": "org/name", "dtype": "bfloat16", "max_megapixels": 250, "source": "photos"},
    )
    assert (made_with.encoder, made_with.digest, made_with.dtype, made_with.max_megapixels) == (
        "blip2",
        "0123",
        "bfloat16",
        250,
    )
    assert made_with.weights(None) == "org/name"
    assert made_with.weights("/mine") == "/mine"
    bare = made()
    assert (bare.digest, bare.dtype, bare.max_megapixels, bare.weights(None)) == (None, None, 100, None)


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"encoder": {"name": ["coca"]}}, "name"),
        ({"encoder": {"name": {"a": 1}}}, "name"),
        ({"encoder": {"name": "x" * 101}}, "name"),
        ({"encoder": {"name": "coca", "weights": "x"}}, "weights"),
        ({"encoder": {"name": "coca", "weights": {"digest": 3}}}, "digest"),
        ({"config": {"dtype": "int8"}}, "dtype"),
        ({"config": {"dtype": {}}}, "dtype"),
        ({"config": {"max_megapixels": 0}}, "max_megapixels"),
        ({"config": {"max_megapixels": -1}}, "max_megapixels"),
        ({"config": {"max_megapixels": 1e9}}, "max_megapixels"),
        ({"config": {"max_megapixels": float("inf")}}, "max_megapixels"),
        ({"config": {"max_megapixels": float("nan")}}, "max_megapixels"),
        ({"config": {"max_megapixels": [1]}}, "max_megapixels"),
    ],
)
def test_values_of_another_type_or_range_are_named(fields: dict[str, Any], key: str) -> None:
    with pytest.raises(QpertError, match=rf"was not written by qpert index: .*{key}"):
        made(**fields)


@pytest.mark.parametrize("setting", [None, Perturbation(), Perturbation.released(), Perturbation(sites=("a*", -1))])
def test_a_recorded_perturbation_comes_back(setting: Perturbation | None) -> None:
    import json

    assert perturbation_from(json.loads(json.dumps(setting and setting.as_dict())), "out") == setting


@pytest.mark.parametrize(
    "values",
    [
        {"scale": "much"}, {"scale": [8]}, {"scale": float("nan")}, {"threshold": 2}, {"operator": "eval"},
        {"stages": "itc"}, {"stages": ["x"]}, {"stages": 3}, {"sites": {}}, [], "paper", 3, {"min_components": 7},
    ],
)  # fmt: skip
def test_another_perturbation_is_refused(values: object) -> None:
    with pytest.raises(QpertError):
        perturbation_from(values, "out")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from(["name", "weights", "dtype", "max_megapixels", "scale", "stages", "threshold", "sites"])


@settings(max_examples=150, deadline=None)
@given(encoder=st.dictionaries(fields, plain), config=st.dictionaries(fields, plain), perturbation=plain)
def test_any_content_gives_valid_values_or_an_error(
    encoder: dict[str, Any], config: dict[str, Any], perturbation: object
) -> None:
    for action in (
        lambda: made(encoder=encoder, config=config).weights(None),
        lambda: perturbation_from(perturbation, "out"),
        lambda: perturbation_from(config, "out"),
    ):
        try:
            action()
        except QpertError as error:
            assert str(error)  # noqa: PT017 - nothing else may be raised
