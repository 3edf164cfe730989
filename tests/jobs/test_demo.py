"""`qpert demo`: its queries, how it shows the hits, and that it reuses existing features."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from jobs import demo
from jobs.demo import Query, choose_queries, side_by_side
from pipeline.datasets.scenes import KARPATHY_FILE, distinct_scenes, write_scenes
from pipeline.features.store import FeatureStore
from pipeline.queries.hits import Hit, Hits
from pipeline.runs.outcome import Report


def test_queries_are_the_commonest_things_and_their_photos_are_right(tmp_path):
    scenes = list(distinct_scenes(60, demo.SEED))
    queries = choose_queries(scenes)
    assert [query.text.split()[1] for query in queries] == ["tiny", "small", "large"]
    for query in queries:
        _, *thing = query.text.split()
        photos = {f"{number:06d}.jpg" for number, scene in enumerate(scenes) if tuple(thing) in scene.content}
        assert query.shown_in == photos
        assert len(photos) >= 1
        others = [
            sum(other in scene.content for scene in scenes)
            for other in set().union(*(s.content for s in scenes))
            if other[0] == thing[0]
        ]
        assert len(photos) == max(others)


def test_the_scenes_asked_about_are_those_written(tmp_path):
    write_scenes(tmp_path, 40, demo.SEED)
    written = json.loads((tmp_path / KARPATHY_FILE).read_text())["images"]
    (query, *_) = choose_queries(list(distinct_scenes(40, demo.SEED)))
    _, size, colour, shape = query.text.split()
    naming = {
        image["filename"] for image in written for s in image["sentences"] if f"{size} {colour} {shape}" in s["raw"]
    }
    assert naming
    assert naming <= query.shown_in


def test_hits_side_by_side():
    query = Query("a small red star", frozenset({"b.jpg"}))
    hits = {
        "plain": Hits(query.text, (Hit("a.jpg", "/a.jpg", 0.5),)),
        "Q-Perturbation": Hits(query.text, (Hit("b.jpg", "/b.jpg", 0.25),)),
    }
    assert side_by_side(query, hits).splitlines() == [
        "rank    plain  score  Q-Perturbation  score",
        "────  ───────  ─────  ──────────────  ─────",
        "1     a.jpg    0.500         b.jpg *  0.250",
    ]


@pytest.mark.parametrize("state", ["complete", "running"])
def test_ray_is_started_only_for_incomplete_features(tmp_path, monkeypatch, state):
    from contextlib import contextmanager

    from pipeline.features.manifest import Manifest

    events = []

    @contextmanager
    def session(**options):
        events.append("ray")
        yield

    class FakeRun:
        def __init__(self, spec):
            events.append(spec.perturbation.preset)

        def run(self):
            return SimpleNamespace(report=Report(failures=None if len(events) < 3 else "1 photo failed"))

    monkeypatch.setattr("pipeline.cluster.session.ray_session", session)
    monkeypatch.setattr("pipeline.runs.index_run.IndexRun", FakeRun)
    outs = {name: str(tmp_path / name) for name in (demo.PLAIN, demo.PERTURBED)}
    for number, out in enumerate(outs.values()):
        FeatureStore(out).write_manifest(Manifest(fingerprint="0", state=state if number else "complete"))
    code = demo._index_both(demo.Config(), tmp_path, outs)
    if state == "complete":
        assert (events, code) == (["none", "paper"], 0)
    else:
        assert (events, code) == (["ray", "none", "paper"], 1)
