"""The examples of docs/exports.md run as they stand, and find the photos that a search of ours finds."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest

import pipeline
from jobs.cli import main
from tests.docs.pages import ROOT, commands
from tests.features.viewed import units

TEXT = (ROOT / "docs" / "exports.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE))
TOOLS = {
    "LanceDB": ("lancedb", "lance"),
    "Hugging Face `datasets`": ("datasets", "hf"),
    "DuckDB": ("duckdb", "hf"),
    "FAISS": ("faiss", "faiss"),
    "Qdrant": ("qdrant_client", "hf"),
    "Milvus": ("pymilvus", "hf"),
}


def code(section: str) -> str:
    blocks = re.findall(r"```python[^\n]*\n(.*?)```", SECTIONS[section], re.DOTALL)
    assert blocks
    return "\n".join(blocks)


@pytest.fixture
def here(write_features: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    objects = [{"x0": 0.0, "y0": 0.25, "x1": 0.5, "y1": 1.0, "label": "star", "score": 0.5}]
    write_features(units(200, 1, 128), objects=[objects] * 200)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_finds_the_same_photos(here: Path, tool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package, form = TOOLS[tool]
    pytest.importorskip(package)
    monkeypatch.setenv("HF_HOME", str(here / "cache"))
    words = next(words for words in commands(TEXT) if words[:4] == ["export", "features/", "--to", form])
    assert main(words) == 0
    names: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(code("The query") + code(tool), names)  # noqa: S102
    expected = [hit.image_id for hit in pipeline.search("features", "a small red star", top=10)]
    assert names["found"] == expected
    if tool == "DuckDB":
        assert names["labels"] == [("star", 200)]


def test_every_tool_has_its_section() -> None:
    assert set(TOOLS) | {"The query", "FiftyOne"} == set(SECTIONS)
