"""Matching from pairs to scores: with bad photos, interrupted, and on fewer GPU types than before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray

from pipeline.cluster.machines import Machines
from pipeline.cluster.waiting import NamedGpus
from pipeline.errors import QpertError
from pipeline.features.store import FeatureStore
from pipeline.runs import attempts, match_run
from pipeline.runs.encoder_choice import EncoderChoice
from pipeline.runs.graph import Graph, run_graph
from pipeline.runs.match_run import MatchRun, MatchSpec, read_beside
from pipeline.runs.run_stats import RunStats
from pipeline.stages.match import MatchStage
from pipeline.workers.reporting import Reporter
from pipeline.workers.worker import Worker
from tests.matching import TEXTS, matching_encoder, pairs


@pytest.fixture
def matcher(tiny_encoder: Callable[..., Any]) -> Callable[..., Any]:
    return matching_encoder(tiny_encoder)


def choice(matcher: Callable[..., Any]) -> EncoderChoice:
    return EncoderChoice(matcher, {"name": "tiny"})


@pytest.mark.usefixtures("ray_cpu")
def test_a_run_gives_all_scores_in_order_and_resumes(
    tmp_path: Path, make_photos: Callable[..., list[str]], matcher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = make_photos(tmp_path / "photos", 40)[::-1]
    table = pairs(tmp_path / "photos", ids)
    spec = MatchSpec(FeatureStore(str(tmp_path)), table, TEXTS, choice(matcher), None)
    scores = MatchRun(spec).run()
    stage = MatchStage(matcher, TEXTS, None, Worker(), Reporter())
    want = [score for row in stage(read_beside(table, Reporter())).to_pylist() for score in row["scores"]]
    assert scores.tolist() == pytest.approx(want)
    monkeypatch.setattr(match_run, "Attempts", lambda *_, **options: pytest.fail("all of it is done"))
    assert np.array_equal(MatchRun(spec).run(), scores)


@pytest.mark.usefixtures("ray_cpu")
def test_missing_photos_are_named(tmp_path: Path, make_photos: Callable[..., list[str]], matcher: Any) -> None:
    ids = make_photos(tmp_path / "photos", 4)
    (tmp_path / "photos" / ids[3]).unlink()
    spec = MatchSpec(FeatureStore(str(tmp_path)), pairs(tmp_path / "photos", ids), TEXTS, choice(matcher), None)
    with pytest.raises(QpertError, match=rf"of 4 photos 1 could not be matched[^$]*{ids[3]}: file not found"):
        MatchRun(spec).run()
    make_photos(tmp_path / "photos", 4)
    for name in ids[:3]:  # these are done: they are not opened again
        (tmp_path / "photos" / name).unlink()
    scores = MatchRun(spec).run()
    make_photos(tmp_path / "photos", 4)
    again = replace(spec, features=FeatureStore(str(tmp_path / "again")))
    assert np.array_equal(MatchRun(again).run(), scores)


def test_matching_continues_with_the_remaining_gpu_types(
    tmp_path: Path,
    make_photos: Callable[..., list[str]],
    matcher: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """By the same attempts as indexing; the first is lost after it has committed part of the scores."""
    ids = make_photos(tmp_path / "photos", 40)
    table = pairs(tmp_path / "photos", ids)
    there = [Machines(8.0, Counter(A100=1, V100=1)), Machines(8.0, Counter(V100=1))]
    sessions, pools, left = list[dict[str, Any]](), list[str](), [table.slice(0, 16), table.slice(16)]
    stage = MatchStage(matcher, TEXTS, None, Worker(), Reporter())

    @contextmanager
    def session(address: str | None, modules: object, **how: Any) -> Iterator[bool]:
        sessions.append({"address": address, **how})
        yield True

    def execute(graph: Graph, run_actor: Any, *, verbose: bool) -> None:
        pools.append(str(graph.pools["match"]))
        part, folder, key = left.pop(0), Path(graph.store.root), graph.fingerprint
        for place in ("features", f"checkpoint/{key}"):
            (folder / place).mkdir(parents=True, exist_ok=True)
        rows = stage(read_beside(part, Reporter()))
        pq.write_table(rows, folder / "features" / f"part{len(pools)}-000000.parquet")
        pq.write_table(rows.select(["image_id"]), folder / "checkpoint" / key / f"part{len(pools)}.parquet")
        if left:
            raise ray.exceptions.RayError("the node is gone")

    run_actor = SimpleNamespace(read=SimpleNamespace(remote=RunStats))
    monkeypatch.setattr(attempts, "ray_session", session)
    monkeypatch.setattr(attempts, "progress", lambda *of: nullcontext())
    monkeypatch.setattr(attempts, "settle", lambda gpus: None)
    monkeypatch.setattr(attempts, "start_run_actor", lambda actors: run_actor)
    monkeypatch.setattr(attempts.ray, "get", lambda found: found)
    monkeypatch.setattr(Machines, "cluster", lambda ask=True: there[len(sessions) - 1])
    monkeypatch.setattr(match_run, "Attempts", partial(attempts.Attempts, execute=execute))
    gpus = NamedGpus(["A100", "V100"])
    spec = MatchSpec(FeatureStore(str(tmp_path)), table, TEXTS, choice(matcher), None, gpus=gpus)
    scores = MatchRun(spec, address="cluster:1", cpus=3).run()
    want = [score for row in stage(read_beside(table, Reporter())).to_pylist() for score in row["scores"]]
    assert scores.tolist() == pytest.approx(want)
    assert pools == ["2 actors, each 1 GPU of in(A100,V100)", "1 actor, each 1 GPU of V100"]
    assert sessions == [{"address": "cluster:1", "cpus": 3, "verbose": False}] * 2
    assert "1 x V100 present but NOT USED" in caplog.text  # as the actors here have none
    MatchRun(spec).run()
    assert len(sessions) == 2  # all of it is done


def test_matching_counts_as_stuck_like_indexing(tmp_path: Path, matcher: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def resumable(store: FeatureStore, key: str, verbose: bool, patience: float, *rest: Any) -> Any:
        asked.append(patience)
        raise InterruptedError

    monkeypatch.setattr("pipeline.runs.graph.resumable", resumable)
    for patience in ({}, {"patience": 120.0}):
        spec = MatchSpec(FeatureStore("out"), pairs(tmp_path, []), TEXTS, choice(matcher), None, **patience)
        graph = MatchRun(spec).graph(5000, Machines(4.0))
        assert graph.file_rows == 156  # some 32 files: little is lost with an attempt
        with pytest.raises(InterruptedError):
            run_graph(graph)
    assert asked == [1800.0, 120.0]
