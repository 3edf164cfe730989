"""Patterns over relative paths."""

from __future__ import annotations

import pytest

from pipeline.datasets.photos.patterns import compile_pattern, matches_any
from pipeline.errors import QpertError


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.jpg", "a/b/c.jpg", True),
        ("*.jpg", "a.jpg/c.png", True),  # a folder matches
        ("*.JPG", "c.jpg", False),
        ("raw", "a/raw/c.jpg", True),
        ("raw", "a/draw/c.jpg", False),
        ("a/raw", "a/raw/c.jpg", True),
        ("a/raw", "b/a/raw/c.jpg", False),
        ("**/raw/*", "b/a/raw/c.jpg", True),
        ("/a/", "a/b.jpg", True),
        ("[0-9]*", "x/1.jpg", True),
        ("{a,b}/*.png", "b/x.png", True),
        ("0.tar", "0.tar/in/x.jpg", True),
        ("a\nb", "a\nb/x.jpg", True),
    ],
)
def test_patterns_match_names_and_paths(pattern: str, path: str, matches: bool) -> None:
    assert matches_any([pattern], path) is matches
    assert matches_any(["nothing", pattern], path) is matches
    assert not matches_any([], path)


@pytest.mark.parametrize("pattern", ["{0..99999999}", "{1..99999999999999999999}", "{a,b}" * 30])
def test_patterns_with_too_many_alternatives_are_refused(pattern: str) -> None:
    with pytest.raises(QpertError, match="stands for more than 100,000 names"):
        compile_pattern(pattern)
