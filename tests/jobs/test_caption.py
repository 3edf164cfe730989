"""`qpert caption`: its output, files and errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from torch import Tensor

from jobs.cli import main
from pipeline import encoders
from pipeline.datasets.scenes import write_scenes
from pipeline.encoders.base import Encoder
from tests.encoders.blip2.tiny_blip2 import write_folder


@pytest.fixture
def weights(tmp_path: Path) -> str:
    return write_folder(tmp_path / "blip2")


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    write_scenes(tmp_path / "scenes", 4, seed=5)
    return tmp_path / "scenes"


def test_side_by_side_in_terminal_json_and_html(
    weights: str, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (scenes / "images" / "000001.jpg").write_bytes(b"no photo")
    html, saved = tmp_path / "r.html", tmp_path / "r.json"
    words = ["caption", str(scenes / "images"), "--weights", weights, "--detector", "annotated"]
    words += ["--detector.annotations", str(scenes), "--perturbation.scale", "60", "--emphasise", "all"]
    assert main([*words, "--batch-size", "3", "--html", str(html), "--json", str(saved)]) == 0
    out, err = capsys.readouterr()
    assert err.splitlines() == ["000001.jpg: left out: not an image", "1 of 4 photos were left out"]
    rows = json.loads(saved.read_text())
    assert rows.pop(1)["error"] == "not an image"
    assert "not an image" in html.read_text()
    assert [row["image_id"] for row in rows] == ["000000.jpg", "000002.jpg", "000003.jpg"]
    assert all(len(row["emphasised"]) == len(row["objects"]) > 0 for row in rows)
    assert any(emphasis["caption"] != row["caption"] for row in rows for emphasis in row["emphasised"])
    for row in rows:
        block = out[out.index(row["image_id"]) :].split("\n\n")[0].splitlines()
        assert block[1].split(maxsplit=1) == ["plain", row["caption"]]
        lines = zip(block[2:], row["emphasised"], strict=True)
        assert [line.strip().endswith(emphasis["caption"]) for line, emphasis in lines]
        assert f"<dd>{row['caption']}</dd>" in html.read_text()
    assert "#1 " in html.read_text()


@pytest.mark.parametrize("boxes", ["shuffled", "elsewhere"])
def test_controls_of_the_boxes_take_effect(
    boxes: str, weights: str, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "r.json"
    words = ["caption", str(scenes / "images"), "--weights", weights, "--detector", "annotated", "--emphasise", "all"]
    words += ["--detector.annotations", str(scenes), "--perturbation.seed", "3", "--perturbation.boxes", boxes]
    assert main([*words, "--max-length", "6", "--min-length", "3", "--num-beams", "1", "--json", str(saved)]) == 0
    rows = json.loads(saved.read_text())
    assert len(rows) == 4
    assert all(len(row["emphasised"]) == len(row["objects"]) > 0 for row in rows)


def test_a_photo_without_the_object_is_reported(weights: str, scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = str(scenes / "images" / "000000.jpg")
    words = ["caption", photo, "--weights", weights, "--detector", "none", "--emphasise", "dog", "--num-beams", "1"]
    assert main([*words, "--max-length", "6", "--min-length", "3", "--prompt", "two dog"]) == 0
    out, err = capsys.readouterr()
    first, plain, none = out.splitlines()[:3]
    assert "no photo has dog to emphasise; found: nothing" in err
    assert first == "000000.jpg  (no objects)"
    assert plain.split()[:3] == ["plain", "two", "dog"]
    assert none == "  no objects here"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--perturbation", "none"], "emphasises nothing"),
        (["--perturbation.stages", "itc"], "written in the stage lm, not in itc"),
        (["--encoder", "coca"], "coca writes no captions"),
        (["--weights", "/nowhere.pth"], "there is no file /nowhere.pth"),
        (["--emphasise", "0"], "numbered from 1"),
        (["--min-length", "9", "--max-length", "5"], "is above --max-length 5"),
        (["--html", "."], "--html: this is a folder; name a file"),
        (["--encoder", "blip2-lavis", "--weights", "WEIGHTS"], "opens LAVIS' checkpoints"),
        (["--perturbation.boxes", "shuffled"], "--detector miniature does not know beforehand"),
    ],
)
def test_wrong_use_is_refused(
    words: list[str], message: str, weights: str, scenes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [weights if word == "WEIGHTS" else word for word in words]
    if "--encoder" not in given and "--weights" not in given:
        given += ["--weights", weights]
    assert main(["caption", str(scenes / "images"), *given]) == 2
    assert message in capsys.readouterr().err


def test_a_photo_that_the_model_fails_on_does_not_fail_the_others(
    weights: str,
    scenes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(*args: object, **options: object) -> Encoder:
        encoder = load_encoder(*args, **options)
        plain = encoder.backbone

        def backbone(pixels: Tensor) -> Tensor:  # keys of a white photo are too large for a Gram matrix
            return plain(pixels) * (1 + 1e25 * (pixels.mean((1, 2, 3), keepdim=False) > 1.5))[:, None, None]

        monkeypatch.setattr(encoder, "backbone", backbone)
        return encoder

    load_encoder = encoders.load_encoder
    monkeypatch.setattr(encoders, "load_encoder", load)
    overflows = scenes / "images" / "000002.jpg"
    with Image.open(overflows) as image:
        size = image.size
    Image.new("RGB", size, "white").save(overflows)
    (scenes / "images" / "000001.jpg").write_bytes(overflows.read_bytes()[:300])
    saved = tmp_path / "r.json"
    words = ["caption", str(scenes / "images"), "--weights", weights, "--detector", "annotated", "--json", str(saved)]
    assert main([*words, "--detector.annotations", str(scenes), "--emphasise", "all", "--limit", "4"]) == 0
    rows = json.loads(saved.read_text())
    assert [row["image_id"] for row in rows if "caption" in row] == ["000000.jpg", "000003.jpg"]
    assert rows[1]["error"] == "truncated image"
    assert rows[2]["error"].startswith("captioning: the keys of an object at ")
    _, err = capsys.readouterr()
    assert "000002.jpg: left out: captioning: the keys of an object" in err
    assert "2 of 4 photos were left out" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--perturbation.sites", "no.such"], "no.such"),
        (["--prompt", "two " * 200], "captioning does not work here"),
    ],
)
def test_errors_of_every_photo_are_raised_at_the_start(
    words: list[str], message: str, weights: str, scenes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["caption", str(scenes / "images"), "--weights", weights, "--detector", "none", *words]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert "left out" not in err
    assert not out


def test_no_readable_photo_is_a_failure(weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(b"")
    assert main(["caption", str(tmp_path / "a.png"), "--weights", weights]) == 1
    assert "empty file" in capsys.readouterr().err


def test_a_miniature_on_photos_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (80, 60), (10, 90, 160)).save(tmp_path / "photos" / "real.jpg")
    html = tmp_path / "r.html"
    assert main(["caption", str(tmp_path / "photos"), "--detector", "none", "--html", str(html)]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "warning: MINIATURE MODEL ON REAL PHOTOS"
    assert "--weights Salesforce/blip2-itm-vit-g-coco+blip2_finetune_coco.pth" in lines[2]
    assert lines[-1].startswith("warning: miniature models and real photos")
    assert "MINIATURE MODEL ON REAL PHOTOS" in html.read_text()


def test_a_miniature_on_scenes_is_not_warned_of(scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["caption", str(scenes / "images"), "--limit", "1", "--detector", "none"]) == 0
    assert capsys.readouterr().err == ""
