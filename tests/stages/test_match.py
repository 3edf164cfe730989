"""The match stage as Ray Data calls it, and its graph in a Ray session: scores, bad photos, resume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from pipeline.cluster.machines import Machines
from pipeline.cluster.waiting import NamedGpus
from pipeline.errors import QpertError
from pipeline.features.store import FeatureStore
from pipeline.method.settings import Perturbation
from pipeline.runs import attempts
from pipeline.runs import match_run as match_graph
from pipeline.runs.match_run import PAIRS_SCHEMA, Matching, match_pairs, read_beside
from pipeline.runs.run_stats import RunStats
from pipeline.stages.match import MATCH_SCHEMA, MatchStage
from pipeline.workers.reporting import Reporter
from pipeline.workers.worker import Worker

TEXTS = ("1", "20", "300")


@pytest.fixture
def matcher(tiny_encoder: Callable[..., Any]) -> Callable[..., Any]:
    """An encoder whose score is the text's number plus the photo's first token, plus the objects' area with `itm`."""

    def build(device: str = "cpu", dtype: str = "float32") -> Any:
        import torch

        encoder = tiny_encoder(device, dtype)

        def match(tokens: Any, texts: Any, objects: Any, perturbation: Any) -> Any:
            on = perturbation is not None and "itm" in perturbation.stages
            area = float(objects[0].areas.sum()) if on else 0.0
            return torch.tensor([float(text) for text in texts]) + tokens[0, 0, 0] + area

        encoder.match = match
        return encoder

    return build


def pairs(folder: Path, ids: list[str]) -> pa.Table:
    box = {"x0": 0.0, "y0": 0.0, "x1": 0.5, "y1": 0.5, "label": "", "score": 1.0}
    rows = [
        {"image_id": name, "uri": str(folder / name), "objects": [box], "texts": list(range(1 + at % 3))}
        for at, name in enumerate(ids)
    ]
    return pa.Table.from_pylist(rows, schema=PAIRS_SCHEMA)


def test_a_score_for_each_text_and_a_reason_for_a_bad_photo(
    tmp_path: Path, make_photos: Callable[..., list[str]], matcher: Any
) -> None:
    ids = make_photos(tmp_path, 5)
    (tmp_path / ids[1]).write_bytes(b"no photo")
    (tmp_path / ids[2]).unlink()
    table = read_beside(pairs(tmp_path, ids), Reporter())
    results = {}
    for name, setting in (("plain", None), ("itc", Perturbation()), ("itm", Perturbation(stages=("itm",)))):
        found = MatchStage(matcher, TEXTS, setting, Worker(micro_batch=2), Reporter())(table)
        assert found.schema == MATCH_SCHEMA
        results[name] = found.to_pylist()
    rows = results["plain"]
    assert [row["image_id"] for row in rows] == ids
    assert [row["error"] is None for row in rows] == [True, False, False, True, True]
    assert [row["scores"] and len(row["scores"]) for row in rows] == [1, None, None, 1, 2]
    assert np.diff(rows[4]["scores"]) == pytest.approx(19)
    assert results["itc"] == rows
    assert results["itm"][4]["scores"] == pytest.approx([each + 0.25 for each in rows[4]["scores"]])


