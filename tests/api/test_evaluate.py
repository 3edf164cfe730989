"""`pipeline.evaluate`: the figures of the command, for one feature set or against a baseline."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pipeline
from pipeline.api.evaluate import set_options
from pipeline.errors import QpertError
from pipeline.experiments import evaluating, evaluating_objects


class NumberEncoder:
    """The text "n" is the n-th unit vector."""

    dim = 4

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        return torch.eye(4)[[int(text) for text in texts]]


@pytest.fixture
def captions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each photo has its own number as a caption, but photo 1 has 0."""
    monkeypatch.setattr(evaluating, "load_text_encoder", lambda features, **_: NumberEncoder())
    monkeypatch.setattr(evaluating, "ray_is_there", lambda config: False)
    images = [
        {"filename": f"{number:06d}.jpg", "split": "test", "sentences": [{"raw": caption}]}
        for number, caption in enumerate("0023")
    ]
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"images": images}))
    return path


def test_recall_of_a_feature_set(captions: Path, write_features: Any) -> None:
    features = write_features(np.eye(4)[:, None])
    result = pipeline.evaluate(features, captions, ks=[1, 4])
    assert result.sets[0].evaluation.report.t2i.overall == {1: 0.75, 4: 1.0}
    assert result.comparison is None


def test_two_feature_sets_are_compared(captions: Path, write_features: Any) -> None:
    features, plain = write_features(np.eye(4)[:, None]), write_features(np.eye(4)[[0, 1, 3, 2], None], name="plain")
    result = pipeline.evaluate(features.root, captions, against=plain, samples=100)
    assert [named.name for named in result.sets] == ["plain", "features"]
    assert result.sets[0].evaluation.report.t2i.overall[1] == 0.25
    assert result.comparison is not None


def test_the_embedding_of_an_opened_set_is_the_one_that_is_measured(write_features: Any) -> None:
    features = write_features(np.eye(4)[:, None])
    assert set_options("out", "variant", features) == {"out": features.root, "variant": None}
    manifest = features.manifest.model_copy(update={"variants": ["plain", "chosen"]})
    of_two = replace(features, manifest=manifest, variant=1)
    assert set_options("out", "variant", of_two) == {"out": features.root, "variant": "chosen"}


def test_names_of_objects_as_queries(captions: Path, write_features: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluating_objects, "ray_is_there", lambda config: False)
    features = write_features(np.eye(4)[:, None])
    names = [f"{number:06d}.jpg" for number in range(4)]
    images = [{"id": n, "file_name": name, "width": 10, "height": 10} for n, name in enumerate(names)]
    boxes = [{"image_id": n, "category_id": n % 2, "bbox": [0, 0, 1, 1]} for n in range(4)]
    categories = [{"id": n, "name": str(n)} for n in range(2)]
    path = captions.with_name("instances.json")
    path.write_text(json.dumps({"images": images, "categories": categories, "annotations": boxes}))
    result = pipeline.evaluate_objects(features, path, against=features.root, ks=[1], samples=100)
    assert [of_set.evaluation.classes for of_set in result.sets] == [("0", "1")] * 2
    assert result.sets[0].figures[0][0].value == pytest.approx((1 + 2 / 4) / 2)
    assert result.differences is not None
    with pytest.raises(QpertError, match=r"pipeline\.evaluate_objects"):
        pipeline.evaluate(features, path, queries="objects")


def test_several_sets_are_one_gallery(captions: Path, write_features: Any) -> None:
    names = [f"{number:06d}.jpg" for number in range(4)]
    first, second = (
        write_features(np.eye(4)[:3, None], names[:3], name="a"),
        write_features(np.eye(4)[3:, None], names[3:]),
    )
    for features in ([first, second], (first.root, Path(second.root))):
        result = pipeline.evaluate(features, captions, ks=[1, 4])
        assert result.sets[0].evaluation.report.t2i.overall == {1: 0.75, 4: 1.0}
    with pytest.raises(QpertError, match="no feature set is named"):
        pipeline.evaluate([], captions)


def test_sets_of_different_variants_are_not_one_gallery(captions: Path, write_features: Any) -> None:
    features = write_features(np.eye(4)[:, None])
    manifest = features.manifest.model_copy(update={"variants": ["plain", "chosen"]})
    opened = [replace(features, manifest=manifest, variant=number) for number in (0, 1)]
    with pytest.raises(QpertError, match="opened with different variants"):
        pipeline.evaluate(opened, captions)


def test_an_unknown_option_is_an_error(captions: Path) -> None:
    with pytest.raises(QpertError, match="there is no option splits; did you mean split"):
        pipeline.evaluate("features", captions, splits="test")
