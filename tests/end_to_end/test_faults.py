"""Poison photos, a full disk, storage that fails: what is promised of each, in whole runs."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs import cli
from pipeline.benchmarks.graph_alone import TrivialEncoder
from pipeline.cluster.machines import Machines
from pipeline.cluster.pools import plan_pools
from pipeline.datasets.photos.source import find_photos
from pipeline.datasets.scenes import write_scenes
from pipeline.features.feature_set import FeatureSet
from pipeline.features.manifest import Manifest
from pipeline.features.store import FeatureStore
from pipeline.runs.graph import Graph
from pipeline.runs.index_graph import index_graph
from pipeline.runs.indexing import index_photos
from pipeline.workers.poison import TRIES
from pipeline.workers.worker import Worker

ROOT = Path(__file__).parents[2]
BROKEN_DECODER = """
import os, signal
from PIL.JpegImagePlugin import JpegImageFile
load = JpegImageFile.load
def broken(self):
    if self.size == (13, 17):
        os.kill(os.getpid(), signal.SIGSEGV)
    return load(self)
JpegImageFile.load = broken
"""
HANGING_DECODER = f"""
{BROKEN_DECODER.replace("os.kill(os.getpid(), signal.SIGSEGV)", "__import__('time').sleep(10**6)")}
import pipeline.workers.decode_in_subprocess
pipeline.workers.decode_in_subprocess.PATIENCE = 15.0
"""
FLAKY = "from tests.flaky import register; register()"


def photo(size: tuple[int, int], colour: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def index(
    tmp_path: Path, source: str, out: str, customize: str, *options: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`qpert index` in a process of its own; in it and in all its workers `customize` is run at the start."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(customize)
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT)])
    command = [sys.executable, "-m", "jobs", "index", source, "--out", out, "--detector", "none", "--block-size", "8"]
    command += ["--perturbation", "none", "--file-size", "16", "--encode-actors", "1", *options]
    environment = os.environ | environment | {"PYTHONPATH": path}
    return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)


def rows(out: Path) -> dict[str, str | None]:
    """Image id -> error, every id once."""
    features = FeatureSet.open(str(out))
    table = features.dataset.to_table(columns=["image_id", "error"])
    found = dict(zip(table["image_id"].to_pylist(), table["error"].to_pylist(), strict=True))
    assert len(found) == table.num_rows
    return found


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("decoder", "options", "reason"),
    [(BROKEN_DECODER, [], "SIGSEGV"), (HANGING_DECODER, ["--patience", "2"], "it takes more than 15 s")],
    ids=["crashes", "hangs"],
)
def test_a_photo_that_the_decoder_does_not_survive_is_a_row_with_its_reason(
    tmp_path: Path, make_photos: Callable[[Path, int], list[str]], decoder: str, options: list[str], reason: str
) -> None:
    names = make_photos(tmp_path / "photos", 30)
    (tmp_path / "photos" / "1" / "0007x.jpg").write_bytes(photo((13, 17), "red"))
    done = index(tmp_path, str(tmp_path / "photos"), str(tmp_path / "out"), decoder, *options)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "failed  1 photos: 1 x crashes the decoder" in done.stdout
    assert "Ray could not go on" not in done.stderr
    found = rows(tmp_path / "out")
    assert found.pop("1/0007x.jpg") == f"crashes the decoder: {reason}"
    assert found == dict.fromkeys(names)


class Poisoned(TrivialEncoder):
    """Dies of red photos, and of no others."""

    def preprocess(self, image: Image.Image) -> Any:
        pixels = super().preprocess(image)
        if float(pixels[0].min()) > 0.9 and float(pixels[1].max()) < 0.1:
            os.kill(os.getpid(), signal.SIGKILL)
        return pixels


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("ray_cpu")
def test_a_photo_that_kills_the_model_is_left_out_after_some_tries(
    tmp_path: Path, make_photos: Callable[[Path, int], list[str]]
) -> None:
    names = make_photos(tmp_path / "photos", 20)
    (tmp_path / "photos" / "red.jpg").write_bytes(photo((32, 32), "red"))
    out = str(tmp_path / "out")

    def build(*, device: str, dtype: str) -> Poisoned:
        return Poisoned()

    def make_graph(machines: Machines) -> Graph:
        return index_graph(
            find_photos(str(tmp_path / "photos")),
            store=FeatureStore(out),
            fingerprint="f00",
            make_encoder=build,
            make_detector=None,
            settings=(None,),
            precision="float16",
            pools=plan_pools(machines, ["encode"], sizes={"encode": 1}),
            worker=Worker(),
            block_rows=8,
            file_rows=8,
        )

    outcome = index_photos(make_graph, Manifest(fingerprint="f00"), FeatureStore(out))
    assert outcome.totals == {"photos": 21, "failed": 1, "objects": 0}
    found = rows(Path(out))
    assert found.pop("red.jpg") == f"kills the process that works on it: encode, {TRIES} tries"
    assert found == dict.fromkeys(names)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that holds next to nothing, where one may be made."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("no file systems can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("ray_cpu")
def test_a_full_disk_ends_the_run_with_a_clear_word_and_nothing_is_lost(
    tmp_path: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scenes(tmp_path / "scenes", 160, seed=1)
    out = small_disk / "out"
    words = ["index", str(tmp_path / "scenes" / "images"), "--out", str(out), "--block-size", "8", "--file-size", "8"]
    words += ["--detector", "none", "--perturbation", "none", "--encode-actors", "1"]
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert f"no space left for {out}; make room and run the same command again" in said
    manifest = FeatureStore(str(out)).manifest()
    assert manifest.state == "running"
    before = list(rows(out)) if list((out / "checkpoint").rglob("*.parquet")) else []
    assert len(before) < 160

    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert cli.main(words) == 0
    found = rows(out)
    assert len(found) == 160
    assert set(found.values()) == {None}
    assert set(before) <= set(found)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_storage_that_fails_now_and_then_changes_nothing(
    tmp_path: Path, make_photos: Callable[[Path, int], list[str]]
) -> None:
    names = make_photos(tmp_path / "photos", 64)
    source, out = f"fsspec+flaky://{tmp_path}/photos", f"fsspec+flaky://{tmp_path}/out"
    # A file takes 69 operations, so that every third one is broken off; Ray writes it anew ten times at most.
    done = index(tmp_path, source, out, FLAKY, FLAKY_RATE="0.006", FLAKY_FIRST="1")
    assert done.returncode == 0, done.stderr[-3000:]
    assert rows(tmp_path / "out") == dict.fromkeys(names)
    assert FeatureStore(str(tmp_path / "out")).manifest().state == "complete"
    # Half-written files of failed tries would be here as well.
    written = pq.ParquetDataset(str(tmp_path / "out" / "features")).read(columns=["image_id"])
    assert written.num_rows == 64
