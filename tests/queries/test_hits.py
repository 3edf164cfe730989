"""Hits: a sequence, and thumbnails in a notebook."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from pipeline.datasets.photos.rules import SourceRules
from pipeline.queries.hits import Hit, Hits


def photo(folder: Path) -> str:
    Image.new("RGB", (800, 400), (200, 30, 30)).save(folder / "photo.png")
    return str(folder / "photo.png")


def test_a_notebook_shows_thumbnails_and_loads_nothing(tmp_path: Path) -> None:
    html = Hits("a dog", (Hit("photo.png", photo(tmp_path), 0.4321), Hit("gone", "/nowhere/x", 0.1)))._repr_html_()
    assert re.findall(r'src="(.{23})', html) == ["data:image/jpeg;base64,"]
    assert "a dog" in html
    assert "0.432" in html
    assert "file not found" in html
    assert "url(" not in html


def test_text_of_others_stays_text() -> None:
    hostile = "\"'><script>alert(1)</script><img src=x onerror=y>{{ 7 * 7 }}\x1b[31m"
    html = Hits(hostile, (Hit(hostile, "/nowhere/" + hostile, 0.5),))._repr_html_()
    assert "<script" not in html
    assert "<img" not in html
    assert "{{ 7 * 7 }}" in html
    assert "\x1b" not in html


def test_photos_are_opened_by_the_rules(tmp_path: Path) -> None:
    hits = Hits("a", (Hit("p", photo(tmp_path), 1.0),), SourceRules(root=str(tmp_path / "other")))
    assert "<img" not in hits._repr_html_()
    assert "<img" in Hits("a", hits.hits)._repr_html_()


def test_many_and_no_hits() -> None:
    html = Hits("a", tuple(Hit(str(number), "/x", 0.5) for number in range(1030)))._repr_html_()
    assert html.count("<figure") == 24
    assert "and 1,006 more" in html
    assert "no photo" in Hits("a", ())._repr_html_()


def test_a_notebook_shows_the_warning_first(tmp_path: Path) -> None:
    hits = Hits("a dog", (Hit("photo.png", photo(tmp_path), 0.4),), warning="MODELS <i>\nuse others")
    html = hits[:1]._repr_html_()
    assert html.index("MODELS &lt;i&gt;") < html.index("use others") < html.index("a dog")
    assert "alert" not in Hits("a dog", ())._repr_html_()
