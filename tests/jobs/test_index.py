"""`qpert index`: what it checks before it starts Ray, and what it reports at the end."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs import cli
from jobs.cli.parsing import parse
from jobs.index import Config
from pipeline.cluster.machines import Machines
from pipeline.datasets.photos.found_photos import Shards
from pipeline.datasets.photos.shard import Shard
from pipeline.datasets.scenes import write_scenes
from pipeline.detectors.config import DetectorConfig
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.manifest import Manifest
from pipeline.features.store import FeatureStore
from pipeline.runs import indexing
from pipeline.runs.index_options import with_absolute_paths
from pipeline.runs.index_plan import PhotoSample
from pipeline.runs.index_run import IndexRun
from pipeline.runs.outcome import Outcome
from pipeline.runs.run_stats import RunStats
from tests.encoders.open_clip import plain_clip
from tests.features.stored import damage_page


@pytest.fixture
def photos(tmp_path: Path, make_photos: Callable[[Path, int], list[str]]) -> str:
    make_photos(tmp_path / "photos", 4)
    return str(tmp_path / "photos")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--detector", "nofile.pt"], "neither a file here nor an ultralytics model"),
        (["--detector", "folder/nofile.pt"], "does not exist"),
        (["--detector", "annotated"], "need a folder|need"),
        (["--detector", "annotated", "--detector.annotations", "nowhere"], "nowhere"),
        (["--detector", "none"], "a perturbation needs objects"),
        (["--weights", "/nope"], "unknown open_clip weights '/nope'"),
        (["--weights", "coca_ViT-B-32:nope"], "has no weights 'nope'"),
        (["--encoder", "clap"], "unknown encoder 'clap'"),
        (["--max-megapixels", "inf"], "finite"),
        (["--patience", "inf"], "less than or equal to 10000"),
        (["--out", "{file}"], "is a file; name a folder"),
        (["--out", "{file}/below"], "is a file; name a folder"),
        (["--out", ""], "--out: .* at least 1 character"),
    ],
)
def test_a_dry_run_finds_what_is_wrong(
    photos: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    (tmp_path / "file").write_text("x")
    words = [word.format(file=tmp_path / "file") for word in words]
    out = [] if "--out" in words else ["--out", str(tmp_path / "out")]
    assert cli.main(["index", photos, "--dry-run", *out, *words]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert not (tmp_path / "out").exists()


def test_an_encoder_without_a_cross_attention_is_served_plain_and_said_to_be(
    photos: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, out = plain_clip.write(tmp_path / "clip"), str(tmp_path / "out")
    chosen = ["--encoder", "open_clip", "--weights", weights]
    assert cli.main(["index", photos, "--dry-run", "--out", out, *chosen]) == 0
    said = capsys.readouterr()
    assert "no cross-attention for objects to act on: its embeddings are plain" in said.err
    assert re.search(r"^perturbation +none$", said.out, re.MULTILINE)
    assert cli.main(["index", photos, "--dry-run", "--out", out, *chosen, "--perturbation", "none"]) == 0
    silent = capsys.readouterr()
    assert "cross-attention" not in silent.err
    fingerprint = re.compile(r"^fingerprint +(\w+)$", re.MULTILINE)
    assert fingerprint.findall(said.out) == fingerprint.findall(silent.out) != []
    for verb in (["tune", "--scenes", "50"], ["reproduce"]):
        assert cli.main([*verb, *chosen, "--out", out]) == 2
        assert "no cross-attention for objects to act on, so there is nothing" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(
    photos: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    assert cli.main(["index", photos, "--dry-run", "--out", str(tmp_path / "closed" / "out")]) == 2
    assert "no permission" in capsys.readouterr().err


def test_a_submitted_job_needs_a_folder_that_outlives_it(
    photos: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert cli.main(["index", photos, "--dry-run", "--out", "features"]) == 2
    assert "give an absolute path" in capsys.readouterr().err


def test_classes_are_checked_against_the_detector_before_ray_starts(
    photos: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["index", photos, "--out", str(tmp_path / "out"), "--detector.classes", "unicorn"]) == 2
    assert "no class 'unicorn'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_lost_gpu_types_are_not_waited_for_again(photos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str] | None] = []
    there = Machines(8, Counter(A100=1))
    monkeypatch.setattr(Machines, "cluster", lambda ask: there)
    monkeypatch.setattr("pipeline.cluster.waiting.machines_with", lambda kinds, minutes: asked.append(kinds) or there)

    def index_photos(*_: object, find_machines: Callable[[], Machines], **options: object) -> Outcome:
        nonlocal there
        assert [find_machines(), find_machines()] == [there, there]
        there = Machines(8)
        find_machines()
        return Outcome(RunStats(photos=4), {"photos": 4, "failed": 0, "objects": 0})

    monkeypatch.setattr(indexing, "index_photos", index_photos)
    IndexRun(Config(source=photos, out=str(tmp_path / "out"), accelerators=["A100", "V100"], wait=20)).run()
    assert asked == [["A100", "V100"], ["A100"], ["A100", "V100"]]


def test_local_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wm").mkdir()
    (tmp_path / "yolo.pt").write_bytes(b"x")
    detector = DetectorConfig(model="yolo.pt", annotations="wm")
    config = with_absolute_paths(Config(source="s", out="o", weights="wm", detector=detector))
    assert config.weights == str(tmp_path / "wm")
    assert (config.detector.model, config.detector.annotations) == (str(tmp_path / "yolo.pt"), str(tmp_path / "wm"))
    config = with_absolute_paths(Config(source="s", out="o", weights="coca_ViT-B-32:yolo.pt"))
    assert config.weights == f"coca_ViT-B-32:{tmp_path / 'yolo.pt'}"
    assert config.detector.model == "miniature"
    config = with_absolute_paths(Config(source="s", out="o", weights="coca_ViT-B-32:laion2b"))
    assert config.weights == "coca_ViT-B-32:laion2b"


def test_a_source_that_turns_out_to_be_empty_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = Outcome(RunStats(), {"photos": 0, "failed": 0, "objects": 0})
    monkeypatch.setattr(indexing, "index_photos", lambda *_, **options: empty)
    tars = Shards("webdataset", "tars", (Shard("tar", "tars/0.tar", "0.tar"),))
    with pytest.raises(QpertError, match="tars holds no photos"):
        IndexRun(Config(source="tars", out=str(tmp_path / "out")), sample=PhotoSample(tars, 0, 0)).run()


@pytest.mark.usefixtures("ray_cpu")
def test_a_run_its_rerun_and_a_retry(photos: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    late = tmp_path / "late.jpg"
    source = tmp_path / "photos.txt"
    source.write_text(f"photos/0/0000.jpg\n{late}\n")
    annotations = tmp_path / "boxes"
    (annotations / "Annotations").mkdir(parents=True)
    (annotations / "Annotations" / "other.xml").write_text("<annotation/>")
    words = ["index", str(source), "--out", out, "--detector", "annotated", "--detector.annotations", str(annotations)]
    assert cli.main(words) == 0
    said = capsys.readouterr()
    assert "indexed 1 photos" in said.out
    assert "1 photos could not be indexed" in said.err
    assert "--retry-failed tries them again" in said.err
    assert "NO OBJECTS in any photo" in said.err

    (tmp_path / "photos" / "0" / "0000.jpg").rename(late)
    assert cli.main(words) == 0
    assert "nothing to do: all 2 photos are indexed" in capsys.readouterr().out

    running = FeatureStore(out).manifest().model_copy(update={"state": "running"})
    FeatureStore(out).write_manifest(running)
    assert cli.main([*words, "--limit", "1"]) == 0
    assert FeatureStore(out).manifest().state == "running"

    assert cli.main([*words, "--retry-failed"]) == 0
    assert "trying 1 failed photos again" in capsys.readouterr().err
    features = FeatureSet.open(out)
    assert sorted(features.ids) == sorted(["photos/0/0000.jpg", str(late)])
    assert features.failures == {}


@pytest.mark.usefixtures("ray_cpu")
def test_lost_changed_and_missing_photos_are_repaired(
    photos: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Names that Ray's own filters of paths would cut off.
    out = str(tmp_path / "what?" / "a=b;c#d%20[x]" / "out")
    words = ["index", photos, "--out", out, "--detector", "none", "--perturbation", "none", "--file-size", "1"]
    assert cli.main([*words, "--block-size", "1"]) == 0
    capsys.readouterr()
    assert cli.main(words) == 0
    assert "nothing to do: all 4 photos are indexed" in capsys.readouterr().out
    names = {
        name: path for path in Path(out, "features").iterdir() for name in pq.read_table(path)["image_id"].to_pylist()
    }
    assert len(set(names.values())) == 4

    lost, damaged, changed, gone = sorted(names)
    names[lost].unlink()
    damage_page(names[damaged])
    image = Image.new("RGB", (64, 48), "green")
    image.save(Path(photos) / changed)
    image.close()
    (Path(photos) / gone).rename(tmp_path / "gone.jpg")
    assert cli.main(["search", out, "a star"]) == 2
    assert "lost or damaged" in capsys.readouterr().err
    before = Path(out, "committed.json").read_bytes()
    assert cli.main([*words, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "changed 1 photos" in said
    assert "left out 1 indexed photos that the source no longer has" in said
    assert names[lost].name in said
    assert Path(out, "committed.json").read_bytes() == before

    assert cli.main(words) == 0
    said = capsys.readouterr()
    assert "2 photos of 2 lost or damaged files are made again" in said.err
    assert "indexed 3 photos" in said.out
    assert "changed 1 photos" in said.out
    assert "left out 1 indexed photos that the source no longer has" in said.out
    assert sorted(FeatureSet.open(out).ids) == sorted([lost, damaged, changed])
    assert FeatureStore(out).manifest().counts["photos"] == 3

    (tmp_path / "gone.jpg").rename(Path(photos) / gone)
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "nothing to do: all 4 photos are indexed" in said  # its row was still there
    assert "back    1 photos" in said
    (Path(photos) / gone).unlink()
    assert cli.main([*words, "--keep-removed"]) == 0
    assert "kept    1 indexed photos" in capsys.readouterr().out
    assert gone in FeatureSet.open(out).ids
    assert cli.main([*words, "--prune"]) == 0
    assert "pruned  2 rows" in capsys.readouterr().out
    files = [pq.ParquetFile(path).read()["image_id"].to_pylist() for path in Path(out, "features").iterdir()]
    assert sorted(name for ids in files for name in ids) == sorted([lost, damaged, changed])
    assert cli.main([*words, "--prune", "--keep-removed"]) == 2
    assert cli.main(["verify", out]) == 0


@pytest.mark.usefixtures("ray_cpu")
def test_photos_that_get_lost_on_the_way_are_an_error(
    photos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    real = FeatureStore.write_listing

    def shorter(store: FeatureStore, schema: pa.Schema, batches: Callable[[], Iterable[pa.RecordBatch]]) -> None:
        real(store, schema, lambda: [pa.Table.from_batches(batches())[:3].combine_chunks().to_batches()[0]])

    monkeypatch.setattr(FeatureStore, "write_listing", shorter)
    words = ["index", photos, "--out", out, "--detector", "none", "--perturbation", "none"]
    assert cli.main(words) == 2
    assert "1 of 4 photos are missing" in capsys.readouterr().err
    assert FeatureStore(out).manifest().state == "running"
    monkeypatch.setattr(FeatureStore, "write_listing", real)
    assert cli.main(words) == 0
    assert "going on in" in capsys.readouterr().err
    assert FeatureStore(out).manifest().state == "complete"
    assert len(FeatureSet.open(out).ids) == 4


@pytest.mark.parametrize("scenes", [False, True])
def test_miniatures_on_photos_are_warned_of_before_ray_starts_and_at_the_end(
    photos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], scenes: bool
) -> None:
    if scenes:
        write_scenes(tmp_path / "drawn", 2, seed=3)
        photos = str(tmp_path / "drawn" / "images")
    kept = []

    def index_photos(make_graph: object, manifest: Manifest, *_: object, **__: object) -> Outcome:
        kept.append(manifest.scenes)
        logging.getLogger("pipeline").info("Ray starts")
        return Outcome(RunStats(), {"photos": 4, "failed": 0, "objects": 4})

    monkeypatch.setattr(indexing, "index_photos", index_photos)
    assert cli.main(["index", photos, "--out", str(tmp_path / "out")]) == 0
    before, _, after = capsys.readouterr().err.partition("Ray starts\n")
    loud = "warning: MINIATURE MODELS ON REAL PHOTOS\n"
    assert kept == [scenes]
    assert (before.startswith(loud), after.startswith(loud)) == (not scenes, not scenes)
    assert before == after
    advice = "--encoder open_clip --weights ViT-B-16-SigLIP2-256:webli --detector hf:Roboflow/rf-detr-base"
    assert (advice in after) is not scenes


def test_short_names_of_a_detectors_options() -> None:
    words = ["photos", "--out", "o", "--detector", "hf:org/name", "--classes", "dog", "red kite", "--slices", "640"]
    config = parse(Config, [*words, "--classes-from-queries", "q.txt"], verb="index")
    assert config is not None
    assert config.detector == DetectorConfig(
        model="hf:org/name", classes=("dog", "red kite"), slices=640, classes_from_queries="q.txt"
    )
    long = parse(Config, ["photos", "--out", "o", "--detector.classes", "dog", "--detector.slices", "99"], verb="index")
    assert long is not None
    assert (long.detector.classes, long.detector.slices) == (("dog",), 99)


def test_a_dry_run_shows_what_will_be_looked_for(
    photos: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("textblob")
    (tmp_path / "queries.txt").write_text("a star over two circles")
    words = ["--classes", "square", "--classes-from-queries", str(tmp_path / "queries.txt")]
    assert cli.main(["index", photos, "--dry-run", "--out", str(tmp_path / "out"), *words]) == 0
    assert re.search(r"^classes +3: circle, square, star$", capsys.readouterr().out, re.MULTILINE)
