"""`qpert demo`: its queries, how it shows the hits, and that it reuses existing features."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from jobs import demo
from jobs.demo import Query, choose_queries, control_table, side_by_side
from pipeline.datasets.scenes import KARPATHY_FILE, distinct_scenes, write_scenes
from pipeline.features.store import FeatureStore
from pipeline.queries.hits import Hit, Hits
from pipeline.retrieval import Ranks, report_of
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
            detector = spec.detector
            known = detector.annotations if detector.model == "annotated" else None
            events.append((spec.encoder, spec.perturbation.preset, spec.perturbation.boxes, known))

        def run(self):
            return SimpleNamespace(report=Report(failures=None if len(events) < 4 else "1 photo failed"))

    monkeypatch.setattr("pipeline.cluster.session.ray_session", session)
    monkeypatch.setattr("pipeline.runs.index_run.IndexRun", FakeRun)
    outs = {name: str(tmp_path / name) for name in (demo.PLAIN, demo.PERTURBED, demo.CONTROL)}
    for number, out in enumerate(outs.values()):
        FeatureStore(out).write_manifest(Manifest(fingerprint="0", state=state if number else "complete"))
    code = demo._index_all(demo.Config(), str(tmp_path), outs)
    indexed = [
        (demo.ENCODER, "none", None, None),
        (demo.ENCODER, "qpert", None, outs[demo.PLAIN]),
        (demo.ENCODER, "qpert", "shuffled", outs[demo.PLAIN]),
    ]
    assert (events, code) == ((indexed, 0) if state == "complete" else (["ray", *indexed], 1))


def test_the_gain_stands_beside_what_other_boxes_give():
    """Plain finds 10 of 40 photos, Q-Perturbation 30, and 20 with other photos' boxes; half have small objects."""

    def evaluation(found):
        ranks = np.where(np.arange(40) < found, 1, 2)
        outcome = Ranks(ranks, ranks, np.arange(40), np.arange(40) % 2, tuple(map(str, range(40))))
        return SimpleNamespace(ranks=outcome, report=report_of(outcome))

    evaluations = {demo.PLAIN: evaluation(10), demo.PERTURBED: evaluation(30), demo.CONTROL: evaluation(20)}
    headers, rows = control_table(evaluations)
    assert headers == ["", "plain", "Q-Perturbation", "others' boxes", "gain", "object's own"]
    small = "  largest object < 10 %"
    assert [row[0] for row in rows] == ["text to image, R@1", small, "image to text, R@1", small]
    for row in rows:
        assert row[1:4] == ["25.00", "75.00", "50.00"]
        assert row[4].startswith("+50.00 (+")
        assert row[5].startswith("+25.00 (+")
