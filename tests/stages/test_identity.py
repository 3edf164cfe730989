from __future__ import annotations

from pathlib import Path

from pipeline.stages.identity import bundled, fingerprint, weights_identity


def test_fingerprints_depend_on_values_and_nothing_else() -> None:
    one = fingerprint({"a": 8.0, "b": {"c": [1, None, "x"], "d": True}})
    assert one == fingerprint({"b": {"d": True, "c": (1, None, "x")}, "a": 8})
    assert len(one) == 16
    assert one != fingerprint({"a": 8.5, "b": {"c": [1, None, "x"], "d": True}})
    assert one != fingerprint({"a": 8.0, "b": {"c": [1, None, "x"], "d": False}})


def test_weights_are_known_by_content_not_by_place(tmp_path: Path) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.bin").write_bytes(b"x" * 3_000_000 + b"end")
    one = weights_identity(str(tmp_path / "here" / "model.bin"))
    assert one == weights_identity(f"coca_ViT-B-32:{tmp_path}/there/model.bin")
    (tmp_path / "there" / "model.bin").write_bytes(b"x" * 3_000_000 + b"END")
    assert one["digest"] != weights_identity(str(tmp_path / "there" / "model.bin"))["digest"]
    assert weights_identity("hf-hub:laion/model") == {"name": "hf-hub:laion/model"}


def test_folders_are_known_by_all_their_files(tmp_path: Path) -> None:
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
