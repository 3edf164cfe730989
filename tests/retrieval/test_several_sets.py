"""Several feature sets: found by pattern, refused where they do not fit together, and read as one."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import QpertError
from pipeline.features.manifest import Manifest
from pipeline.features.store import FeatureStore
from pipeline.io.locations import Folder, as_uri
from pipeline.retrieval.several_sets import changed_settings, check_same_encoder, find_sets, join_sets, open_sets


def vectors(count, v=1, d=4, seed=0):
    return np.random.default_rng(seed).standard_normal((count, v, d)).astype(np.float16)


@pytest.fixture
def three(write_features):
    """Sets part-0 to part-2 of one, two and three photos."""
    return [
        write_features(vectors(n + 1, seed=n), [f"{n}/{i}.jpg" for i in range(n + 1)], name=f"part-{n}")
        for n in range(3)
    ]


def change(features, **changes):
    manifest = Manifest.read(Folder.open(features.root)).model_copy(update=changes)
    FeatureStore(features.root).write_manifest(manifest)


def names(roots):
    return [Path(root).name for root in roots]


def test_patterns_find_feature_sets_by_name(three, tmp_path):
    (tmp_path / "part-none").mkdir()
    (tmp_path / "part-file").write_text("not a folder")
    assert names(find_sets([f"{tmp_path}/part-*"])) == ["part-0", "part-1", "part-2"]
    assert names(find_sets([f"{tmp_path}/part-{{2..1}}"])) == ["part-1", "part-2"]
    assert names(find_sets([f"{tmp_path.parent}/{tmp_path.name[:-1]}?/part-[!1]"])) == ["part-0", "part-2"]
    assert find_sets([f"{as_uri(str(tmp_path))}/part-*"]) == [as_uri(features.root) for features in three]


def test_patterns_may_begin_in_the_current_folder(three, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_sets(["part-*"]) == ["part-0", "part-1", "part-2"]
    assert find_sets(["./part-[!1]"]) == ["./part-0", "./part-2"]
    monkeypatch.chdir(tmp_path.parent)
    assert find_sets([f"{tmp_path.name[:-1]}*/part-1"]) == [f"{tmp_path.name}/part-1"]


def test_patterns_find_feature_sets_in_object_stores(three, tmp_path):
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    for features in three:
        store.put(features.root, f"/{tmp_path.name}/sets/{Path(features.root).name}", recursive=True)
    bucket = f"fsspec+memory://{tmp_path.name}/sets"
    for pattern in ("sets/part-[01]", "set[rs]/part-{0..1}", "{rows,sets}/part-[!2]"):
        found = find_sets([f"fsspec+memory://{tmp_path.name}/{pattern}"])
        assert found == [f"{bucket}/part-0", f"{bucket}/part-1"]
    assert join_sets(open_sets([f"{bucket}/*"])).ids == join_sets(three).ids


def test_each_set_counts_once_in_the_order_of_the_patterns(three, tmp_path):
    found = find_sets([f"{tmp_path}/part-2", f"{tmp_path}/part-*", f"{tmp_path}/./part-0"])
    assert names(found) == ["part-2", "part-0", "part-1"]


def test_a_folder_whose_name_looks_like_a_pattern_is_taken_as_it_is(write_features, tmp_path):
    write_features(vectors(1), name="part-[1]")
    write_features(vectors(1), name="part-1")
    assert names(find_sets([f"{tmp_path}/part-[1]"])) == ["part-[1]"]


def test_what_fits_nothing_is_refused(three, tmp_path):
    with pytest.raises(QpertError, match=r"no feature set fits the pattern .*none-\*"):
        find_sets([f"{tmp_path}/none-*"])
    (tmp_path / "empty-1").mkdir()
    with pytest.raises(QpertError, match="none of the 1 folders that fit it holds features"):
        find_sets([f"{tmp_path}/empty-*"])
    with pytest.raises(QpertError, match="name each level by"):
        find_sets([f"{tmp_path}/**/part-*"])
    with pytest.raises(QpertError, match="is not valid"):
        find_sets([f"{tmp_path}/part-[2-1]"])
    with pytest.raises(QpertError, match="no feature set is named"):
        find_sets([])
    with pytest.raises(QpertError, match="holds no features"):
        open_sets([f"{tmp_path}/empty-1"])


@pytest.mark.parametrize(
    ("encoder", "named"),
    [
        ({"name": "blip2"}, "blip2"),
        ({"name": "coca", "weights": {"name": "coca", "digest": "abc"}}, "abc"),
        ({"name": "coca", "weights": {"name": "hub/other"}}, "hub/other"),
    ],
)
def test_other_encoders_are_refused(three, encoder, named):
    change(three[1], encoder=encoder)
    with pytest.raises(QpertError, match=rf"part-0 and .*part-1 were made by different encoders: .*{named}"):
        open_sets([features.root for features in three])


def test_an_encoder_and_its_twin_are_one(three):
    for features, name in zip(three, ("blip2", "blip2-lavis", "blip2"), strict=True):
        change(features, encoder={"name": name})
    assert len(open_sets([features.root for features in three])) == 3


def test_vectors_of_other_sizes_are_refused(write_features):
    with pytest.raises(QpertError, match=r"vectors of 4 numbers.*vectors of 8 numbers"):
        check_same_encoder([write_features(vectors(1), name="a"), write_features(vectors(1, d=8), name="b")])


def test_a_joined_set_reads_like_one_of_all_photos(three, write_features):
    joined = join_sets(three)
    whole = write_features(
        np.concatenate([vectors(n + 1, seed=n) for n in range(3)]),
        [image_id for features in three for image_id in features.ids],
    )
    assert joined.ids == whole.ids
    assert len(joined) == 6
    assert joined.root == f"{three[0].root} and 2 more"
    columns = ["image_id", "uri", "objects", "embedding"]
    mine, its = (
        [block.drop_columns("uri").to_pylist() for block in features.iter_blocks(columns, 4)]
        for features in (joined, whole)
    )
    assert mine == its
    assert [len(block) for block in mine] == [4, 2]
    assert join_sets(three[:1]) is three[0]


def test_failures_of_all_sets_are_told(write_features):
    sets = [write_features(vectors(2), [f"{n}.jpg", f"{n}-bad.jpg"], failed=[f"{n}-bad.jpg"], name=n) for n in "ab"]
    joined = join_sets(sets)
    assert set(joined.failures) == {"a-bad.jpg", "b-bad.jpg"}
    assert len(joined.dataset.to_table(["image_id"])) == 4


def test_half_floats_and_floats_are_joined_as_floats(write_features):
    halves, floats = vectors(2, seed=1), vectors(3, seed=2).astype(np.float32) / 3
    sets = [
        write_features(halves, ["a", "b"], name="halves"),
        write_features(floats, ["c", "d", "e"], name="floats", precision="float32"),
    ]
    joined = join_sets(sets)
    (block,) = joined.iter_blocks(["image_id", "embedding"])
    read = joined.embeddings(block)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, np.concatenate([halves.astype(np.float32), floats]))


def test_a_photo_in_two_sets_is_refused(write_features):
    sets = [write_features(vectors(2), ids, name=ids[0]) for ids in (["a", "b"], ["c", "d"])]
    sets.append(write_features(vectors(2), ["b", "e"], failed=["b"], name="again"))
    with pytest.raises(QpertError, match=r"^b is in .*/a and in .*/again; a gallery holds each photo once"):
        join_sets(sets)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"multi": ["regions"]}, "views per photo"),
        ({"variants": ["plain"]}, "variants"),
    ],
)
def test_sets_of_other_kinds_are_not_joined(three, changes, named):
    other = replace(three[1], manifest=three[1].manifest.model_copy(update=changes))
    with pytest.raises(QpertError, match=f"cannot be one gallery: they differ in {named}"):
        join_sets([three[0], other])


def test_other_settings_are_warned_about(three):
    change(three[1], identity={"source": "/a", "perturbation": {"scale": 1.0}})
    change(three[2], identity={"source": "/b", "perturbation": {"scale": 2.0}})
    with pytest.warns(UserWarning, match=r"may not be comparable: perturbation\.scale: 1\.0 -> 2\.0"):
        join_sets(open_sets([features.root for features in three[1:]]))
    assert changed_settings(open_sets([features.root for features in three[1:]])) == ["perturbation.scale: 1.0 -> 2.0"]
    change(three[2], identity={"source": "/b", "perturbation": {"scale": 1.0}})
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        join_sets(open_sets([features.root for features in three[1:]]))
