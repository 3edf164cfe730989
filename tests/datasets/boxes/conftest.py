"""A small Flickr30K Entities folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.datasets.boxes.entity_xml import xml


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    annotations = {
        "a": xml((1, 1, 100, 80), (5, 5, 9, 9)),
        "b": xml((1, 1, 10, 8), (50, 50, 20, 60), ("nan", 1, 2, 3)),
        "c": xml((200, 1, 220, 9)),
        "broken": "<annotation>",
    }
    for name, text in annotations.items():
        path = tmp_path / "entities" / "Annotations" / f"{name}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "entities"
