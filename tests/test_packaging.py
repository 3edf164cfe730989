"""What is built for an installation holds every file of the packages, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """Files under version control, by their paths."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def built(tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a source distribution of the files under version control, and the wheel made of that."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in tracked:
        if name.partition("/")[0] in ("pipeline", "jobs") or "/" not in name:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--quiet", "--no-isolation", "--outdir", str(out), str(source)],
        check=True,
        capture_output=True,
    )
    return out


def packaged(names: list[str]) -> set[str]:
    return {name for name in names if name.partition("/")[0] in ("pipeline", "jobs")}


@pytest.mark.slow
def test_the_wheel_holds_the_packages_and_nothing_else(built: Path, tracked: list[str]) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    assert sorted(names) == sorted(packaged(tracked))
    assert {"pipeline/py.typed", "pipeline/miniature/yolo.pt", "pipeline/reports/gallery.html.j2"} <= set(names)


@pytest.mark.slow
def test_the_source_distribution_holds_them_too(built: Path, tracked: list[str]) -> None:
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames() if archive.getmember(name).isfile()}
    assert packaged(sorted(names)) == packaged(tracked)
    assert {"LICENSE", "README.md", "pyproject.toml"} <= names


@pytest.mark.slow
def test_the_extras_are_those_that_messages_name(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        folder = next(name for name in archive.namelist() if name.endswith("/METADATA")).partition("/")[0]
        metadata = PathDistribution(zipfile.Path(archive, f"{folder}/")).metadata
        needed = metadata.get_all("Requires-Dist") or []
    assert {"yolo", "onnx", "optuna", "lavis", "jxl", "docs", "dev"} <= set(metadata.get_all("Provides-Extra") or [])
    assert [line for line in needed if line.startswith(("ultralytics", "onnxruntime")) and "extra ==" not in line] == []
