"""The programs of docs/examples do what they say, with a few photos and the miniatures."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.datasets.scenes import write_scenes

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
PHOTOS = 6

pytestmark = pytest.mark.usefixtures("ray_cpu")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs an example with arguments; returns what it prints."""

    def run(name: str, *arguments: str | Path) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_scenes(tmp_path / "scenes", PHOTOS, seed=1)
    (tmp_path / "scenes" / "images" / "broken.jpg").write_bytes(b"no photo")
    return tmp_path / "scenes" / "images"


@pytest.mark.filterwarnings("ignore:.*could not be indexed")
def test_index_then_search(run: Callable[..., str], photos: Path, tmp_path: Path) -> None:
    printed = run("index.py", photos, tmp_path / "features")
    assert printed.splitlines() == [
        f"{PHOTOS} photos, each with 1 vector(s) of 128 numbers",
        "broken.jpg: not an image",
    ]
    lines = run("search.py", tmp_path / "features", "a small red star", "a blue circle").splitlines()
    assert [line for line in lines if not line.startswith(" ")] == ["a small red star", "a blue circle"]
    assert len(lines) == 2 + 2 * 3
    scores = [float(line.split()[0]) for line in lines[1:4]]
    assert scores == sorted(scores, reverse=True)


def test_a_pipeline_of_ones_own(run: Callable[..., str], photos: Path, tmp_path: Path) -> None:
    run("own_pipeline.py", photos, tmp_path / "rows")
    rows = {Path(row["image_id"]).name: row for row in pq.read_table(tmp_path / "rows").to_pylist()}
    assert len(rows) == PHOTOS + 1
    assert rows.pop("broken.jpg")["error"] == "not an image"
    assert all(row["error"] is None and len(row["embedding"]) == 128 for row in rows.values())
    assert any(row["objects"] for row in rows.values())
    assert "bytes" not in next(iter(rows.values()))


def test_every_example_is_run_here() -> None:
    tested = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{path.name}"' in tested for path in EXAMPLES.glob("*.py"))
