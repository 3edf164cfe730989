"""Search over photos with several views says which view matched, wherever hits are shown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs import search as job
from pipeline.features.views import View
from pipeline.queries.exact import top_k
from pipeline.queries.hit_gallery import hit_sections
from pipeline.queries.hits import Hit, Hits
from pipeline.reports.gallery import Photo, Section, write_gallery
from pipeline.retrieval import similarity
from tests.features.viewed import units, view_of, write_views

KINDS = [["region", "tile"], [], ["crop"], None, ["tile", "tile", "region"], ["region"]]


@pytest.mark.parametrize("cells", [60, 1 << 23])
def test_the_view_with_the_highest_cosine_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    monkeypatch.setattr(similarity, "_BLOCK_CELLS", cells)
    features, stored = write_views(tmp_path / "f", KINDS)
    queries = units(12, 8, seed=50)
    photos = [(number, kinds) for number, kinds in enumerate(KINDS) if kinds is not None]
    for query, hits in zip(queries, top_k(features, queries, 10), strict=True):
        want = {}
        for vectors, (number, kinds) in zip(stored, photos, strict=True):
            exact = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
            cosines = (exact @ query.astype(np.float64) / np.linalg.norm(query.astype(np.float64))).max(axis=1)
            views = [View("whole"), *(view_of(kind, place) for place, kind in enumerate(kinds))]
            want[f"{number:06d}.jpg"] = views[int(cosines.argmax())], cosines.max()
        assert {hit.image_id: hit.view for hit in hits} == {name: view for name, (view, _) in want.items()}
        assert [hit.score for hit in hits] == pytest.approx(
            sorted((s for _, s in want.values()), reverse=True), abs=1e-6
        )


def test_equal_views_are_the_whole_photo(tmp_path: Path) -> None:
    features, stored = write_views(tmp_path / "f", [["crop"], ["crop"]], vectors=1)
    (first, *_), (second, *_) = stored
    (hits,) = top_k(features, first[0][None], 1)
    assert hits[0].view == View("whole")
    assert not np.array_equal(first, second)


HITS = Hits(
    "a star",
    (Hit("a.jpg", "/a.jpg", 0.5, View("crop", (0.1, 0.2, 0.3, 0.4))), Hit("b.jpg", "/b.jpg", 0.25, View("whole"))),
)


def test_text_and_json_of_the_command() -> None:
    lines = job.as_text([HITS]).splitlines()
    assert lines[1].split() == ["1", "0.500", "crop", "10,20-30,40", "/a.jpg"]
    assert lines[2].split() == ["2", "0.250", "whole", "/b.jpg"]
    assert lines[1].index("/a") == lines[2].index("/b")
    results = json.loads(job.as_json([HITS]))[0]["results"]
    assert results[0]["view"] == {"kind": "crop", "box": [0.1, 0.2, 0.3, 0.4]}
    plain = Hits("a star", (Hit("a.jpg", "/a.jpg", 0.5),))
    assert job.as_text([plain]).splitlines()[1] == "   1   0.500  /a.jpg"
    assert "view" not in json.loads(job.as_json([plain]))[0]["results"][0]


def test_the_report_draws_the_view_that_matched(tmp_path: Path) -> None:
    Image.new("RGB", (80, 60), "teal").save(tmp_path / "a.png")
    uri = str(tmp_path / "a.png")
    photos = [
        Photo("a", uri, view=View("tile", (0.25, 0.0, 0.75, 0.5))),
        Photo("b", uri, view=View("whole")),
        Photo("c", uri),
    ]
    write_gallery(tmp_path / "x.html", "Found", [Section("a star", photos)])
    html = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert html.count('class="frame"') == 1
    assert "left:25.000%;top:0.000%;width:50.000%;height:50.000%" in html
    assert html.count("matched: tile 25,0-75,50") == 1
    assert html.count("matched: whole") == 1


def test_sections_of_hits_have_their_views(tmp_path: Path) -> None:
    features, stored = write_views(tmp_path / "f", KINDS)
    answers = [Hits("a", tuple(hits)) for hits in top_k(features, stored[0][0][:1], 2)]
    (section,) = hit_sections(features, answers)
    assert [photo.view for photo in section.photos] == [hit.view for hit in answers[0]]
