"""Runs that index parts of a set: what they refuse, what they say, and a part without photos. Without Ray."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs import cli
from jobs.index import Config
from pipeline.datasets.photos.found_photos import Listing
from pipeline.datasets.photos.part import Part
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.fingerprint import fingerprint
from pipeline.features.manifest import Manifest
from pipeline.features.store import FeatureStore
from pipeline.runs import indexing
from pipeline.runs.index_plan import IndexPlan
from pipeline.runs.index_run import IndexRun
from pipeline.runs.outcome import Outcome
from pipeline.runs.run_stats import RunStats
from tests.features.stored import Source, commit, rows_of_photos, some_photos


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return some_photos(tmp_path / "photos", 20)


@pytest.fixture
def index(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs `index` with rows written by hand in place of the graph."""

    def index_photos(make_graph: object, manifest: Manifest, store: FeatureStore, **options: object) -> Outcome:
        plan = current[0]
        assert isinstance(plan.photos, Listing)
        done = {name for ids in store.files(manifest.fingerprint).ids() for name in ids}
        todo = [item.image_id for item in plan.photos.items() if item.image_id not in done]
        commit(store.root, f"run_{len(done)}", rows_of_photos(source, todo), manifest.fingerprint)
        counts = store.note_committed(manifest.fingerprint).counts()
        shape = {"vectors": 2, "dim": 4, "state": "complete", "counts": counts}
        store.write_manifest(manifest.model_copy(update=shape))
        return Outcome(RunStats(photos=len(todo)), counts)

    current: list[IndexPlan] = []
    monkeypatch.setattr(indexing, "index_photos", index_photos)

    def run(part: str | None = None, **options: Any) -> list[str]:
        spec = Config(source=str(source.folder), out=str(tmp_path / "out"), **options)
        made = IndexRun(spec, part=None if part is None else Part.parse(part), prune=spec.prune)
        current[:] = [IndexPlan.of(spec, part=made.part)]
        return made.run().report.done

    return run


def test_parts_are_added_until_none_is_missing(index: Callable[..., Any], source: Source, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    assert index("2/3")[-1] == f"{out}: of 3 parts, part 2 is complete; parts 1 and 3 are not begun"
    index("1/3")
    assert index("3/3")[-1] == f"{out}: of 3 parts, parts 1 to 3 are complete"
    assert sorted(FeatureSet.open(out).ids) == source.names()
    assert FeatureStore(out).manifest().fingerprint == fingerprint(FeatureStore(out).part(1, 3).manifest().identity)
    for number in range(20, 40):
        source.put(f"{number}.jpg", b"photo %d" % number)
    for part in ("1/3", "2/3", "3/3"):
        index(part)
    assert sorted(FeatureSet.open(out).ids) == source.names()
    assert len(source.names()) == 40
    assert index("1/3")[0].startswith("nothing to do")


def test_a_run_removes_photos_of_its_own_part_only(index: Callable[..., Any], source: Source, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    for part in ("1/2", "2/2"):
        index(part)
    gone = [next(name for name in source.names() if Part(number, 2).has(name)) for number in (1, 2)]
    for name in gone:
        (source.folder / name).unlink()
    said = index("1/2", prune=True)
    assert any("left out 1 indexed photos" in line for line in said)
    assert any("pruned  1 rows" in line for line in said)
    assert gone[0] not in FeatureSet.open(out).ids
    assert gone[1] in FeatureSet.open(out).ids
    index("2/2")
    assert sorted(FeatureSet.open(out).ids) == source.names()


def test_what_does_not_fit_is_refused(index: Callable[..., Any], tmp_path: Path) -> None:
    index("1/3")
    with pytest.raises(QpertError, match=r"is indexed in 3 parts: give --part NUMBER/3, or choose another --out"):
        index()
    with pytest.raises(QpertError, match="is indexed in 3 parts"):
        index("1/4")
    for part in ("1/3", "2/3"):
        with pytest.raises(QpertError, match=r"made in another way; what differs:\n +precision: float16 -> float32"):
            index(part, precision="float32")
    assert not (tmp_path / "out" / "parts" / "2-of-3").exists()


def test_an_ordinary_set_is_not_divided_later(index: Callable[..., Any]) -> None:
    index()
    with pytest.raises(QpertError, match="was not indexed in parts: leave --part out"):
        index("1/2")


def test_a_part_without_photos_is_complete(index: Callable[..., Any], source: Source, tmp_path: Path) -> None:
    empty = next(number for number in range(1, 100) if not any(Part(number, 99).has(name) for name in source.names()))
    index(f"{empty}/99")
    manifest = FeatureStore(str(tmp_path / "out")).manifest()
    assert manifest.part_numbers("complete") == [empty]
    with pytest.warns(UserWarning, match="of 99 parts, part"), pytest.raises(QpertError, match="holds no features yet"):
        FeatureSet.open(str(tmp_path / "out"))


def test_a_dry_run_of_a_part(source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["index", str(source.folder), "--out", str(tmp_path / "out"), "--dry-run"]
    assert cli.main([*words, "--part", "2/3"]) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path}/out/parts/2-of-3/features" in said
    count = sum(Part(2, 3).has(name) for name in source.names())
    assert f"folder, {count} photos" in said
    assert not (tmp_path / "out").exists()
    assert cli.main([*words, "--part", "4/3"]) == 2
    assert "such as 3/20" in capsys.readouterr().err
