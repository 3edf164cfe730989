from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.experiments.material import Material
from pipeline.experiments.outcomes import Outcomes, outcomes_key
from pipeline.experiments.variants import Variant
from pipeline.features.manifest import Manifest
from pipeline.features.store import FeatureStore
from pipeline.retrieval.ranks import Ranks


def test_ranks_are_read_back_and_damaged_ones_count_as_missing(tmp_path: Path) -> None:
    outcomes = Outcomes(tmp_path / "new")
    owners = np.array([0, 0, 1])
    ranks = Ranks(np.array([1, 5, 2]), np.array([1, 0]), owners, np.array([-1, 9]), ("a b.jpg", "ü.jpg"))
    name = "constant, scale 2, threshold 0.99"
    assert outcomes.find(name) is None
    outcomes.keep(name, ranks)
    ranks_read = outcomes.find(name)
    assert ranks_read is not None
    for field in ("text_ranks", "image_ranks", "image_of_text", "bins"):
        assert np.array_equal(getattr(ranks_read, field), getattr(ranks, field))
    assert ranks_read.image_ids == ranks.image_ids
    assert ranks_read.photos is None
    outcomes.keep("copies", replace(ranks, photos=np.array([3, 3])))
    of_copies = outcomes.find("copies")
    assert of_copies is not None
    assert of_copies.photos is not None
    assert of_copies.photos.tolist() == [3, 3]
    (tmp_path / "new" / "copies.npz").unlink()
    assert outcomes.find("constant, scale 20, threshold 0.99") is None
    (path,) = (tmp_path / "new").iterdir()
    path.write_bytes(path.read_bytes()[:-30])
    assert outcomes.find(name) is None


def test_the_key_changes_with_features_captions_and_boxes(tmp_path: Path) -> None:
    (tmp_path / "boxes.json").write_text("[1]")
    stores = {name: FeatureStore(str(tmp_path / name)) for name in ("annotated", "detected")}
    variants = {name: Variant(store, name) for name, store in stores.items()}
    for name, store in stores.items():
        store.write_manifest(Manifest(fingerprint=name, counts={"photos": 2}))

    def key(*captions: str) -> str:
        material = Material("photos", [CaptionedImage("a.jpg", list(captions))], str(tmp_path / "boxes.json"))
        return outcomes_key(variants, material)

    before = key("a dog")
    assert key("a dog") == before
    assert key("a dog", "a cat") != before
    stores["detected"].write_manifest(Manifest(fingerprint="another detector", counts={"photos": 2}))
    changed = key("a dog")
    assert changed != before
    (tmp_path / "boxes.json").write_text("[2]")
    assert key("a dog") != changed
