"""`qpert models`: its table, one model, JSON, downloads, and that it loads nothing large."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import cli
from pipeline.encoders import downloads
from pipeline.encoders.catalogue import catalogue
from pipeline.runs import download

Output = pytest.CaptureFixture[str]


def printed(capsys: Output, *words: str) -> str:
    assert cli.main(["models", *words]) == 0
    return capsys.readouterr().out


def test_the_short_list_all_and_a_part_of_a_name(capsys: Output) -> None:
    short, everything, some = printed(capsys), printed(capsys, "--all"), printed(capsys, "pe-core")
    assert "ViT-B-16-SigLIP2-256:webli" in short
    assert "ViT-gopt-16-SigLIP2-256:webli" not in short
    assert all(f"{entry.weights} " in everything for entry in catalogue())
    assert [line.split()[0] for line in some.splitlines() if ":meta" in line] == [
        *("PE-Core-B-16:meta", "PE-Core-bigG-14-448:meta", "PE-Core-L-14-336:meta", "PE-Core-S-16-384:meta"),
        "PE-Core-T-16-384:meta",
    ]


def test_one_model_by_name(capsys: Output) -> None:
    text = printed(capsys, "vit-so400m-16-siglip2-384")
    assert text.startswith("ViT-SO400M-16-SigLIP2-384:webli\n")
    assert "1,136,039,602" in text


def test_json_has_the_same_entries(capsys: Output) -> None:
    figures = json.loads(printed(capsys, "--json"))
    assert {"encoder": "coca", "weights": "miniature", "bundled": True}.items() <= next(
        entry for entry in figures if entry["encoder"] == "coca"
    ).items()
    assert len(json.loads(printed(capsys, "--json", "--all"))) == len(catalogue())
    assert json.loads(printed(capsys, "detectors", "--json"))[0]["detector"] == "miniature"


def test_detectors(capsys: Output) -> None:
    assert "grounding-dino" in printed(capsys, "detectors")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no-such-model", "no encoder or weights have 'no-such-model' in their names; qpert models --all"),
        ("ViT-e-14", "no published weights for ViT-e-14: give your own, --encoder open_clip --weights ViT-e-14:/path"),
    ],
)
def test_names_without_weights_are_refused(name: str, said: str, capsys: Output) -> None:
    assert cli.main(["models", name]) == 2
    assert said in capsys.readouterr().err


def test_fetch_downloads_the_weights_of_one_model(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []
    monkeypatch.setattr(download, "fetch_weights", lambda encoder, weights, progress: asked.append((encoder, weights)))
    monkeypatch.setattr(downloads, "weights_here", lambda encoder, weights: Path("/cache") / encoder)
    assert printed(capsys, "PE-Core-B-16", "--fetch") == "the weights are in /cache/open_clip\n"
    assert asked == [("open_clip", "PE-Core-B-16:meta")]
    assert "come with the package" in printed(capsys, "coca miniature", "--fetch")
    assert cli.main(["models", "RN50", "--fetch"]) == 2
    assert "--fetch downloads one model; say which: open_clip RN50:openai" in capsys.readouterr().err
    assert len(asked) == 1


def test_nothing_large_is_imported() -> None:
    code = (
        "import sys; from jobs.cli import main; main(['models', '--all']);"
        " sys.exit(bool({'ray', 'torch', 'transformers', 'ultralytics', 'open_clip', 'timm'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
