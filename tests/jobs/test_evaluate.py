"""`qpert evaluate`: figures, what it says was left out, and the join with captions and annotations."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from jobs import evaluate
from jobs.cli import main

NAMES = [f"{i:06d}.jpg" for i in range(6)]


class NumberEncoder:
    """The text "n" is the n-th unit vector; so are the photos, and "n m" lies between two."""

    dim = 8

    def embed_text(self, texts):
        return torch.stack([torch.eye(8)[[int(word) for word in text.split()]].sum(0) for text in texts])


def box(area):
    return [{"x0": 0.0, "y0": 0.0, "x1": 1.0, "y1": area, "label": "thing", "score": 0.5}]


@pytest.fixture
def files(write_features, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "load_text_encoder", lambda features, weights, device: NumberEncoder())
    objects = [box(0.05), box(0.05), box(0.55), box(0.55), [], box(0.95)]
    out = write_features(np.eye(8)[:6, None], NAMES, objects=objects, failed=[NAMES[5]]).out

    def entry(i, *captions, split="test"):
        return {"filename": f"{i:06d}.jpg", "split": split, "sentences": [{"raw": c} for c in captions]}

    images = [
        entry(3, "3", "3"),
        entry(0, "0", "1"),  # the second caption describes the wrong photo
        entry(1, "1"),
        entry(4, "4 7"),
        entry(5, "5"),
        entry(9, "2"),
        entry(2, "2", split="train"),
    ]
    captions = tmp_path / "dataset.json"
    captions.write_text(json.dumps({"images": images}))
    return out, str(captions)


def test_figures_and_remarks(files, tmp_path, capsys):
    out, captions = files
    figures = tmp_path / "made" / "figures.json"
    assert main(["evaluate", out, "--captions", captions, "-k", "1", "2", "--json", str(figures)]) == 0
    text = capsys.readouterr().out
    # T2I: "1" of photo 0 misses. I2T: photo 1's vector likes photo 0's caption "1" as well as its own: a tie.
    assert "4 photos, 6 captions" in text
    assert [line.split() for line in text.splitlines() if line.startswith("text to image")] == [
        ["text", "to", "image", "83.33", "83.33", "80.00", "80.00", "1", "6"]
    ]
    assert [line.split() for line in text.splitlines() if line.startswith("image to text")] == [
        ["image", "to", "text", "75.00", "100.00", "66.67", "100.00", "1", "4"]
    ]
    assert "left out: 1 captioned images that are not in the features, such as 000009.jpg" in text
    assert "left out: 1 captioned images that could not be indexed, such as 000005.jpg (truncated image)" in text
    assert "not in the gallery: 1 indexed photos" in text
    assert "in no size bin: 1 photos" in text
    assert "10-20 %, 20-30 %, 30-40 %, 40-50 %, 60-70 %, 70-80 %, 80-90 %, 90-100 %" in text
    saved = json.loads(figures.read_text())
    assert saved["report"]["t2i"]["overall"] == {"1": pytest.approx(5 / 6), "2": pytest.approx(5 / 6)}
    assert saved["missing"] == ["000009.jpg"]
    assert saved["failed"] == {"000005.jpg": "truncated image"}


def test_another_split_and_all(files, capsys):
    out, captions = files
    assert main(["evaluate", out, "--captions", captions, "--split", "train"]) == 0
    assert "1 photos, 1 captions" in capsys.readouterr().out
    assert main(["evaluate", out, "--captions", captions, "--split", "all"]) == 0
    assert "5 photos, 7 captions" in capsys.readouterr().out
    assert main(["evaluate", out, "--captions", captions, "--split", "val"]) == 2
    assert "test (6), train (1)" in capsys.readouterr().err


def test_bins_by_annotated_boxes(files, tmp_path, capsys):
    out, captions = files
    folder = tmp_path / "entities"
    (folder / "Annotations").mkdir(parents=True)
    for stem, xmax in (("000000", 9), ("000001", 100)):
        size = "<size><width>100</width><height>10</height></size>"
        corners = f"<xmin>1</xmin><ymin>1</ymin><xmax>{xmax}</xmax><ymax>10</ymax>"
        thing = f"<object><name>1</name><bndbox>{corners}</bndbox></object>"
        (folder / "Annotations" / f"{stem}.xml").write_text(f"<annotation>{size}{thing}</annotation>")
    config = evaluate.Config(out=out, captions=captions, annotations=str(folder))
    report = evaluate.measure(config).report
    assert [part.queries for part in report.t2i.bins] == [2, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert report.t2i.unbinned == 3
    assert main(["evaluate", out, "--captions", captions, "--annotations", str(folder)]) == 0
    assert "largest annotated object" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"captions": "/nowhere.json"}, "/nowhere.json"),
        ({"out": "/nowhere"}, "/nowhere"),
        ({"annotations": "/nowhere"}, "no annotations in /nowhere"),
        ({"k": "0"}, "positive"),
        ({"json": "/proc/nowhere/x.json"}, "cannot write"),
    ],
)
def test_wrong_use_says_what_to_do(files, capsys, change, message):
    out, captions = files
    options = {"captions": captions, **{name: value for name, value in change.items() if name != "out"}}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    assert main(["evaluate", change.get("out", out), *words]) == 2
    assert message in capsys.readouterr().err


def test_annotations_of_other_photos_are_refused(files, tmp_path, capsys):
    out, captions = files
    (tmp_path / "other" / "Annotations").mkdir(parents=True)
    (tmp_path / "other" / "Annotations" / "x.xml").write_text("<annotation/>")
    assert main(["evaluate", out, "--captions", captions, "--annotations", str(tmp_path / "other")]) == 2
    assert "annotates none of the captioned images" in capsys.readouterr().err
