from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from jobs import cli
from jobs.reproduce import Config, run
from pipeline.datasets.scenes import write_scenes
from pipeline.reproduction.experiment import EMPHASIS_SCALES


def test_a_dry_run_prints_the_plan(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["reproduce", "--dry-run", "--out", str(tmp_path / "out")]) == 0
    assert "coca (miniature): 93 settings with annotated boxes in one pass" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_each_kind_of_scenes_has_its_own_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["reproduce", "--dry-run", "--encoder", "coca", "--out", str(tmp_path / "out")]
    assert cli.main([*words, "--profile", "crowded"]) == 0
    assert "/out/miniature-crowded/coca" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "flickr30k"], "needs --images, --captions, --annotations, --encoder, --weights"),
        (["--images", "somewhere"], "are for flickr30k and coco"),
        (
            [
                *("--preset", "coco", "--images", "a", "--captions", "b", "--annotations", "c", "--encoder", "coca"),
                *("--weights", "d", "--profile", "crowded"),
            ],
            "--profile crowded is of scenes",
        ),
        (["--encoder", "clap"], "unknown encoder 'clap'"),
        (["--perturbation", "none"], "leaves nothing to compare"),
        (["--preset", "mnist"], "--preset"),
        (["--table", "z"], "--table"),
        (["--series", "3", "3"], "--series takes different numbers from 0 on, not 3 3"),
        (["--draws", "0"], "--draws"),
        (["--encoder", "coca", "--perturbation.boxes", "elsewhere"], "needs a --perturbation with own boxes"),
        (["--out", "/dev/null/out"], "/dev/null is a file"),
        (["--detector", "/no/such/yolo.pt"], "/no/such/yolo.pt"),
        (["--encoder", "coca", "--weights", "/no/such/folder"], "/no/such/folder"),
    ],
)
def test_wrong_use_is_refused_at_once(capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert cli.main(["reproduce", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("ray_cpu")
def test_blip2_is_re_ranked_and_writes_captions_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Config(encoder="blip2", table="paper", scenes=50, samples=100, rerank_k=4, out=str(tmp_path))
    assert run(config) == 0
    tables = tmp_path / "miniature" / "blip2" / "tables"
    out = capsys.readouterr().out
    assert "## Re-ranked by image-text matching" in out
    assert "The 4 best of each query" in out
    with (tables / "matching.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "R@1"]
    assert [row[""] for row in rows] == [
        "contrast alone", "plain, ITM plain", "Q-Pert. (E), ITM plain", "Q-Pert. (E), ITM perturbed",
    ]  # fmt: skip
    with (tables / "table_a.csv").open() as file:
        plain = next(row for row in csv.DictReader(file) if (row[""], row["metric"]) == ("plain", "R@1"))
    assert rows[0]["here"] == plain["here"]
    with (tables / "figure_b.csv").open() as file:
        settings = [row[""] for row in csv.DictReader(file)]
    assert settings == ["plain", *(f"scale {scale:g}" for scale in EMPHASIS_SCALES)]


@pytest.mark.usefixtures("ray_cpu")
def test_photos_on_disk_go_through_the_whole_protocol(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    write_scenes(data, 60, seed=5)
    config = Config(
        preset="flickr30k",
        images=str(data / "images"),
        captions=str(data / "dataset_scenes.json"),
        annotations=str(data),
        encoder="coca",
        weights="miniature",
        out=str(tmp_path / "out"),
        rivals=["none"],
        draws=1,
        samples=100,
    )
    assert run(config) == 0
    folder = tmp_path / "out" / "flickr30k" / "coca"
    first = capsys.readouterr().out
    assert "## Table A" in first
    made_by = (
        "qpert reproduce --encoder coca --preset flickr30k --weights miniature --rivals none --draws 1 --samples 100"
    )
    assert f"Made by `{made_by}` on 20" in first
    assert (folder / "report.md").read_text() in first
    with (folder / "tables" / "table_a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row[""] for row in rows} == {"plain", "Q-Pert. (E)", "Q-Pert. (D)", "OEs", "OrQ-Pert."}
    assert {row["n"] for row in rows if row["metric"] == "R@1"} == {"300"}
    assert "Q-Perturbation" in (folder / "figure_a.html").read_text()
    proof = (tmp_path / "out" / "flickr30k" / "proof.md").read_text()
    assert proof in first
    assert "60 photos, 300 captions (photos). Chosen: weight constant, scale 4.0, threshold 0.9" in proof
    assert "The setting, qpert, was chosen on scenes: that it was needs no correction on these photos." in proof
    with (folder / "proof" / "tables" / "quantities.csv").open() as file:
        quantities = list(csv.DictReader(file))
    assert {row["photos"] for row in quantities} == {"photos"}
    outcomes = sorted((folder / "outcomes").rglob("*.npz"))
    assert len(outcomes) == 3 + 45 + 6 + 2

    outcomes[0].unlink()
    times = {path: path.stat().st_mtime_ns for path in outcomes[1:]}
    assert run(config) == 0
    again = capsys.readouterr().out
    table_a = "## Table A", "## Table B"
    assert (
        again[again.index(table_a[0]) : again.index(table_a[1])]
        == first[first.index(table_a[0]) : first.index(table_a[1])]
    )
    assert outcomes[0].is_file()
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


class Reached(BaseException):
    """The work begins; no command takes this for an error of its own."""


def test_the_features_are_made_in_sessions_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session around the whole command could not be ended for a further attempt."""
    asked: list[tuple[Any, bool]] = []

    def index_variants(spec: Any, variants: Any, *, begun: bool) -> int:
        asked.append((spec, begun))
        if begun:
            raise Reached
        return 0

    def session(*arguments: Any, **options: Any) -> None:
        raise AssertionError("there is a session")

    monkeypatch.setattr("pipeline.cluster.session.ray_session", session)
    monkeypatch.setattr("pipeline.cluster.remote.ray_session", session)
    monkeypatch.setattr("pipeline.reproduction.experiment.index_variants", index_variants)
    words = ["--accelerators", "A100", "V100", "--patience", "4", "--wait", "9"]
    words += ["--encoder", "coca", "--scenes", "50", "--cpus", "3"]
    with pytest.raises(Reached):
        cli.main(["reproduce", "--out", str(tmp_path / "out"), *words])
    assert [begun for _, begun in asked] == [False, True]  # GPU types gone after the first set are not required
    for spec, _ in asked:
        options = spec.accelerators, spec.patience, spec.wait, spec.cpus
        assert options == (["A100", "V100"], 4, 9, 3)
