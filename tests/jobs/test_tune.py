"""`qpert tune` on the command line: refused options, and the plan of a dry run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from jobs import cli
from jobs.cli.parsing import parse
from jobs.tune import Config, run
from pipeline.errors import QpertError
from pipeline.tuning.planning import make_space
from pipeline.tuning.space import FINER, PAPER, Range


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--encoder", "clap"], "unknown encoder 'clap'"),
        (["--metric", "recall"], "unknown --metric 'recall'; choose one of: 10%, R@1"),
        (["--metric", "own-minus-shuffled recall"], "unknown --metric 'own-minus-shuffled recall'"),
        (["--metric", "own-minus-shuffled", "--boxes", "own"], "compares own with shuffled boxes: leave --boxes out"),
        (["--metric", "own-minus-shuffled", "--perturbation.boxes", "elsewhere"], "leave --boxes out"),
        (["--metric", "own-minus-shuffled", "--detector", "miniature"], "give --annotations and leave --detector out"),
        (["--boxes", "own", "shuffled", "--detector", "miniature"], "--boxes shuffled: to confirm such a setting"),
        (
            ["--perturbation.boxes", "shuffled", "--detector", "miniature"],
            "--boxes shuffled: to confirm such a setting",
        ),
        (["--boxes", "shuffled", "--rerank", "--perturbation.stages", "itc", "itm"], "so --rerank cannot match with"),
        (["--weight", "square"], "weight: 'square' is not one of area"),
        (["--scale", "two"], "--scale two: not a number"),
        (["--scale", "1:0"], "'1:0' is not a range"),
        (["--scale", "1:2"], "--scale is a range: name values, or choose --search random"),
        (["--threshold", "0.5", "1.5"], r"lies in \(0, 1\], got 1.5"),
        (["--search", "guess"], "unknown --search 'guess'"),
        (["--search-options", "{"], "--search-options is not valid JSON"),
        (["--search-options", "[1]"], "--search-options takes a JSON object"),
        (["--scheduler", "best"], "unknown --scheduler 'best'"),
        (["--search-options", '{"seed": 1}'], "--search grid takes no --search-options"),
        (["--min-components", "0:1"], "--min-components takes values, not a range"),
        (["--detector", "none"], "leaves nothing to perturb with"),
        (["--shares", "0.5", "0.1"], "shares of the photos grow up to 1"),
        (["--perturbation", "none"], "leaves nothing to search"),
        (["--captions", "x.json"], "go with --images"),
        (["--images", "nowhere"], "tune --images needs --captions, --encoder, --annotations or --detector"),
        (
            ["--images", ".", "--captions", "b", "--annotations", "c", "--encoder", "coca", "--profile", "crowded"],
            "--profile crowded is of scenes",
        ),
        (["--encoder", "coca", "--rerank"], "the encoder coca has no image-text matching"),
        (["--encoder", "coca", "--cache-limit", "0.001"], "1,000 photos take up to 0.0 GB with coca: allow that"),
    ],
)
def test_wrong_use_is_refused_at_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], message: str
) -> None:
    assert cli.main(["tune", "--out", str(tmp_path / "out"), *words]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_a_dry_run_prints_the_plan(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["tune", "--dry-run", "--out", str(tmp_path / "out"), "--scenes", "200"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["blip2", "coca", "internvl", "open_clip"]
    assert "200 photos pass the backbone once, their tokens take up to 0.01 GB; 45 settings by grid, fifo" in lines[0]
    assert not (tmp_path / "out").exists()


def space(*words: str):  # type: ignore[no-untyped-def]
    config = parse(Config, [*words], verb="tune")
    assert config is not None
    return make_space(config)


def test_spaces() -> None:
    assert space().tables == FINER
    assert space("--images", "x").tables == PAPER
    drawn = space("--search", "random")
    assert drawn.tables is None
    assert list(drawn.fields) == ["weight", "scale", "threshold"]
    custom = space(
        "--scale", "0.1:10:log", "--sites", "all", "0,2", "--search", "optuna", "--perturbation.combine", "mean"
    )
    assert custom.fields == {"scale": Range(0.1, 10, log=True), "sites": ["all", "0,2"]}
    assert custom.base.combine == "mean"


def test_the_best_is_not_confirmed_on_searched_photos(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """COCO's own captions have no splits: every split is the whole file."""
    (tmp_path / "images").mkdir()
    coco = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [{"id": 1, "image_id": 1, "caption": "a dog"}],
    }
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps(coco))
    words = [
        "--images",
        str(tmp_path / "images"),
        "--captions",
        str(captions),
        "--encoder",
        "coca",
        "--detector",
        "x.pt",
    ]
    assert cli.main(["tune", "--dry-run", *words, "--out", str(tmp_path / "out")]) == 2
    assert "1 photos, such as a.jpg, are in the split val and in test" in capsys.readouterr().err
    assert cli.main(["tune", "--dry-run", *words, "--out", str(tmp_path / "out"), "--confirm-split", "none"]) == 0


def test_a_bucket_is_refused_as_output_on_a_cluster() -> None:
    with pytest.raises(QpertError, match=r"--out s3://bucket/tuning: .* which the nodes of a cluster do not see"):
        run(Config(out="s3://bucket/tuning", address="head:6379"))


class Reached(BaseException):
    """The work begins; no command takes this for an error of its own."""


def test_the_features_are_made_in_sessions_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session around the whole command could not be ended for a further attempt."""
    asked: list[dict[str, Any]] = []

    def index_variants(spec: Any, *arguments: Any, **options: Any) -> int:
        asked.append({"accelerators": spec.accelerators, "patience": spec.patience, "wait": spec.wait, **options})
        raise Reached

    def session(*arguments: Any, **options: Any) -> None:
        raise AssertionError("there is a session")

    monkeypatch.setattr("pipeline.cluster.session.ray_session", session)
    monkeypatch.setattr("pipeline.tuning.run.ray_session", session)
    monkeypatch.setattr("pipeline.tuning.run.index_variants", index_variants)
    words = ["--accelerators", "A100", "V100", "--patience", "4", "--wait", "9", "--encoder", "coca", "--scenes", "50"]
    with pytest.raises(Reached):
        cli.main(["tune", "--out", str(tmp_path / "out"), *words])
    (options,) = asked
    assert (options["accelerators"], options["patience"], options["wait"]) == (["A100", "V100"], 4, 9)
    assert not options.get("begun")
