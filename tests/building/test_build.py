"""Building an index and bringing it up to date, in this process: what is made, kept, deleted and said."""

from __future__ import annotations

import itertools
import os
import pydoc
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from pipeline.building.build import Build
from pipeline.building.building_sets import build_indexes, describe_builds
from pipeline.building.spec import BuildSpec
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.removing import removed_rows
from pipeline.features.store import FeatureStore
from pipeline.io.locations import Folder
from pipeline.vectors.index_manifest import IndexManifest
from pipeline.vectors.opening import open_snapshot

KINDS = ("exact", "ivf-sq8", "ivf-pq", "ivf-rabitq")
SMALL = 8 * 1024


def unit_vectors(photos: int, v: int = 2, d: int = 16, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((photos, v, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def build(root: str, **options):
    [report] = build_indexes(BuildSpec(features=[root], **options))
    return report


def manifest(root: str) -> IndexManifest:
    found = IndexManifest.find(Folder.open(root))
    assert found is not None
    return found


def entry(root: str):
    return manifest(root).indexes["all"]


def shards_on_disk(root: str) -> set[str]:
    return {path.name for path in Path(root, "search", "all", "shards").iterdir()}


def contents(root: str) -> dict[str, bytes]:
    """Everything that an index is, by path."""
    search = Path(root, "search")
    files = [path for path in search.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(search)): path.read_bytes() for path in files}


def add_file(root: str, first: int, count: int, name: str, seed: int = 1) -> None:
    """A further features file of `count` photos, made like the first one of the set."""
    old = sorted(Path(root, "features").glob("*.parquet"))[0]
    table = pq.read_table(old)
    rows = table.slice(0, 1).to_pylist() * count
    vectors = unit_vectors(count, seed=seed)
    for number, row in enumerate(rows):
        rows[number] = {
            **row,
            "image_id": f"{first + number:06d}.jpg",
            "embedding": vectors[number].ravel().astype(np.float16),
        }
    pq.write_table(table.from_pylist(rows, schema=table.schema), Path(root, "features", name))


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_holds_all_photos(write_features, kind) -> None:
    root = write_features(unit_vectors(300), files=6, failed=["000011.jpg"]).root
    report = build(root, kind=kind, lists=4 if kind != "exact" else None, shard_size=SMALL)
    made = entry(root)
    assert (report.kind, report.photos, report.vectors) == (kind, 299, 598)
    assert report.shards == report.made == len(made.shards) > 1
    assert shards_on_disk(root) == set(made.shards)
    assert report.trained == (kind != "exact")
    assert report.bytes == sum(
        len(data)
        for name, data in contents(root).items()
        if name.rpartition("/")[2] not in ("manifest.json", "shard.json")
    )
    assert sorted(name for shard in made.shards.values() for name in shard.files) == [
        f"part{number:03d}-000000.parquet" for number in range(6)
    ]
    again = build(root, shard_size=SMALL)
    assert (again.made, again.trained, again.kind) == (0, False, kind)
    assert "nothing to do" in again.text()


def test_only_new_files_are_built(write_features) -> None:
    root = write_features(unit_vectors(300), files=3).root
    build(root, shard_size=2**13)
    before = entry(root)
    add_file(root, 300, 90, "part900-000000.parquet")
    report = build(root, shard_size=2**13)
    after = entry(root)
    assert (report.made, report.photos) == (1, 390)
    assert set(before.shards) < set(after.shards)
    [new] = set(after.shards) - set(before.shards)
    assert list(after.shards[new].files) == ["part900-000000.parquet"]


def test_removed_photos_stay_in_the_shards_until_the_features_are_compacted(write_features) -> None:
    root = write_features(unit_vectors(200), files=2).root
    build(root)
    before = contents(root)
    rows = [("part000-000000.parquet", f"{number:06d}.jpg") for number in range(60)]
    FeatureStore(root).remove_rows("0" * 16, removed_rows(rows, "gone"))
    report = build(root)
    assert report.made == 0
    assert contents(root) == before
    assert "60 photos of the index have been removed since: qpert compact" in report.notes[0]
    FeatureStore(root).compact()
    report = build(root)
    assert (report.made, report.photos, report.notes) == (1, 140, ())
    assert shards_on_disk(root) == set(entry(root).shards)


def test_an_index_of_other_features_is_replaced(write_features) -> None:
    features = write_features(unit_vectors(100), files=2)
    build(features.root)
    old = shards_on_disk(features.root)
    FeatureStore(features.root).write_manifest(features.manifest.model_copy(update={"fingerprint": "1" * 16}))
    report = build(features.root)
    assert report.made == 1
    assert manifest(features.root).fingerprint == "1" * 16
    assert not old & shards_on_disk(features.root)


def test_a_damaged_manifest_is_replaced(write_features) -> None:
    root = write_features(unit_vectors(100)).root
    build(root)
    whole = contents(root)
    Path(root, "search", "manifest.json").write_text("{")
    build(root)
    assert contents(root) == whole


def test_what_the_raw_cache_has_made_is_used(write_features) -> None:
    root = write_features(unit_vectors(200), files=2).root
    open_snapshot(root)
    made = {key: os.stat(Path(root, "search", "all", "shards", key)).st_ctime_ns for key in shards_on_disk(root)}
    assert made
    report = build(root)
    assert (report.made, report.photos) == (0, 200)
    build(root, rebuild=True)
    assert {key: os.stat(Path(root, "search", "all", "shards", key)).st_ctime_ns for key in made} == made


def test_what_is_left_open_stays_as_it_is(write_features) -> None:
    root = write_features(unit_vectors(300)).root
    build(root, kind="ivf-sq8", lists=4, probes=2, keep_vectors=False)
    before = entry(root)
    assert build(root).made == 0
    assert entry(root) == before
    report = build(root, probes=3)
    assert (report.made, report.trained) == (0, False)
    assert entry(root).settings.probes == 3
    assert entry(root).shards == before.shards
    report = build(root, keep_vectors=True)
    assert (report.made, report.trained) == (1, False)
    report = build(root, kind="exact")
    assert entry(root).quantiser is None
    assert not list(Path(root, "search", "all").glob("quantiser-*"))


@pytest.mark.parametrize("rebuild", [False, True])
def test_a_damaged_quantiser_is_trained_anew(write_features, rebuild) -> None:
    root = write_features(unit_vectors(300, v=16)).root
    build(root, kind="ivf-sq8")
    before = contents(root)
    [path] = Path(root, "search", "all").glob("quantiser-*")
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert "damaged" in open_snapshot(root, cache=False).notes[0]
    assert build(root, kind="ivf-sq8", rebuild=rebuild).trained
    assert contents(root) == before
    assert not open_snapshot(root, cache=False).notes


def test_a_set_that_has_outgrown_its_quantiser_says_so(write_features) -> None:
    root = write_features(unit_vectors(300)).root
    build(root, kind="ivf-sq8", lists=4)
    old = entry(root).quantiser
    add_file(root, 300, 1000, "part900-000000.parquet")
    report = build(root)
    assert "4.3 times the vectors" in report.notes[0]
    assert entry(root).quantiser == old
    report = build(root, rebuild=True)
    assert (report.trained, report.notes) == (True, ())
    assert entry(root).quantiser != old
    assert entry(root).trained_on == 2600


def test_a_damaged_shard_is_made_again(write_features) -> None:
    root = write_features(unit_vectors(100)).root
    build(root)
    whole = contents(root)
    [key] = shards_on_disk(root)
    shard = Path(root, "search", "all", "shards", key)
    with open(shard / "vectors.npy", "r+b") as file:
        file.truncate(200)
    assert build(root).made == 1
    assert contents(root) == whole
    data = bytearray((shard / "vectors.npy").read_bytes())
    data[-1] ^= 1
    (shard / "vectors.npy").write_bytes(data)
    assert build(root, rebuild=True).made == 1
    assert contents(root) == whole


class Killed(BaseException):
    """Ends a build as abruptly as a signal does."""


DELETION = "pipeline.io.locations.Folder.delete"
STEPS = (
    "pipeline.building.build.train_quantiser",
    "pipeline.building.build.make_shard",
    "pipeline.io.locations.Folder.write_atomically",
    "pipeline.building.shard_folder.ShardFolder.place",
    DELETION,
    "pipeline.building.build.delete_unused",
)


@pytest.mark.slow
@pytest.mark.parametrize("rebuild", [False, True])
@pytest.mark.parametrize("kind", ["exact", "ivf-sq8"])
def test_a_build_that_is_killed_anywhere_ends_in_the_same_index(
    write_features, monkeypatch, tmp_path, kind, rebuild
) -> None:
    """Before every step, the n-th time that it comes."""
    root = write_features(unit_vectors(120), files=3).root
    options = {"kind": kind, "lists": 4 if kind != "exact" else None, "shard_size": SMALL // 2}
    build(root, **options)
    add_file(root, 240, 40, "part900-000000.parquet")
    add_file(root, 280, 5, "part901-000000.parquet", seed=2)
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(root, undisturbed)
    assert build(str(undisturbed), **options, rebuild=rebuild).made
    wanted = contents(str(undisturbed))
    kills = set()
    for step in STEPS:
        for number in itertools.count(1):
            victim = tmp_path / "victim"
            shutil.rmtree(victim, ignore_errors=True)
            shutil.copytree(root, victim)
            again = partial(build, str(victim), **options, rebuild=rebuild)
            with monkeypatch.context() as patch:
                if not killed_at(patch, step, number, again):
                    break
            kills.add(step)
            again()
            assert contents(str(victim)) == wanted, (step, number)
    passed_over = set() if rebuild and kind != "exact" else {STEPS[0]}
    assert kills >= {*STEPS} - passed_over - ({DELETION} if not rebuild or kind == "exact" else set())


def killed_at(patch, step: str, number: int, call) -> bool:
    """Calls and kills it before the `number`-th call of `step`; returns whether it came to that."""
    owner, _, name = step.rpartition(".")
    target = pydoc.locate(owner)
    original = getattr(target, name)
    calls = 0

    def deadly(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == number:
            raise Killed
        return original(*args, **kwargs)

    patch.setattr(target, name, deadly)
    try:
        call()
    except Killed:
        return True
    return False


def test_a_second_build_of_a_set_is_refused(write_features) -> None:
    features = write_features(unit_vectors(20))
    with (
        features.folder.subfolder("search").exclusive(),
        pytest.raises(QpertError, match="another process is building"),
    ):
        build(features.root)


def test_files_that_are_replaced_meanwhile_are_planned_anew(write_features, monkeypatch) -> None:
    root = write_features(unit_vectors(200), files=4).root
    rows = [("part001-000000.parquet", "000055.jpg")]
    FeatureStore(root).remove_rows("0" * 16, removed_rows(rows, "gone"))
    original = Build._make
    done = []

    def overtaken(self, steps, work):
        if not done:
            done.append(FeatureStore(root).compact())
        return original(self, steps, work)

    monkeypatch.setattr(Build, "_make", overtaken)
    report = build(root)
    assert report.photos == 199
    assert sorted(name for shard in entry(root).shards.values() for name in shard.files) == sorted(
        path.name for path in Path(root, "features").glob("*.parquet")
    )


def test_a_dry_run_writes_nothing(write_features) -> None:
    root = write_features(unit_vectors(200), files=4).root
    [line] = describe_builds(BuildSpec(features=[root], kind="ivf-pq", lists=4))
    assert "would train on about 4,096 vectors, make 1 shard of 200 photos; then an ivf-pq index" in line
    assert not Path(root, "search").exists()
    build(root)
    [line] = describe_builds(BuildSpec(features=[root]))
    assert "nothing to do: its exact index of 200 photos (400 vectors) fits" in line


def test_several_sets_have_an_index_each(write_features, tmp_path) -> None:
    for name in ("part-0", "part-1"):
        write_features(unit_vectors(20), name=name)
    reports = list(build_indexes(BuildSpec(features=[f"{tmp_path}/part-*"])))
    assert [Path(report.root).name for report in reports] == ["part-0", "part-1"]
    assert all(report.made == 1 for report in reports)


def test_options_that_do_not_fit_are_refused_before_any_work(write_features) -> None:
    root = write_features(unit_vectors(20)).root
    with pytest.raises(QpertError, match="--out is for --engine lance"):
        build(root, out="elsewhere")
    with pytest.raises(QpertError, match="--code-bytes 5 does not fit vectors of 16 numbers"):
        build(root, kind="ivf-pq", code_bytes=5)
    with pytest.raises(QpertError, match="nothing but the kept vectors"):
        build(root, kind="exact", keep_vectors=False)
    with pytest.raises(QpertError, match="no variant 'other'"):
        build(root, variant="other")
    assert not Path(root, "search").exists() or not shards_on_disk(root)


def test_a_disk_that_is_too_small_is_refused(write_features, monkeypatch) -> None:
    root = write_features(unit_vectors(20)).root
    usage = shutil.disk_usage(root)
    monkeypatch.setattr("pipeline.building.build.shutil.disk_usage", lambda path: usage._replace(free=100))
    with pytest.raises(QpertError, match=r"takes about .* and .* has 100 bytes free"):
        build(root)


def test_shards_of_a_bucket_are_uploaded(write_features) -> None:
    root = write_features(unit_vectors(100), files=2).root
    bucket = Folder("gs://bucket/set", fs.LocalFileSystem(), root)
    spec = BuildSpec(features=["gs://bucket/set"], shard_size=2**12)
    report = Build(FeatureSet.open(bucket), spec).run()
    assert (report.photos, report.made) == (100, 2)
    shards = Path(root, "search", "all", "shards")
    assert {path.name for path in shards.iterdir()} == set(entry(root).shards)
    assert all((shards / key / "shard.json").exists() for key in entry(root).shards)
    assert Build(FeatureSet.open(bucket), spec).run().made == 0
    unknown = shards / ("f" * 32)
    unknown.mkdir()
    (unknown / "photos.arrow").touch()
    Build(FeatureSet.open(bucket), spec).run()
    assert unknown.exists()  # it may be of another build: buckets have no locks
    os.utime(unknown / "photos.arrow", (0, 0))
    Build(FeatureSet.open(bucket), spec).run()
    assert not unknown.exists()
