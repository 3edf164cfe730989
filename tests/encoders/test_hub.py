"""Which weights the hub's cache holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import constants

from pipeline.encoders.hub import cached_weights, split_file


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of org/name in an empty cache, without files yet."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--org--name" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (tmp_path / "models--org--name" / "refs").mkdir()
    (tmp_path / "models--org--name" / "refs" / "main").write_text("abc")
    return folder


def test_a_repository_that_was_never_fetched_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert cached_weights("org/name") is None


def test_configurations_alone_are_no_weights(snapshot: Path) -> None:
    (snapshot / "config.json").write_text("{}")
    assert cached_weights("org/name") is None
    (snapshot / "model.safetensors").touch()
    assert cached_weights("org/name") == snapshot


def test_all_shards_must_be_there(snapshot: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    (snapshot / "model-1.safetensors").touch()
    assert cached_weights("org/name") is None
    (snapshot / "model-2.safetensors").touch()
    assert cached_weights("org/name") == snapshot


def test_a_file_whose_content_is_gone_does_not_count(snapshot: Path) -> None:
    (snapshot / "model.safetensors").symlink_to("../../blobs/nothing")
    assert cached_weights("org/name") is None


@pytest.mark.parametrize("index", ["[]", "{}", "not JSON", '{"weight_map": 3}'])
def test_a_damaged_index_is_not_all_weights(snapshot: Path, index: str) -> None:
    (snapshot / "model.safetensors.index.json").write_text(index)
    (snapshot / "model-1.safetensors").touch()
    assert cached_weights("org/name") is None


def test_one_file_of_a_repository(snapshot: Path) -> None:
    (snapshot / "other.safetensors").touch()
    assert cached_weights("org/name/pytorch_model.bin") is None
    (snapshot / "pytorch_model.bin").touch()
    assert cached_weights("org/name/pytorch_model.bin") == snapshot


def test_files_are_split_from_repositories() -> None:
    assert split_file("org/name") == ("org/name", "")
    assert split_file("org/name/a/file.bin") == ("org/name", "a/file.bin")
