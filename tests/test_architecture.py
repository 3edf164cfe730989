"""docs/architecture.md names files that exist, and every room."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`((?:jobs|pipeline|tests|docs)/[\w./]*)`", PAGE)))


@pytest.mark.parametrize("name", NAMED)
def test_every_file_that_it_names_exists(name: str) -> None:
    assert (ROOT / name).is_dir() if name.endswith("/") else (ROOT / name).is_file()


def test_the_names_are_found() -> None:
    assert {"pipeline/io/", "jobs/search.py", "pipeline/runs/index_run.py"} <= set(NAMED)
    assert not re.findall(r"(?<![/\w])\w+\.py\b", re.sub(r"`[^`]*`", "", PAGE))  # and none outside of backquotes


def test_every_room_is_in_the_table() -> None:
    rooms = {path.parent.name for path in (ROOT / "pipeline").glob("*/__init__.py")}
    table = PAGE.partition("## The path of a photo")[0]
    assert {room for room in rooms if f"`pipeline/{room}/`" not in table} == set()