@pytest.mark.usefixtures("ray_cpu")
def test_the_graph_gives_all_scores_in_order_and_resumes(
    tmp_path: Path, make_photos: Callable[..., list[str]], matcher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = make_photos(tmp_path / "photos", 40)[::-1]
    table = pairs(tmp_path / "photos", ids)
    matching = Matching(FeatureStore(str(tmp_path)), table, TEXTS, matcher, {"name": "tiny"}, None)
    scores = match_pairs(matching)
    stage = MatchStage(matcher, TEXTS, None, Worker(), Reporter())
    want = [score for row in stage(read_beside(table, Reporter())).to_pylist() for score in row["scores"]]
    assert scores.tolist() == pytest.approx(want)
    monkeypatch.setattr("pipeline.runs.match_run._execute", lambda *_: pytest.fail("all of it is done"))
    assert np.array_equal(match_pairs(matching), scores)


@pytest.mark.usefixtures("ray_cpu")
def test_missing_photos_are_named(tmp_path: Path, make_photos: Callable[..., list[str]], matcher: Any) -> None:
    ids = make_photos(tmp_path / "photos", 4)
    (tmp_path / "photos" / ids[3]).unlink()
    matching = Matching(FeatureStore(str(tmp_path)), pairs(tmp_path / "photos", ids), TEXTS, matcher, {}, None)
    with pytest.raises(QpertError, match=rf"of 4 photos 1 could not be matched[^$]*{ids[3]}: file not found"):
        match_pairs(matching)
    make_photos(tmp_path / "photos", 4)
    for name in ids[:3]:  # they are done, so they are not opened again
        (tmp_path / "photos" / name).unlink()
    scores = match_pairs(matching)
    make_photos(tmp_path / "photos", 4)
    again = replace(matching, store=FeatureStore(str(tmp_path / "again")))
    assert np.array_equal(match_pairs(again), scores)


def test_matching_continues_with_the_remaining_gpu_types(
    tmp_path: Path, make_photos: Callable[..., list[str]], matcher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the same attempts as indexing; the first is lost after it has committed part of the scores."""
    ids = make_photos(tmp_path / "photos", 40)
    table = pairs(tmp_path / "photos", ids)
    there = [Machines(8.0, Counter(A100=1, V100=1)), Machines(8.0, Counter(V100=1))]
    sessions, pools, left = list[dict[str, Any]](), list[str](), [table.slice(0, 16), table.slice(16)]
    stage = MatchStage(matcher, TEXTS, None, Worker(), Reporter())

    @contextmanager
    def session(address: str | None, **how: Any) -> Iterator[bool]:
        sessions.append({"address": address, **how})
        yield True

    def execute(matching: Matching, store: FeatureStore, key: str, verbose: bool, plan: Any, tally: Any) -> None:
        pools.append(str(plan.pools["match"]))
        part, folder = left.pop(0), Path(store.root)
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
    monkeypatch.setattr(match_graph, "_execute", execute)
    gpus = NamedGpus(["A100", "V100"])
    matching = Matching(FeatureStore(str(tmp_path)), table, TEXTS, matcher, {"name": "tiny"}, None, gpus=gpus)
    scores = match_pairs(matching, address="cluster:1", cpus=3)
    want = [score for row in stage(read_beside(table, Reporter())).to_pylist() for score in row["scores"]]
    assert scores.tolist() == pytest.approx(want)
    assert pools == ["2 actors, each 1 GPU of in(A100,V100)", "1 actor, each 1 GPU of V100"]
    assert sessions == [{"address": "cluster:1", "cpus": 3, "verbose": False}] * 2
    match_pairs(matching)
    assert len(sessions) == 2  # everything is done


def test_matching_counts_as_stuck_like_indexing(tmp_path: Path, matcher: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def resumable(store: FeatureStore, key: str, verbose: bool, patience: float) -> Any:
        asked.append(patience)
        raise InterruptedError

    monkeypatch.setattr(match_graph, "resumable", resumable)
    table = pairs(tmp_path, [])
    plan = match_graph._plan(Matching(FeatureStore("out"), table, TEXTS, matcher, {}, None), 5000, Machines(4.0))
    assert plan.file_rows == 156  # some 32 files: little is lost with an attempt
    for matching in (
        Matching(FeatureStore("out"), table, TEXTS, matcher, {}, None),
        Matching(FeatureStore("out"), table, TEXTS, matcher, {}, None, patience=120.0),
    ):
        with pytest.raises(InterruptedError):
            match_graph._execute(matching, FeatureStore("out"), "f00", False, plan, None)
    assert asked == [1800.0, 120.0]
