"""Outcomes are measured once, in a Ray task that gets only what is left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.experiments import measuring
from pipeline.experiments.material import Material
from pipeline.experiments.measuring import first_objects, measure_variants
from pipeline.experiments.variants import Variant
from pipeline.features.store import FeatureStore
from pipeline.retrieval.ranks import Ranks
from pipeline.runs.options import ClusterOptions

MATERIAL = Material("photos", [CaptionedImage("a.jpg", ("a cat",))], "")


def test_only_variants_without_an_outcome_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_features: Any
) -> None:
    asked: list[list[str]] = []

    def task(
        what: str, function: Any, left: Mapping[str, Variant], *arguments: Any, **options: Any
    ) -> dict[str, Ranks]:
        asked.append([*left])
        return {
            name: Ranks(np.array([len(name)]), np.array([1]), np.array([0]), np.array([0]), ("a.jpg",)) for name in left
        }

    monkeypatch.setattr(measuring, "run_as_task", task)
    features = write_features(np.ones((1, 1, 3)))
    store = FeatureStore(features.folder)
    variants = {name: Variant(store, name) for name in ("plain", "chosen")}
    options: dict[str, Any] = {"weights": None, "device": "cpu", "cluster": ClusterOptions()}
    first = measure_variants(tmp_path, MATERIAL, features, variants, **options)
    assert asked == [["plain", "chosen"]]
    (kept,) = tmp_path.rglob("plain.npz")
    kept.unlink()
    again = measure_variants(tmp_path, MATERIAL, features, variants, **options)
    assert asked[1:] == [["plain"]]
    assert {name: ranks.text_ranks.tolist() for name, ranks in again.items()} == {"plain": [5], "chosen": [6]}
    assert [*first] == [*again] == ["plain", "chosen"]


def test_the_first_objects_are_those_of_the_rows() -> None:
    box = {"x0": 0.1, "y0": 0.2, "x1": 0.5, "y1": 0.6, "label": "cat", "score": 0.5}
    rows = [{"objects": [box], "width": 40, "height": 20}, {"objects": [], "width": 9, "height": 9}]
    block = SimpleNamespace(to_pylist=lambda: rows)
    features: Any = SimpleNamespace(iter_blocks=lambda columns, count: iter([block]))
    one, none = first_objects(features, 2)
    assert one.boxes.tolist() == [pytest.approx([0.1, 0.2, 0.5, 0.6])]
    assert (one.size, len(none)) == ((40, 20), 0)
