"""`qpert plan`: its options, and one sample measured."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs import cli
from jobs.plan import Config


def test_prices_are_checked_before_anything_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "nowhere", "--prices", "A100:3.7"]) == 2
    assert "'A100:3.7' is not a price; write NAME=NUMBER, such as A100=3.70" in capsys.readouterr().err
    assert Config(source="x", prices=["GeForce-GTX-1080-Ti=0.12", "cpu=1"]).prices[1] == "cpu=1"


def test_errors_are_reported_before_ray_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["plan", str(tmp_path / "nowhere")]) == 2
    assert f"there is no {tmp_path}/nowhere" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as cluster:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{cluster.getsockname()[1]}")
        assert cli.main(["plan", str(tmp_path)]) == 2
    assert "need an --out that all nodes see" in capsys.readouterr().err


@pytest.mark.usefixtures("ray_cpu")
def test_a_sample_is_measured_and_scaled_up(
    tmp_path: Path, make_photos: Callable[[Path, int], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    make_photos(tmp_path / "photos", 60)
    words = ["plan", str(tmp_path / "photos"), "--sample", "24", "--photos", "1000000", "--prices", "cpu=0.5"]
    assert cli.main([*words, "--json", str(tmp_path / "plan.json")]) == 0
    said = capsys.readouterr().out
    figures = json.loads((tmp_path / "plan.json").read_text())
    sample, found = figures["sample"], figures["estimate"]
    assert sample["photos"] == 24
    assert set(sample["work"]) == {"detect + encode, cpu"}  # the same actors do both
    assert found["photos"] == 1_000_000
    assert found["seconds"] == pytest.approx(1_000_000 / min(found["rates"].values()))
    assert found["bottleneck"] == min(found["rates"], key=found["rates"].get)
    assert found["costs"]["cpu"] == pytest.approx(0.5 * found["device_hours"]["cpu"])
    assert sample["photo_bytes"] > 300
    assert found["feature_bytes"] > 1e8
    for words_ in ("bottleneck", "token cache", "per million", "24 photos of"):
        assert words_ in said
    assert not list(tmp_path.glob("*features*"))  # nothing is kept
