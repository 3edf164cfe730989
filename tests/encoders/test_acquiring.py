"""The commands and folders by which weights are had."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from huggingface_hub import constants

from jobs import cli
from pipeline.encoders.acquiring import ways_to_get
from pipeline.encoders.catalogue import BUNDLED, CatalogueEntry, catalogue, find_entries

PUBLISHED = [entry for entry in catalogue() if entry.recommended and not entry.bundled]


def entry_of(name: str) -> CatalogueEntry:
    return find_entries(name)[0]


def test_bundled_weights_need_nothing() -> None:
    ways = ways_to_get(entry_of(f"coca {BUNDLED}"))
    assert ways["use"] == "qpert index photos/ --out features/ --encoder coca"
    assert "come with the package" in ways["download"]


@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda entry: f"{entry.encoder} {entry.weights}")
def test_published_weights_have_a_command_a_page_and_a_folder(entry: CatalogueEntry) -> None:
    ways = ways_to_get(entry)
    words = shlex.split(ways["use"])
    assert words[:2] == ["qpert", "index"]
    assert words[words.index("--weights") + 1] == entry.weights
    assert ("--perturbation" in words) == (not entry.sites)
    assert ways["page"].endswith(entry.repository)
    assert "HF_ENDPOINT=" in ways["mirror"]
    assert "HF_HUB_OFFLINE=1" in ways["no network"]
    command = shlex.split(ways["or a folder"].partition(",")[0])
    assert command[:3] == ["hf", "download", entry.repository]
    assert "--include" in command


def test_the_command_is_one_that_parses(capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(ways_to_get(entry_of("coca_ViT-B-32:laion2b_s13b_b90k"))["use"])
    assert cli.main([*words[1:], "--print-config"]) == 0
    assert "coca_ViT-B-32:laion2b_s13b_b90k" in capsys.readouterr().out


def test_weights_that_are_here_say_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    entry = entry_of("PE-Core-B-16:meta")
    assert ways_to_get(entry)["here"] == f"no: not in {tmp_path}"
    store = tmp_path / "models--timm--PE-Core-B-16"
    (store / "snapshots" / "abc").mkdir(parents=True)
    (store / "refs").mkdir()
    (store / "refs" / "main").write_text("abc")
    (store / "snapshots" / "abc" / "open_clip_model.safetensors").touch()
    assert ways_to_get(entry)["here"] == f"in {store / 'snapshots' / 'abc'}"


def test_a_file_of_a_repository_is_named_in_full() -> None:
    ways = ways_to_get(entry_of("ViTamin-B:datacomp1b"))
    assert "or a folder" not in ways
    assert "ViTamin-B:/path/to/file" in ways["or a file"]
