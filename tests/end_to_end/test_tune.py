"""`qpert tune` on the miniature CoCa: trials are `index` and `evaluate` for one pass; killed, it goes on."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import ray

from jobs import cli
from pipeline.datasets.captions.reading import read_captions
from pipeline.detectors.config import DetectorConfig
from pipeline.encoders import load_encoder
from pipeline.experiments.indexing import index_variants
from pipeline.experiments.material import annotated_areas
from pipeline.experiments.variants import PLAIN
from pipeline.features.feature_set import FeatureSet
from pipeline.features.store import FeatureStore
from pipeline.method.settings import Perturbation
from pipeline.retrieval import evaluate
from pipeline.retrieval.metrics import ALL_METRICS, metrics_of
from pipeline.retrieval.text import embed_texts, load_text_encoder
from pipeline.runs.spec import IndexSpec, Variants
from pipeline.tuning.actors import as_actor
from pipeline.tuning.token_embedder import TokenEmbedder, token_batches
from pipeline.workers.worker import Worker

SMALL = ["--encoder", "coca", "--scenes", "64", "--samples", "100", "--cpus", "2"]


def tune(out: Path, *words: str) -> list[str]:
    return ["tune", *SMALL, "--out", str(out), *words]


def trials(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(out / "coca" / "trials.parquet").to_pylist()
    return sorted(rows, key=lambda row: (row["weight"], row["scale"], row["threshold"]))


def same(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> bool:
    return str(first) == str(second)  # NaN is NaN


def embedded(out: Path) -> tuple[int, int]:
    """Photo passes of the backbone, and settings embedded, in the last run."""
    text = (out / "coca" / "report.md").read_text()
    found = re.search(r"Backbone: ([\d,]+) photo passes .* Settings embedded in this run: (\d+)", text)
    assert found is not None
    return int(found[1].replace(",", "")), int(found[2])


@pytest.mark.usefixtures("ray_cpu")
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_trial_is_what_index_and_evaluate_give(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Six settings, bit for bit, and the confirming run; the backbone sees each photo once.

    With a number of photos that makes equal blocks: else Ray puts a last small one together with another, as it comes,
    and the last bits of a matrix product depend on its company.
    """
    words = ["--weight", "constant", "1-area", "--scale", "0.5", "1", "2", "--metric", "10%"]
    assert cli.main(tune(tmp_path, *words)) == 0
    said = capsys.readouterr().out
    assert embedded(tmp_path) == (64, 7)  # six settings and plain
    found = trials(tmp_path)
    assert len(found) == 6

    scenes = tmp_path / "scenes-64-series-2"
    captions = read_captions(scenes / "dataset_scenes.json")
    detector = DetectorConfig(model="annotated", annotations=str(scenes))
    out = str(tmp_path / "indexed")
    spec = IndexSpec(source=str(scenes / "images"), out=out, encoder="coca", detector=detector, cpus=2)
    settings = [Perturbation.paper(row["scale"], row["threshold"], row["weight"]) for row in found]
    index_variants(spec, Variants({str(number): setting for number, setting in enumerate(settings)}))
    tokens = FeatureSet.open(str(tmp_path / "coca" / "tokens"), PLAIN)
    batches = token_batches(tokens)
    order = np.argsort([row for batch in batches for row in batch.rows])
    make = partial(load_encoder, "coca", weights=None)
    embedder = (
        as_actor(TokenEmbedder)
        .options(num_cpus=0)
        .remote(make, FeatureStore(tokens.folder).tokens, "float16", Worker(threads=1))
    )
    expected = ray.get(embedder.embed.remote(batches, settings))[:, order]
    ray.kill(embedder)
    reader = partial(embed_texts, load_text_encoder(tokens))
    for number, row in enumerate(found):
        features = FeatureSet.open(out, str(number))
        (block,) = features.iter_blocks(["image_id", "embedding"])
        vectors = dict(zip(block["image_id"].to_pylist(), features.embeddings(block), strict=True))
        assert np.array_equal(np.stack([vectors[name].ravel() for name in tokens.ids]), expected[number])
        areas = annotated_areas(str(scenes), captions, features)
        figures = metrics_of(evaluate(features, captions, reader, areas=areas).ranks)
        assert same([{name: row[name] for name in ALL_METRICS}], [{name: figures[name] for name in ALL_METRICS}])

    assert "## weight by" not in said
    assert "10% by weight and scale" in said
    assert "## Confirmed on photos that took no part in the choice" in said
    assert (tmp_path / "coca" / "weight_by_scale_10.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "coca" / "weight_by_scale_10.csv").read_text().count("*") == 1
    logs = list((tmp_path / "coca" / "tune").glob("*/*trial*/events.out.tfevents.*"))
    assert len(logs) == 6  # for TensorBoard

    assert cli.main(tune(tmp_path, *words)) == 0
    assert embedded(tmp_path) == (0, 0)
    assert same(trials(tmp_path), found)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kill_9_of_the_driver_and_run_again(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The same table as without interruption; no trial is lost, and no setting is embedded twice."""
    words = [
        "--search",
        "random",
        "--trials",
        "5",
        "--scale",
        "0.1:4:log",
        "--concurrent",
        "2",
        "--confirm-split",
        "none",
    ]
    out, whole = tmp_path / "killed", tmp_path / "whole"
    run = subprocess.Popen(
        [sys.executable, "-m", "jobs", *tune(out, *words)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 600
    while len(kept := list(out.glob("coca/outcomes/*/*.npz"))) < 3:
        assert run.poll() is None, "the search ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    family = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
    run.send_signal(signal.SIGKILL)
    run.wait()
    psutil.wait_procs(family, timeout=60)
    kept = list(out.glob("coca/outcomes/*/*.npz"))
    assert len(kept) < 6

    request.getfixturevalue("ray_cpu")
    assert cli.main(tune(out, *words)) == 0
    assert embedded(out) == (0, 6 - len(kept))
    assert cli.main(tune(whole, *words)) == 0
    assert embedded(whole) == (64, 6)
    assert len(trials(out)) == 5
    assert same(trials(out), trials(whole))


@pytest.mark.usefixtures("ray_cpu")
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kill_9_of_a_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The trial is tried again automatically."""
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        while not killed and not over.is_set():
            for process in psutil.Process().children(recursive=True):  # of this session alone
                with suppress(psutil.Error):
                    # One that runs its trial: an actor that still starts, or is between two trials, is replaced.
                    if any("ImplicitFunc.train" in word for word in process.cmdline()):
                        process.send_signal(signal.SIGKILL)
                        killed.append(process.pid)
                        break
            time.sleep(0.02)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        words = ["--search", "random", "--trials", "2", "--scale", "0.1:4:log", "--confirm-split", "none"]
        assert cli.main(tune(tmp_path, *words, "--concurrent", "1")) == 0
    finally:
        over.set()
        thread.join()
    assert killed
    assert "a trial failed and is tried again" in capsys.readouterr().err
    assert len(trials(tmp_path)) == 2
    assert embedded(tmp_path) == (64, 3)


@pytest.mark.usefixtures("ray_cpu")
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_own_minus_shuffled_is_what_index_gives_with_other_photos_boxes(tmp_path: Path) -> None:
    """Own and shuffled boxes share a pass over the tokens, and their outcomes are those of features with such boxes."""
    words = ["--metric", "own-minus-shuffled 10%", "--scale", "0.5", "2", "--draws", "2", "--may-lose", "100"]
    assert cli.main(tune(tmp_path, *words)) == 0
    assert embedded(tmp_path) == (64, 1 + 2 * 3)
    report = (tmp_path / "coca" / "report.md").read_text()
    assert "7 in 2 passes over the tokens" in report  # plain first, then all others together
    assert "best over best with shuffled boxes" in report

    scenes = tmp_path / "scenes-64-series-2"
    captions = read_captions(scenes / "dataset_scenes.json")
    detector = DetectorConfig(model="annotated", annotations=str(scenes))
    out = str(tmp_path / "indexed")
    spec = IndexSpec(source=str(scenes / "images"), out=out, encoder="coca", detector=detector, cpus=2)
    own = [replace(Perturbation.paper(scale), seed=0) for scale in (0.5, 2.0)]
    drawn = {(number, seed): replace(own[number], boxes="shuffled", seed=seed) for number in (0, 1) for seed in (0, 1)}
    variants = {str(number): setting for number, setting in enumerate(own)} | {
        str(key): one for key, one in drawn.items()
    }
    index_variants(spec, Variants(variants))
    reader = partial(embed_texts, load_text_encoder(FeatureSet.open(out, "0")))
    areas = annotated_areas(str(scenes), captions, FeatureSet.open(out, "0"))
    small = {
        name: metrics_of(evaluate(FeatureSet.open(out, name), captions, reader, areas=areas).ranks)["10%"]
        for name in variants
    }
    for number, row in enumerate(trials(tmp_path)):
        assert row["10%"] == small[str(number)]
        mean = (small[str((number, 0))] + small[str((number, 1))]) / 2
        assert row["own-minus-shuffled 10%"] == pytest.approx(small[str(number)] - mean)
