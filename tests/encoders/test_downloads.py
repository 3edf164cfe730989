"""Weights are downloaded before they are loaded, only what is read of them, and only what is not here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from pipeline.encoders import downloads
from pipeline.encoders.catalogue import catalogue
from pipeline.encoders.downloads import OPEN_CLIP_CHECKPOINT, fetch_weights, hub_files, weights_here
from pipeline.errors import QpertError


@pytest.mark.parametrize(
    ("encoder", "weights", "repository"),
    [
        ("blip2", "Salesforce/blip2-itm-vit-g", "Salesforce/blip2-itm-vit-g"),
        ("blip2", "Salesforce/blip2-itm-vit-g+head.pth", "Salesforce/blip2-itm-vit-g"),
        ("internvl-c", "OpenGVLab/InternVL-14B-224px", "OpenGVLab/InternVL-14B-224px"),
        ("coca", "coca_ViT-L-14:laion2b_s13b_b90k", "laion/CoCa-ViT-L-14-laion2B-s13B-b90k"),
        ("open_clip", "hf-hub:org/name", "org/name"),
        ("open_clip", "ViT-B-16-SigLIP2-256:webli", "timm/ViT-B-16-SigLIP2-256"),
        ("open_clip", "ViTamin-B:datacomp1b", "jienengchen/ViTamin-B"),
    ],
)
def test_weights_on_the_hub_are_a_repository(encoder: str, weights: str, repository: str) -> None:
    files = hub_files(encoder, weights)
    assert files is not None
    assert files.repository == repository
    assert all(not pattern.endswith((".py", ".h5", ".msgpack")) for pattern in files.patterns)


def test_all_published_weights_can_be_fetched() -> None:
    assert all(hub_files(entry.encoder, entry.weights) for entry in catalogue() if not entry.bundled)


@pytest.mark.parametrize(
    ("encoder", "weights"),
    [("blip2", "FILE.pth"), ("blip2", "x/y.pth"), ("coca", "coca_ViT-L-14:/a/file"), ("coca", "hf-hub:../x")],
)
def test_files_and_unknown_weights_are_nothing_to_fetch(encoder: str, weights: str) -> None:
    assert hub_files(encoder, weights) is None


def test_a_folder_that_looks_like_a_repository_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert hub_files("blip2", "org/name") is None


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The patterns of each download, from a hub that has no safetensors."""
    calls: list[list[str]] = []

    def download(name: str, *, allow_patterns: list[str], progress: Any) -> str:
        calls.append(allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(downloads, "download_snapshot", download)
    monkeypatch.setattr(downloads, "weights_here", lambda *_: None)
    return calls


def test_older_repositories_have_a_checkpoint_instead(asked: list[list[str]]) -> None:
    fetch_weights("coca", "coca_ViT-L-14:laion2b_s13b_b90k")
    assert len(asked) == 2
    assert asked[1] == [OPEN_CLIP_CHECKPOINT]


def test_a_checkpoint_is_not_fetched_beside_safetensors(asked: list[list[str]], tmp_path: Path) -> None:
    (tmp_path / "open_clip_model.safetensors").touch()
    fetch_weights("coca", "coca_ViT-L-14:laion2b_s13b_b90k")
    assert len(asked) == 1
    assert OPEN_CLIP_CHECKPOINT not in asked[0]


def test_what_is_bundled_or_here_is_not_fetched(asked: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    fetch_weights("coca", None)
    fetch_weights("coca", "miniature")
    monkeypatch.setattr(downloads, "weights_here", Path)
    fetch_weights("blip2", "Salesforce/blip2-itm-vit-g")
    assert asked == []


def test_an_unreachable_hub_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr(downloads, "download_snapshot", fail)
    monkeypatch.setattr(downloads, "weights_here", lambda *_: None)
    with pytest.raises(QpertError, match="blip2 weights 'Salesforce/blip2-itm-vit-g' could not be loaded: no network"):
        fetch_weights("blip2", "Salesforce/blip2-itm-vit-g")


def test_weights_count_as_here_in_the_format_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repositories of LAION have those of transformers beside those of open_clip."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    store = tmp_path / "models--laion--CoCa-ViT-L-14-laion2B-s13B-b90k"
    folder = store / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (store / "refs").mkdir()
    (store / "refs" / "main").write_text("abc")
    weights = "coca_ViT-L-14:laion2b_s13b_b90k"
    (folder / "model.safetensors").touch()
    assert weights_here("coca", weights) is None
    (folder / OPEN_CLIP_CHECKPOINT).touch()
    assert weights_here("coca", weights) == folder
    assert weights_here("coca", "coca_ViT-L-14:/a/file.pt") is None
    assert weights_here("open_clip", "ViTamin-B:datacomp1b") is None
