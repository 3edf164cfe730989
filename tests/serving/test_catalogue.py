"""Which sets there are, and how they are called."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from pipeline.errors import QpertError
from pipeline.features.store import FeatureStore
from pipeline.serving.catalogue import served_names
from pipeline.serving.service import Service


def test_names_are_those_of_folders_and_all_different() -> None:
    places = [
        ("/data/plain/", None),
        ("/other/plain", None),
        ("s3://bucket/my features?region=x", None),
        ("s3://bucket/part-*", None),
        ("/data/фото", None),
        ("/", None),
        ("/data/set", "qpert, 4 x"),
    ]
    assert served_names(places) == ["plain", "plain-2", "my-features", "part", "фото", "set", "set-qpert-4-x"]


def test_names_may_be_given(make_service: Callable[..., Service], axes: str) -> None:
    service = make_service(axes, axes, names=["a", "b"])
    assert [served.name for served in service.catalogue.all()] == ["a", "b"]
    for names, message in ((["a"], "2 sets and 1 names"), (["a", "a"], "all different"), (["a", "b/c"], "consist of")):
        with pytest.raises(QpertError, match=message):
            make_service(axes, axes, names=names)


def test_a_set_that_is_not_there_is_said_at_once(make_service: Callable[..., Service], tmp_path: Path) -> None:
    with pytest.raises(QpertError, match="holds no features"):
        make_service(str(tmp_path / "none"))
    with pytest.raises(QpertError, match="no feature set fits the pattern"):
        make_service(str(tmp_path / "none-*"))


def test_the_list_says_what_a_set_is(make_client: Callable[..., TestClient], axes: str) -> None:
    (info,) = make_client(axes).get("/sets").json()["sets"]
    assert (info["name"], info["photos"], info["vectors"], info["dim"]) == ("axes", 4, 1, 4)
    assert info["labels"] == ["dog"]
    assert info["encoder"] == "coca"
    assert info["perturbation"] is info["problem"] is None


def test_each_variant_is_a_set(
    make_client: Callable[..., TestClient], write_features: Callable[..., Any], photos: Path
) -> None:
    # Two embeddings of each photo, one after the other: the second is that of the next photo.
    first = np.eye(4)[:, None]
    both = np.concatenate([first, np.roll(first, -1, axis=0)], axis=1)
    features = write_features(both, [f"{number}.png" for number in range(4)], folder=photos, name="both")
    manifest = features.manifest.model_copy(update={"variants": ["plain", "next one"], "vectors": 1})
    FeatureStore(features.root).write_manifest(manifest)
    client = make_client(features.root)
    assert [info["name"] for info in client.get("/sets").json()["sets"]] == ["both-plain", "both-next-one"]
    for name, photo in (("both-plain", "2.png"), ("both-next-one", "1.png")):
        answer = client.post("/search", json={"text": "2", "k": 1, "set": name}).json()
        assert [result["image_id"] for result in answer["results"]] == [photo]


def test_a_pattern_is_one_set_whose_photos_keep_apart(
    make_client: Callable[..., TestClient], write_features: Callable[..., Any], photos: Path
) -> None:
    for number, name in enumerate(("part-0", "part-1")):
        write_features(np.eye(4)[[number, 2]][:, None], [f"{number}.png", "2.png"], folder=photos, name=name)
    client = make_client(f"{photos.parent}{os.sep}part-*")
    assert client.get("/sets").json()["sets"][0]["photos"] == 4
    results = client.post("/search", json={"text": "2", "k": 2}).json()["results"]
    assert [result["image_id"] for result in results] == ["2.png", "2.png"]
    assert [result["photo"] for result in results] == [f"/photos/part/2.png?part=part-{n}" for n in range(2)]
    assert all(client.get(result["thumbnail"]).status_code == 200 for result in results)
    asked = {"text": "2", "modality": "image", "num_images": 4, "indice_name": "part"}
    found = client.post("/knn-service", json=asked).json()
    assert len({one["id"] for one in found}) == 4
    told = client.post("/metadata", json={"ids": [one["id"] for one in found], "indice_name": "part"}).json()
    assert [one["metadata"]["url"] for one in told] == [one["url"] for one in found]
