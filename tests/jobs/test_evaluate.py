"""`qpert evaluate`: figures, remarks on what was left out, and the join with captions and annotations."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
import torch

from jobs.cli import main
from jobs.evaluate import Config
from pipeline.experiments import evaluating, evaluating_objects

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
    monkeypatch.setattr(evaluating, "load_text_encoder", lambda features, **_: NumberEncoder())
    # Other tests may have started Ray, whose workers know nothing of the line above.
    monkeypatch.setattr(evaluating, "ray_is_there", lambda config: False)
    objects = [box(0.05), box(0.05), box(0.55), box(0.55), [], box(0.95)]
    out = write_features(np.eye(8)[:6, None], NAMES, objects=objects, failed=[NAMES[5]]).root

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
    figures = tmp_path / "figures.json"
    assert main(["evaluate", out, "--captions", captions, "-k", "1", "2", "--json", str(figures)]) == 0
    text = capsys.readouterr().out
    # T2I: "1" of photo 0 misses. I2T: photo 1's vector likes photo 0's caption "1" as well as its own: a tie.
    assert "4 photos, 6 captions" in text
    rows = {line[:11].strip(): re.sub(r"\(.*?\)", "", line[11:]).split() for line in text.splitlines()}
    assert rows["R@1"] == ["83.33", "75.00"]
    assert rows["R@2"] == ["83.33", "100.00"]
    assert rows["mR@1"] == ["80.00", "66.67"]
    assert rows["mR@2"] == ["80.00", "100.00"]
    assert rows["median rank"] == ["1", "1"]
    assert rows["queries"] == ["6", "4"]
    assert re.search(r"R@1 +83\.33 \(\d+\.\d-100\.0\) ", text)
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
    config = Config(out=out, captions=captions, annotations=str(folder))
    report = evaluating.evaluate_set(config).report
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
        ({"json": "/proc/nowhere/x.json"}, "--json: there is no folder /proc/nowhere"),
        ({"csv": "/proc/nowhere/x.csv"}, "--csv: there is no folder /proc/nowhere"),
        ({"markdown": "/proc/nowhere/x.md"}, "--markdown: there is no folder /proc/nowhere"),
        ({"figure": "x.pdf"}, "--figure: a figure is a .png or .svg file, not x.pdf"),
        ({"against": "/nowhere"}, "/nowhere"),
        ({"samples": "10"}, "--samples"),
    ],
)
def test_wrong_use_is_refused_with_advice(files, capsys, change, message):
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


def test_against_another_set_in_all_forms(files, write_features, tmp_path, capsys):
    out, captions = files
    # The baseline knows neither photo 3 from 5 nor any object; its photos are stored in another order.
    vectors = np.eye(8)[[5, 4, 5, 2, 1, 0]]
    other = write_features(vectors[:, None], NAMES[::-1], failed=[NAMES[5]], name="baseline").root
    paths = {name: tmp_path / f"f.{name}" for name in ("json", "csv", "markdown", "svg")}
    words = [w for name, path in paths.items() for w in (f"--{name if name != 'svg' else 'figure'}", str(path))]
    assert main(["evaluate", out, "--against", other, "--captions", captions, "-k", "1", *words]) == 0
    text = capsys.readouterr().out
    assert "features against baseline; 4 photos, 6 captions" in text
    line = next(line for line in text.splitlines() if line.startswith("R@1 "))
    # Both captions that it gained belong to one photo, which could as well have lost them.
    assert re.fullmatch(
        r"R@1 +50\.00 +83\.33 +\+33\.33 \(\S+ to \S+\) +not shown \(\S+\) +0 / 2 +1\.000 +1\.000 +6", line
    )
    assert "size bins: those of features for both sets; 3 photos have another bin in baseline" in text
    assert f"figures: {paths['json']}, {paths['csv']}, {paths['markdown']}, {paths['svg']}" in text
    saved = json.loads(paths["json"].read_text())
    assert saved["comparison"]["t2i"]["overall"]["1"]["difference"] == pytest.approx(1 / 3)
    assert saved["against"]["name"] == "baseline"
    assert paths["csv"].read_text().count("difference,t2i") == 12
    assert "| R@1 | 50.00 | 83.33 | +33.33 (" in paths["markdown"].read_text()
    assert "<svg" in paths["svg"].read_text()


def test_sets_of_other_queries_are_refused(files, write_features, capsys):
    out, captions = files
    other = write_features(np.eye(8)[:3, None], NAMES[:3], name="fewer").root
    assert main(["evaluate", out, "--against", other, "--captions", captions]) == 2
    assert "do not hold the same queries: 2 images with 3 captions only in the first" in capsys.readouterr().err


def test_seed_and_samples_choose_the_resamples(files):
    out, captions = files

    def intervals(**options):
        config = Config(out=out, captions=captions, k=[1], **options)
        return evaluating.evaluate_sets(config).sets[0].intervals

    assert intervals(samples=500) == intervals(samples=500)
    assert intervals(samples=500) != intervals(samples=500, seed=1)
    assert intervals(samples=300).samples == 300


def test_sets_of_the_same_name_are_distinguished_by_their_folders():
    config = Config(out="a/features/", against="b/features", captions="x")
    assert evaluating.set_names(config) == ("a/features", "b/features")
    assert evaluating.set_names(config.model_copy(update={"against": "b/plain"})) == ("features", "plain")


def test_ray_is_used_only_if_it_is_there(monkeypatch):
    config = Config(out="a", captions="x")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    assert not evaluating.ray_is_there(config)
    assert "ray" not in sys.modules
    assert evaluating.ray_is_there(config.model_copy(update={"address": "auto"}))
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert evaluating.ray_is_there(config)


@pytest.fixture
def parts(files, write_features, tmp_path):
    """The photos of `files` in two sets, part-0 and part-1."""
    objects = [box(0.05), box(0.05), box(0.55), box(0.55), [], box(0.95)]
    for number, some in enumerate((slice(0, 2), slice(2, 6))):
        failed = [name for name in NAMES[some] if name == NAMES[5]]
        write_features(
            np.eye(8)[:6, None][some], NAMES[some], objects=objects[some], failed=failed, name=f"part-{number}"
        )
    return [str(tmp_path / f"part-{number}") for number in range(2)]


def test_several_sets_are_one_gallery(files, parts, tmp_path, capsys):
    out, captions = files
    assert main(["evaluate", out, "--captions", captions, "--json", str(tmp_path / "whole.json")]) == 0
    whole = capsys.readouterr().out
    for sets in (parts, [f"{tmp_path}/part-*"], [parts[0], f"{tmp_path}/part-{{0..1}}"]):
        assert main(["evaluate", *sets, "--captions", captions, "--json", str(tmp_path / "parts.json")]) == 0
        text = capsys.readouterr().out
        assert text.partition("\n")[2].replace("parts.json", "whole.json") == whole.partition("\n")[2]
        saved, expected = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("parts", "whole"))
        assert saved["report"] == expected["report"]


def test_galleries_of_several_sets_are_compared(files, parts, tmp_path, capsys):
    out, captions = files
    assert main(["evaluate", *parts, "--against", out, "--captions", captions]) == 0
    assert "part-0 + 1 more against features; 4 photos, 6 captions" in capsys.readouterr().out
    assert main(["evaluate", out, "--against", f"{tmp_path}/part-*", "--captions", captions]) == 0
    assert "features against part-*; 4 photos, 6 captions" in capsys.readouterr().out


def test_what_cannot_be_one_gallery_is_refused(files, parts, tmp_path, capsys):
    out, captions = files
    assert main(["evaluate", out, parts[0], "--captions", captions]) == 2
    assert f"000000.jpg is in {out} and in {parts[0]} (2 such photos)" in capsys.readouterr().err
    assert main(["evaluate", f"{tmp_path}/none-*", "--captions", captions]) == 2
    assert "no feature set fits the pattern" in capsys.readouterr().err
    assert main(["evaluate", *parts, "--captions", captions, "--rerank"]) == 2
    assert (
        "--rerank takes one feature set, beside which it keeps its scores, and here are 2:" in capsys.readouterr().err
    )


def test_a_worker_gets_local_paths_in_full(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "features").mkdir()
    config = Config(out="features", against="s3://bucket/f", captions="x.json", weights="coca_ViT-L-14:tag")
    moved = evaluating._with_absolute_paths(config)
    assert moved.out == str(tmp_path / "features")
    assert (moved.against, moved.captions, moved.weights) == (config.against, config.captions, config.weights)
    several = config.model_copy(update={"out": "part-*", "further": ["features", "s3://bucket/part-*"]})
    moved = evaluating._with_absolute_paths(several)
    assert moved.out == str(tmp_path / "part-*")
    assert moved.further == [str(tmp_path / "features"), "s3://bucket/part-*"]


@pytest.fixture
def annotated(write_features, tmp_path, monkeypatch):
    """Six photos and boxes of the classes 0, 1 and 2; the text "n" is the n-th unit vector."""
    monkeypatch.setattr(evaluating, "load_text_encoder", lambda features, **_: NumberEncoder())
    monkeypatch.setattr(evaluating_objects, "ray_is_there", lambda config: False)
    vectors = np.eye(8)[[0, 1, 2, 0, 1, 5]]
    out = write_features(vectors[:, None], NAMES, failed=[NAMES[5]]).root
    images = [{"id": n, "file_name": name, "width": 100, "height": 100} for n, name in enumerate(NAMES[:5])]
    shown = [(0, 0, 5), (1, 1, 100), (2, 2, 100), (3, 0, 100), (4, 2, 100), (4, 1, 12)]  # photo, class, side of its box
    boxes = [{"image_id": n, "category_id": c, "bbox": [0, 0, side, side]} for n, c, side in shown]
    categories = [{"id": n, "name": str(n)} for n in range(4)]
    path = tmp_path / "instances.json"
    path.write_text(json.dumps({"images": images, "categories": categories, "annotations": boxes}))
    return out, str(path)


def test_names_of_objects_as_queries_in_all_forms(annotated, tmp_path, capsys):
    out, boxes = annotated
    paths = {name: tmp_path / f"f.{name}" for name in ("json", "csv", "markdown")}
    words = [word for name, path in paths.items() for word in (f"--{name}", str(path))]
    assert main(["evaluate", out, "--queries", "objects", "--annotations", boxes, "-k", "1", *words]) == 0
    text = capsys.readouterr().out
    assert "3 classes as queries, 5 photos, 2 right ones per query; figures in percent" in text
    rows = {line.split("  ")[0]: re.sub(r"\(.*?\)", "", line).split()[1:] for line in text.splitlines()}
    # 0.jpg and 3.jpg show class 0 and rank first; 4.jpg shows class 2, but looks like class 1: last, with all others.
    assert rows["R-precision"] == ["83.33", "100.00", "100.00", "100.00", "83.33"]
    assert rows["mAP"] == [f"{100 * (1 + 1 + (1 + 2 / 5) / 2) / 3:.2f}", "100.00", "100.00", "100.00", rows["mAP"][4]]
    assert rows["R@1"][0] == "100.00"
    assert rows["queries"] == ["3", "1", "2", "2", "3"]
    assert "left out: 1 photos that could not be indexed" in text
    assert f"figures: {', '.join(map(str, paths.values()))}" in text
    assert json.loads(paths["json"].read_text())["classes"]["2"]["figures"]["all"]["mAP"] == pytest.approx(0.7)
    assert paths["csv"].read_text().count("R-precision") == 5
    assert "| R-precision | 83.33 (" in paths["markdown"].read_text()


def test_names_of_objects_against_another_set(annotated, write_features, capsys):
    out, boxes = annotated
    other = write_features(np.eye(8)[[0, 1, 2, 0, 3]][:, None], NAMES[:5], name="baseline").root
    words = ["--against", other, "--queries", "objects", "--annotations", boxes, "-k", "1", "--samples", "100"]
    assert main(["evaluate", out, *words]) == 0
    text = capsys.readouterr().out
    assert "features against baseline; 3 classes as queries" in text
    row = next(line for line in text.splitlines() if line.startswith("R-precision "))
    assert re.match(r"R-precision +66\.67 +83\.33 +\+16\.67 \(\S+ to \S+\) +not shown \(\S+\) +1 / 0 +1\.000", row)
    fewer = write_features(np.eye(8)[:3][:, None], NAMES[:3], name="fewer").root
    assert main(["evaluate", out, "--against", fewer, *words[2:]]) == 2
    assert "do not hold the same annotated photos: 2 only in the second (such as 000003.jpg)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--queries", "objects"], "--queries objects needs --annotations"),
        (["--queries", "objects", "--captions", "x.json"], "so it cannot use --captions"),
        (["--queries", "objects", "--rerank"], "so it cannot use --rerank"),
        (["--queries", "objects", "--template", "a photo"], "--template needs one {} in place of the class"),
        (["--queries", "objects", "--figure", "x.png"], "--figure draws recall of captions"),
        ([], "--captions is missing (or take the names of classes: --queries objects)"),
    ],
)
def test_options_of_the_other_queries_are_refused(annotated, capsys, words, message):
    out, boxes = annotated
    annotations = [] if message.endswith("--annotations") else ["--annotations", boxes]
    assert main(["evaluate", out, *annotations, *words]) == 2
    assert message in capsys.readouterr().err


@pytest.fixture
def coca_files(write_features, tmp_path):
    """Features of the size of the bundled CoCa, which a worker can load, and captions, one of them written twice."""
    from pipeline.encoders import load_encoder

    dim = load_encoder("coca").dim
    rng = np.random.default_rng(0)
    out = write_features(rng.standard_normal((6, 1, dim)), NAMES, objects=[box(0.05)] * 6).root
    images = [
        {"filename": name, "split": "test", "sentences": [{"raw": f"a {colour} star"}] * 2}
        for name, colour in zip(NAMES, ("red", "blue", "green", "white", "black", "pink"), strict=True)
    ]
    captions = tmp_path / "dataset.json"
    captions.write_text(json.dumps({"images": images}))
    return out, str(captions)


def test_a_ray_task_evaluates_the_same_and_passes_its_warnings_on(coca_files, ray_cpu, monkeypatch):
    out, captions = coca_files
    config = Config(out=out, captions=captions)
    assert evaluating.ray_is_there(config)
    with pytest.warns(UserWarning, match="repeat another"):
        local = evaluating.evaluate_sets(config)
    with pytest.warns(UserWarning, match="repeat another"):
        remote = evaluating.evaluate_on_ray(config)
    assert remote.sets[0].evaluation.report == local.sets[0].evaluation.report
    assert remote.sets[0].intervals == local.sets[0].intervals


def test_a_ray_task_evaluates_names_of_objects(coca_files, ray_cpu, tmp_path):
    out, _ = coca_files
    images = [{"id": n, "file_name": name, "width": 10, "height": 10} for n, name in enumerate(NAMES)]
    boxes = [{"image_id": n, "category_id": n % 2, "bbox": [0, 0, 1 + n, 1]} for n in range(6)]
    categories = [{"id": 0, "name": "red star"}, {"id": 1, "name": "blue circle"}]
    path = tmp_path / "instances.json"
    path.write_text(json.dumps({"images": images, "categories": categories, "annotations": boxes}))
    config = Config(out=out, queries="objects", annotations=str(path), template="a {}", samples=100)
    remote = evaluating_objects.run_object_evaluation(config)
    assert remote.sets[0].figures == evaluating_objects.evaluate_object_sets(config).sets[0].figures


def test_an_error_in_a_ray_task_is_reported_without_traceback(coca_files, ray_cpu, capsys):
    out, captions = coca_files
    assert main(["evaluate", out, "--captions", captions, "--split", "val"]) == 2
    error = capsys.readouterr().err
    assert "has no image in the split 'val'" in error
    assert "Traceback" not in error
