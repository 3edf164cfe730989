"""Opening several sets: their names, what differs between them, and what cannot be searched together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.store import FeatureStore
from pipeline.queries.open_sets import open_sets, unique_names


def changed(features: FeatureSet, **values: Any) -> str:
    """The set with another manifest; returns its path."""
    store = FeatureStore(features.root)
    store.write_manifest(store.manifest().model_copy(update=values))
    return features.root


@pytest.mark.parametrize(
    ("roots", "names"),
    [
        (["/a/features"], ["features"]),
        (["/a/x", "/a/y/"], ["x", "y"]),
        (["/a/x", "/b/x"], ["a/x", "b/x"]),
        (["/a/x/f", "/b/x/f", "/c/y/f"], ["a/x/f", "b/x/f", "c/y/f"]),
        (["s3://bucket/sets/a%20b?region=eu-west-1", "/a/c"], ["a b", "c"]),
        (["s3://one/x", "s3://two/x"], ["one/x", "two/x"]),
        (["/a/x", "/a/x"], ["a/x (1)", "a/x (2)"]),
        ([], []),
    ],
)
def test_sets_are_called_by_their_folders_as_far_as_these_differ(roots: list[str], names: list[str]) -> None:
    assert unique_names(roots) == names


def test_a_set_of_the_current_folder_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert unique_names(["."]) == [tmp_path.name]


def test_each_set_is_opened_once_however_it_is_named(write_features: Any, tmp_path: Path) -> None:
    for name in ("part-1", "part-2"):
        write_features(np.ones((1, 1, 4)), name=name)
    sets, notes = open_sets([f"{tmp_path}/part-*", f"{tmp_path}/part-1"], cache=False)
    assert [one.name for one in sets] == ["part-1", "part-2"]
    assert notes == []
    sets, _ = open_sets([f"{tmp_path}/part-*"], cache=False, names=["plain", "other"])
    assert [one.name for one in sets] == ["plain", "other"]
    with pytest.raises(QpertError, match="2 feature sets and 1 names"):
        open_sets([f"{tmp_path}/part-*"], names=["plain"])


def test_other_settings_are_said(write_features: Any) -> None:
    one, two = (write_features(np.ones((1, 1, 4)), name=name) for name in ("one", "two"))
    changed(one, identity={"perturbation": None})
    changed(two, identity={"perturbation": {"alpha": 1.0}})
    _, notes = open_sets([one.root, two.root], cache=False)
    assert len(notes) == 1
    assert "not made with the same settings" in notes[0]
    assert "perturbation" in notes[0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"encoder": {"name": "open_clip"}}, "made by different encoders: coca .* and open_clip"),
        ({"encoder": {"name": "coca", "weights": {"name": "x", "digest": "1" * 16}}}, "different encoders.*1111"),
    ],
)
def test_sets_of_other_encoders_or_weights_are_refused(write_features: Any, values: Any, message: str) -> None:
    one, two = (write_features(np.ones((1, 1, 4)), name=name) for name in ("one", "two"))
    with pytest.raises(QpertError, match=message):
        open_sets([one.root, changed(two, **values)], cache=False)


def test_other_numbers_and_sizes_of_vectors_are_refused(write_features: Any) -> None:
    one = write_features(np.ones((1, 1, 4)), name="one")
    with pytest.raises(QpertError, match="other numbers of vectors per photo cannot"):
        open_sets([one, write_features(np.ones((1, 2, 4)), name="two")], cache=False)
    with pytest.raises(QpertError, match=r"vectors of 4 numbers.*vectors of 5 numbers"):
        open_sets([one, write_features(np.ones((1, 1, 5)), name="three")], cache=False)
    with pytest.raises(QpertError, match="no feature set is named"):
        open_sets([])
