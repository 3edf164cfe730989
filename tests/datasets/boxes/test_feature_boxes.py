"""The objects of a feature set as annotations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.datasets.boxes.feature_boxes import boxes_digest, read_feature_boxes
from pipeline.datasets.boxes.identity import annotations_identity
from pipeline.datasets.boxes.photo_boxes import PhotoBoxes
from pipeline.datasets.boxes.reading import read_boxes
from pipeline.detectors.annotated import AnnotatedBoxes
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.marks import REMOVED, add_marks

IDS = ["x/a.jpg", "y/a.jpg", "b.jpg", "c.jpg", "failed.jpg", "gone.jpg"]


def thing(label: str, *edges: float) -> dict[str, Any]:
    return dict(zip(("x0", "y0", "x1", "y1"), map(np.float32, edges), strict=True)) | {"label": label, "score": 0.5}


OBJECTS = [
    [thing("dog", 0, 0, 1, 0.5), thing("cat", 0.1, 0.2, 0.7, 0.9)],
    [thing("bird", 0.25, 0.25, 0.5, 0.5)],
    [],
    [thing("", 0.5, 0, 0.75, 1), thing("dog", 0, 0, 0.125, 0.125)],
    [thing("dog", 0, 0, 1, 1)],
    [thing("dog", 0, 0, 1, 1)],
]


@pytest.fixture
def features(write_features: Callable[..., FeatureSet]) -> FeatureSet:
    """Of 64 x 48 pixels a photo, in two files; one failed, one has left the source."""
    made = write_features(np.ones((6, 1, 4)), IDS, objects=OBJECTS, failed=["failed.jpg"], files=2)
    rows = [
        {"file": name, "image_id": "gone.jpg", "reason": "gone"}
        for name, table in made.dataset.files.tables([])
        if "gone.jpg" in table["image_id"].to_pylist()
    ]
    add_marks(made.folder, "removed", pa.Table.from_pylist(rows, REMOVED))
    return made


def test_photos_that_count_have_their_objects(features: FeatureSet) -> None:
    boxes = read_boxes(features.root)
    assert [name for name, _ in boxes.all()] == ["b.jpg", "c.jpg", "x/a.jpg", "y/a.jpg"]
    assert boxes.of("y/a.jpg") == PhotoBoxes((64, 48), (("bird", (16, 12, 32, 24)),), 0)
    assert boxes.of("b.jpg") == PhotoBoxes((64, 48), (), 0)
    assert boxes.of("folder/c.png") == PhotoBoxes((64, 48), (("", (32, 0, 48, 48)), ("dog", (0, 0, 8, 6))), 0)
    assert boxes.of("failed.jpg") is boxes.of("gone.jpg") is boxes.of("unknown.jpg") is None
    assert boxes.of("a.jpg") is None, "of two photos with one file name neither is meant"
    assert read_boxes(features.root, strict=True).of("b.jpg") is not None


def test_objects_come_back_to_the_last_bit(features: FeatureSet) -> None:
    detector = AnnotatedBoxes(features.root)
    for image_id, wanted in zip(IDS[:4], OBJECTS, strict=False):
        objects = detector.objects_for(image_id, (64, 48))
        assert objects.labels == tuple(one["label"] for one in wanted)
        edges = [[one[edge] for edge in ("x0", "y0", "x1", "y1")] for one in wanted]
        assert np.array_equal(objects.boxes.numpy(), np.array(edges, np.float32).reshape(-1, 4))


@pytest.mark.parametrize("size", [(640, 427), (333, 500), (4999, 3001), (7, 3)])
def test_fractions_of_any_size_come_back(tmp_path: Path, write_features: Any, size: tuple[int, int]) -> None:
    edges = np.sort(np.random.default_rng(size[0]).random((50, 2, 2), np.float32), axis=1).reshape(50, 4)
    made = write_features(np.ones((1, 1, 4)), ["a.jpg"], objects=[[thing("x", *row) for row in edges]])
    packed = read_feature_boxes(Path(made.root))
    scale = np.array([*size, *size], np.float64)
    corners = packed.corners / [64, 48, 64, 48] * scale
    assert np.array_equal((corners / scale).astype(np.float32), edges)


def test_the_identity_is_that_of_the_objects_alone(features: FeatureSet, write_features: Any) -> None:
    identity = annotations_identity(features.root)
    assert identity == {"name": "features", "digest": boxes_digest(read_feature_boxes(Path(features.root)))}
    kept, order = [0, 1, 2, 3], [3, 1, 0, 2]
    other = write_features(
        np.zeros((4, 2, 8)), [IDS[n] for n in order], objects=[OBJECTS[n] for n in order], name="other/features"
    )
    assert annotations_identity(other.root) == identity
    changed = [*OBJECTS[:3], [thing("dog", 0, 0, 0.125, 0.25)]]
    third = write_features(np.ones((4, 1, 4)), [IDS[n] for n in kept], objects=changed, name="third/features")
    assert annotations_identity(third.root)["digest"] != identity["digest"]


def test_a_set_without_photos_is_refused(write_features: Any) -> None:
    made = write_features(np.ones((1, 1, 4)), ["a.jpg"], failed=["a.jpg"])
    with pytest.raises(QpertError, match="holds no photos with objects"):
        read_boxes(made.root)
