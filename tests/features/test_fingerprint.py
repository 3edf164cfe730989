from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.index import Config
from pipeline.features.fingerprint import as_recorded, bundled, canonical_identity, fingerprint, weights_identity
from pipeline.features.manifest import FORMAT_VERSION, Manifest
from pipeline.features.store import FeatureStore
from pipeline.runs.identity import identity

ORDINARY = {
    "format": 1,
    "source": "/photos",
    "columns": [None, None, None],
    "encoder": {"name": "coca", "weights": {"name": "coca", "digest": "0123456789abcdef"}},
    "detector": {
        "model": {"name": "yolo.pt", "digest": "fedcba9876543210"},
        "annotations": None,
        "confidence": 0.25,
        "classes": ["car", "dog"],
        "max_objects": 10,
        "image_size": None,
    },
    "perturbation": {
        "operator": "subspace",
        "combine": "sum",
        "tokens": "overlap",
        "weight": "constant",
        "scale": 10.0,
        "threshold": 0.9,
        "stages": ["itc"],
        "min_components": 1,
        "sites": [0, 2, "qllama.*"],
    },
    "precision": "float16",
    "dtype": "auto",
    "max_megapixels": 100.0,
}
"""As the first versions recorded it."""


def test_fingerprints_depend_on_values_only() -> None:
    one = fingerprint({"a": 8.0, "b": {"c": [1, None, "x"], "d": True}})
    assert one == fingerprint({"b": {"d": True, "c": (1, None, "x")}, "a": 8})
    assert len(one) == 16
    assert one != fingerprint({"a": 8.5, "b": {"c": [1, None, "x"], "d": True}})
    assert one != fingerprint({"a": 8.0, "b": {"c": [1, None, "x"], "d": False}})


