"""The README is one page with a picture, says first what the bundled models are, and its links lead somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from jobs.cli import verbs
from tests.docs.pages import README, ROOT, anchors, links

TEXT = README.read_text(encoding="utf-8")
LINKS = [link for link in links(TEXT) if "://" not in link]


def test_it_is_one_page() -> None:
    assert len(TEXT.splitlines()) <= 150
    assert len(TEXT.encode()) <= 8192


def test_its_picture_is_small() -> None:
    (picture,) = [ROOT / link for link in LINKS if link.endswith((".png", ".webp", ".jpg"))]
    assert picture.stat().st_size < 200_000
    with Image.open(picture) as image:
        image.verify()


@pytest.mark.parametrize("link", LINKS)
def test_its_links_lead_somewhere(link: str) -> None:
    path, _, anchor = link.partition("#")
    target = ROOT / path if path else README
    assert target.exists()
    assert not anchor or anchor in anchors(target.read_text(encoding="utf-8"))


def test_it_names_every_verb() -> None:
    table = TEXT.partition("## Verbs")[2].partition("\n## ")[0]
    assert {verb for verb in verbs() if f"| `{verb}` |" not in table} == set()


def test_the_quick_start_begins_with_the_warning() -> None:
    quick_start = TEXT.partition("## Quick start")[2].strip()
    assert quick_start.startswith("**The bundled models know only drawn shapes.**")


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_every_page_can_be_reached(page: Path) -> None:
    """From the README, in two clicks at most."""
    near = [ROOT / link.partition("#")[0] for link in LINKS if link.partition("#")[0].endswith(".md")]
    next_to_them = [(near_page.parent / link.partition("#")[0]).resolve() for near_page in near
                    for link in links(near_page.read_text(encoding="utf-8")) if "://" not in link]  # fmt: skip
    assert page in near or page in next_to_them or page.name == "index.md"
