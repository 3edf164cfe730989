"""What a folder may hold: refused with its reason before anything is built, and nothing asks the hub."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.detectors import DetectorConfig, check_detector, load_detector
from pipeline.detectors.hugging_face import folder as folders
from pipeline.detectors.hugging_face.folder import find_model, read_folder
from pipeline.errors import QpertError
from tests.detectors.hugging_face.tiny_models import NAMES, save_tiny


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("saved")
    return {kind: save_tiny(kind, root / kind) for kind in ("detr", "rt_detr_v2", "owlv2")}


@pytest.fixture
def copy(saved: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved["rt_detr_v2"], tmp_path / "model"))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something asks the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def change(path: Path, **values: Any) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **values}))


def refusals(folder: Path, **options: Any) -> set[str]:
    """What check and load say; both refuse."""
    config = DetectorConfig(model=f"hf:{folder}", **options)
    said = set()
    for use in (check_detector, load_detector):
        with pytest.raises(QpertError) as refused:
            use(config)
        said.add(str(refused.value))
    return said


def test_a_folder_says_what_it_is(saved: dict[str, Path]) -> None:
    fixed, open_ = read_folder(saved["rt_detr_v2"]), read_folder(saved["owlv2"])
    assert (fixed.model_type, fixed.open_vocabulary, fixed.names) == ("rt_detr_v2", False, NAMES)
    assert (open_.model_type, open_.open_vocabulary, open_.names) == ("owlv2", True, {})


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("config.json", "has no config.json"),
        ("preprocessor_config.json", "has no preprocessor_config.json or processor_config.json"),
        ("model.safetensors", "has no model.safetensors"),
    ],
)
def test_missing_files(gone: str, said: str, copy: Path) -> None:
    (copy / gone).unlink()
    (refusal,) = refusals(copy)
    assert said in refusal


def test_pickled_weights_are_not_opened(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    (refusal,) = refusals(copy)
    assert "pytorch_model.bin is not opened: pickles" in refusal


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model_type": "llama"}, "of model type 'llama', which detects no objects; known: .*d_fine.*owlv2"),
        ({"auto_map": {"AutoModel": "modeling.Model"}}, "asks for auto_map.*never run"),
        ({"num_queries": 2**31}, "num_queries = 2147483648 is out of range"),
        ({"eval_size": [640, 2**17]}, "eval_size = 131072 is out of range"),
        ({"decoder_layers": 5000}, "decoder_layers = 5000 is out of range"),
        ({"backbone": "org/name"}, "names a backbone elsewhere, 'org/name'"),
        ({"backbone_config": {"model_type": "timm_backbone", "backbone": "hf-hub:org/name"}}, "a backbone elsewhere"),
        ({"backbone": "resnet50", "backbone_config": None}, "names its backbone, 'resnet50', without describing it"),
        ({"id2label": {"a": "dog"}}, "id2label .* does not map numbers to names"),
    ],
)
def test_hostile_or_wrong_configurations(values: dict[str, Any], said: str, copy: Path, no_network: None) -> None:
    change(copy / "config.json", **values)
    with pytest.raises(QpertError, match=said):
        read_folder(copy)
    assert len(refusals(copy)) == 1


def test_damaged_files(copy: Path) -> None:
    change(copy / "preprocessor_config.json", size={"height": 2**24, "width": 64})
    with pytest.raises(QpertError, match="height = 16777216 is out of range"):
        read_folder(copy)
    for side in (40_000, 40_000.0):  # as float32, an input of 19 GB
        change(copy / "preprocessor_config.json", size={"height": side, "width": side})
        with pytest.raises(QpertError, match=r"(height|width) = 40000\S* is out of range"):
            read_folder(copy)
    (copy / "preprocessor_config.json").write_text("{")
    with pytest.raises(QpertError, match=r"preprocessor_config\.json is not JSON"):
        read_folder(copy)


def test_weights_of_another_model(saved: dict[str, Path], copy: Path) -> None:
    change(copy / "config.json", decoder_layers=3)
    with pytest.raises(QpertError, match=r"not a whole rt_detr_v2: \d+ weights are missing"):
        load_detector(f"hf:{copy}")
    change(copy / "config.json", decoder_layers=2, id2label={str(number): "a" for number in range(5)})
    with pytest.raises(QpertError, match=r"not a whole rt_detr_v2: \d+ weights are missing or of another shape"):
        load_detector(f"hf:{copy}")
    shutil.copy(saved["detr"] / "model.safetensors", copy / "model.safetensors")
    with pytest.raises(QpertError, match="not a whole rt_detr_v2"):
        load_detector(f"hf:{copy}")
    (copy / "model.safetensors").write_bytes(b"not a model\n" * 50)
    with pytest.raises(QpertError, match="cannot use detector"):
        load_detector(f"hf:{copy}")


def test_an_open_vocabulary_needs_classes(saved: dict[str, Path]) -> None:
    (refusal,) = refusals(saved["owlv2"])
    assert 'name it with --classes "dog" "red kite"' in refusal
    assert "--classes-from-queries FILE" in refusal
    for wrong in ("", "x" * 101, "a\x1b[2J"):
        (refusal,) = refusals(saved["owlv2"], classes=("dog", wrong))
        assert "is empty, not printable, or longer than 100 characters" in refusal
    with pytest.raises(QpertError, match="more than the 14 tokens"):
        load_detector(DetectorConfig(model=f"hf:{saved['owlv2']}", classes=("dog " * 20,)))


def test_building_asks_nothing_of_the_hub(saved: dict[str, Path], no_network: None) -> None:
    """Not even for a backbone of timm by name, or the chat templates of a processor."""
    photo = Image.new("RGB", (80, 60), "navy")
    for model, classes in (("detr", None), ("owlv2", ("dog",))):
        detector = load_detector(DetectorConfig(model=f"hf:{saved[model]}", classes=classes))
        assert [found.size for found in detector.detect(["a"], [photo])] == [(80, 60)]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("hf:", "after hf: comes a folder, or an id"),
        ("hf:no/such/folder", "after hf: comes a folder, or an id"),
        ("hf:rf-detr", "such as hf:Roboflow/rf-detr-base"),
        ("hf:https://example.org/model", "after hf: comes a folder"),
    ],
)
def test_names_that_lead_nowhere(model: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(QpertError, match=said):
        check_detector(DetectorConfig(model=model))


def test_a_file_in_place_of_a_folder(copy: Path) -> None:
    with pytest.raises(QpertError, match="is a file: give the folder"):
        find_model(f"hf:{copy / 'model.safetensors'}")


def test_a_download_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def download(name: str, **options: Any) -> str:
        asked.append(options)
        raise OSError("no route to host.")

    for function in ("download_snapshot", "snapshot_download"):
        monkeypatch.setattr(folders, function, download)
    message = r"'org/name' could not be downloaded: no route to host\. Without.*--detector hf:FOLDER"
    with pytest.raises(QpertError, match=message):
        check_detector(DetectorConfig(model="hf:org/name"))
    check_detector(DetectorConfig(model="hf:org/name"), fetch=False)  # a dry run downloads nothing
    assert [options.get("local_files_only", False) for options in asked] == [False, True]
    patterns = asked[0]["allow_patterns"]
    assert not any(pattern.endswith((".bin", ".pt", ".py")) or pattern == "*" for pattern in patterns)
