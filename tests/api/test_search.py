"""`pipeline.search`: one text or several, a feature set or its path."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pipeline
from pipeline.datasets.photos.rules import SourceRules
from pipeline.errors import QpertError
from pipeline.queries.hits import Hit, Hits


class AxisEncoder:
    """The text "n" is the n-th unit vector."""

    dim = 3

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        return torch.eye(3)[[int(text) for text in texts]]


@pytest.fixture
def features(write_features: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("pipeline.queries.encoding.load_text_encoder", lambda features, **_: AxisEncoder())
    return write_features(np.eye(3)[:, None], precision="float32")


def test_one_text_has_hits_and_several_have_a_list_of_them(features: Any) -> None:
    first = Hits("1", (Hit("000001.jpg", "/photos/000001.jpg", 1.0),))
    assert pipeline.search(features, "1", top=1) == first
    assert pipeline.search(features.root, ["1", "0"], 1, min_score=0.5)[0] == first
    assert pipeline.search(features, []) == []


def test_thumbnails_follow_the_rules(features: Any) -> None:
    rules = SourceRules(root="/photos")
    assert pipeline.search(features, "1", rules=rules)[:1].rules == rules


def test_miniatures_on_photos_are_a_warning_and_a_banner(features: Any) -> None:
    encoder = {"name": "coca", "weights": {"name": "coca", "digest": "0" * 16}}
    manifest = features.manifest.model_copy(update={"encoder": encoder, "scenes": False})
    features = replace(features, manifest=manifest)
    with pytest.warns(UserWarning, match="(?s)^MINIATURE MODEL ON REAL PHOTOS\n.*ViT-B-16-SigLIP2-256") as caught:
        hits = pipeline.search(features, "1")
    assert len(caught) == 1
    assert "MINIATURE MODEL ON REAL PHOTOS" in hits._repr_html_()
    features = replace(features, manifest=manifest.model_copy(update={"scenes": True}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "MINIATURE" not in pipeline.search(features, "1")._repr_html_()


def test_wrong_searches_are_errors(features: Any) -> None:
    with pytest.raises(QpertError, match="is empty"):
        pipeline.search(features, ["1", " "])
    with pytest.raises(QpertError, match="at least 1"):
        pipeline.search(features, "1", top=0)
    with pytest.raises(QpertError):
        pipeline.search("/nowhere", "1")


def test_photos_sums_filters_and_pages_are_searched_for_too(features: Any) -> None:
    like = pipeline.Query((pipeline.Term(like="000002.jpg"),), k=1)
    assert pipeline.search(features, like)[0].image_id == "000002.jpg"
    both = pipeline.Query((pipeline.Term(text="0"), pipeline.Term(text="1", weight=0.5)), k=2)
    first, second = pipeline.search(features, [both, "2"], top=1, offset=1)
    assert [hit.image_id for hit in first] == ["000000.jpg", "000001.jpg"]
    assert (second.offset, second[0].score) == (1, 0.0)
    assert [hit.image_id for hit in pipeline.search(features, "1", filters=pipeline.Filters(path="*2.jpg"))] == [
        "000002.jpg"
    ]
    assert [len(hit.folded) for hit in pipeline.search(features, "1", fold=0.5)] == [0, 0, 0]


def test_several_sets_and_sets_that_are_open_already(features: Any, write_features: Any, tmp_path: Path) -> None:
    other = write_features(np.eye(3)[1:, None], ["a.jpg", "b.jpg"], precision="float32", name="other")
    expected = [("features", "000001.jpg"), ("other", "a.jpg")]
    collection = pipeline.Collection.open([features, other])
    for sets in ([features, tmp_path / "other"], [features.root, other.root], collection):
        hits = pipeline.search(sets, "1", top=2, exact=True, cache=False)
        assert [(hit.set, hit.image_id) for hit in hits] == expected
    with pytest.raises(QpertError, match="no feature set is named"):
        pipeline.search([], "1")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_second_search_loads_no_encoder(write_features: Any, monkeypatch: pytest.MonkeyPatch, dtype: Any) -> None:
    """By the text tower, and by the whole encoder in another number format."""
    from pipeline.api import search as api
    from pipeline.encoders import resolve_weights
    from pipeline.features.fingerprint import weights_identity
    from pipeline.retrieval import text

    loaded = []

    def load(choice: text.TextEncoderChoice) -> Any:
        loaded.append(choice)
        return text.load_chosen(choice)

    api._last_encoder.cache_clear()
    monkeypatch.setattr(api, "load_chosen", load)
    named = {"name": "coca", "weights": weights_identity(resolve_weights("coca", None))}
    vectors = np.random.default_rng(0).normal(size=(3, 1, 128))
    features = write_features(vectors, precision="float32", encoder=named)
    first = pipeline.search(features, "a red star", dtype=dtype)
    assert pipeline.search(features.root, ["a red star"], dtype=dtype) == [first]
    assert len(loaded) == 1
    pipeline.search(features, "a red star", dtype="float16")
    assert len(loaded) == 2
    api._last_encoder.cache_clear()