def test_weights_are_identified_by_content_not_by_path(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.bin").write_bytes(b"x" * 3_000_000 + b"end")
    one = weights_identity(str(tmp_path / "one" / "model.bin"))
    assert one == weights_identity(f"coca_ViT-B-32:{tmp_path}/other/model.bin")
    (tmp_path / "other" / "model.bin").write_bytes(b"x" * 3_000_000 + b"END")
    assert one["digest"] != weights_identity(str(tmp_path / "other" / "model.bin"))["digest"]
    assert weights_identity("hf-hub:laion/model") == {"name": "hf-hub:laion/model"}


def test_folders_are_identified_by_all_their_files(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.json").write_text("{}")
    before = weights_identity(str(tmp_path))
    (tmp_path / "a" / "more.json").write_text("{}")
    assert weights_identity(str(tmp_path)) != before


def test_the_bundled_weights_have_a_path() -> None:
    assert Path(bundled(None, "coca")).parent.name == "miniature"
    assert bundled("miniature", "yolo.pt") == bundled(None, "yolo.pt")
    assert bundled("yolo11n.pt", "yolo.pt") == "yolo11n.pt"


def test_annotations_are_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    path.write_bytes(b"x" * 1_500_000 + b"1" + b"x" * 1_500_000)
    before = weights_identity(str(path)), weights_identity(str(path), whole=True)
    path.write_bytes(b"x" * 1_500_000 + b"2" + b"x" * 1_500_000)
    assert weights_identity(str(path)) == before[0]
    assert weights_identity(str(path), whole=True) != before[1]


def test_an_ordinary_run_has_the_fingerprint_of_earlier_versions() -> None:
    assert fingerprint(ORDINARY) == "0369d9992cffd1d9"
    assert canonical_identity(ORDINARY) == ORDINARY
    remote = ORDINARY | {"source": "s3://bucket/photos/**/*.jpg"}
    assert canonical_identity(remote) == remote
    made = identity(Config(source="/photos", out="o"))
    assert set(made) == set(ORDINARY)
    assert made["source"] == "/photos"
    several = {"plain": None, "best": ORDINARY["perturbation"] | {"sites": [2, 0]}}
    assert canonical_identity(ORDINARY | {"perturbation": several})["perturbation"] == several


@pytest.mark.parametrize(
    "words",
    [
        {"source": "/photos/"},
        {"source": "//photos"},
        {"source": "/other/../photos/."},
        {"source": "file:///photos"},
        {"source": "file:///photos/"},
        {"detector": {"classes": ["dog", "car"]}},
        {"detector": {"classes": ["car", "dog", "car"]}},
        {"perturbation": {"stages": ["itm", "itc"]}},
        {"perturbation": {"stages": ["itc", "itm", "itc"]}},
        {"perturbation": {"stages": ["itc", "itm"], "sites": ["x.*", 2, 0, 2]}},
    ],
)
def test_other_spellings_have_the_same_fingerprint(words: dict[str, Any]) -> None:
    plain: dict[str, Any] = {"source": "/photos", "detector": {}, "perturbation": {}}
    plain["detector"] = {"classes": ["car", "dog"]} if "detector" in words else {}
    if "perturbation" in words:
        plain["perturbation"] = {"stages": ["itc", "itm"]}
        plain["perturbation"] |= {"sites": [0, 2, "x.*"]} if "sites" in words["perturbation"] else {}
    one, other = (identity(Config.model_validate({"out": "o", **options})) for options in (plain, plain | words))
    assert fingerprint(one) == fingerprint(other)
    elsewhere = identity(Config.model_validate({"out": "o", **plain, "source": "/photos2"}))
    assert fingerprint(elsewhere) != fingerprint(one)


def test_the_spelling_of_local_weights_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.bin").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    forms = ["model", "model/", "./model/.", "model//", "x/../model", f"{tmp_path}/model", "~/model"]
    (tmp_path / "x").mkdir()
    assert {tuple(weights_identity(form).items()) for form in forms} == {tuple(weights_identity("model").items())}


def test_sets_begun_with_another_spelling_are_resumed_with_it(
    tmp_path: Path, write_features: Callable[..., Any]
) -> None:
    old = ORDINARY | {"source": "s3://bucket/photos/"}
    new = canonical_identity(old)
    out = write_features([[[1.0, 0.0]]]).root
    FeatureStore(out).write_manifest(Manifest(fingerprint=fingerprint(old), identity=old))
    manifest = FeatureStore(out).manifest()
    assert as_recorded(manifest, new) == old != new
    assert as_recorded(manifest, new | {"dtype": "float32"}) == new | {"dtype": "float32"}
    assert as_recorded(None, new) == new


@pytest.mark.parametrize("strange", [{"source": 3}, {"detector": [1]}, {"detector": {"classes": [1, "a", []]}}, {}])
def test_a_strange_identity_counts_as_different(strange: dict[str, Any], write_features: Callable[..., Any]) -> None:
    out = write_features([[[1.0, 0.0]]]).root
    FeatureStore(out).write_manifest(Manifest(fingerprint="0" * 16, identity=strange))
    manifest = FeatureStore(out).manifest()
    assert as_recorded(manifest, ORDINARY) == ORDINARY


LIST = "photos.txt"
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "format": ({}, {}),
    "source": ({}, {"source": "other.txt"}),
    "columns": ({}, {"uri_column": "url"}),
    "columns: bytes": ({}, {"bytes_column": "jpg"}),
    "columns: ids": ({}, {"id_column": "key"}),
    "encoder": ({}, {"encoder": "blip2"}),
    "encoder: weights": ({}, {"weights": "coca_ViT-B-32:laion2b_s13b_b90k"}),
    "detector": ({}, {"detector": {"model": "yolo11n.pt"}}),
    "detector: transformers": ({}, {"detector": {"model": "hf:org/name"}}),
    "detector: classes": ({}, {"detector": {"classes": ["star"]}}),
    "detector: slices": ({}, {"detector": {"slices": 640}}),
    "detector: size of slices": ({"detector": {"slices": 512}}, {"detector": {"slices": 640}}),
    "detector: none": (
        {"perturbation": {"preset": "none"}},
        {"perturbation": {"preset": "none"}, "detector": {"model": "none"}},
    ),
    "perturbation": ({}, {"perturbation": {"preset": "none"}}),
    "perturbation: scale": ({}, {"perturbation": {"scale": 3.0}}),
    "precision": ({}, {"precision": "float32"}),
    "dtype": ({}, {"dtype": "bfloat16"}),
    "max_megapixels": ({}, {"max_megapixels": 99}),
    "allow_truncated": ({}, {"allow_truncated": True}),
}
"""Key of the identity (and another option that sets it) -> options before and after."""


def of(options: dict[str, Any]) -> dict[str, Any]:
    return identity(Config.model_validate({"source": LIST, "out": "out"} | options))


@pytest.mark.parametrize("change", [name for name in CHANGES if name != "format"])
def test_what_changes_the_features_changes_the_fingerprint(change: str) -> None:
    before, after = (of(options) for options in CHANGES[change])
    differ = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert differ == {change.partition(":")[0]}
    assert fingerprint(before) != fingerprint(after)


def test_every_key_of_the_identity_is_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = set(of({})) | set(of({"allow_truncated": True}))
    assert keys == {name.partition(":")[0] for name in CHANGES}
    before = of({})
    monkeypatch.setattr("pipeline.runs.identity.FORMAT_VERSION", FORMAT_VERSION + 1)
    assert fingerprint(of({})) != fingerprint(before)


@pytest.mark.parametrize(
    "options",
    [
        {"out": "elsewhere"},
        {"limit": 3},
        {"batch_size": 2},
        {"file_size": 9},
        {"cpus": 1},
        {"prune": True},
        {"patience": 5},
    ],
)
def test_other_options_leave_the_fingerprint_unchanged(options: dict[str, Any]) -> None:
    assert of(options) == of({})
