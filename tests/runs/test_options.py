"""The options that choose photos and restrict what may be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.caption import Config as CaptionConfig
from jobs.cli.parsing import parse
from jobs.index import Config
from jobs.plan import Config as PlanConfig
from pipeline.datasets.photos.rules import DEFAULT_RULES, SourceRules
from pipeline.datasets.photos.skipped import Skipped
from pipeline.errors import QpertError
from pipeline.runs.identity import identity
from pipeline.runs.report import left_out

WORDS: dict[Any, list[str]] = {
    Config: ["photos", "--out", "out"],
    PlanConfig: ["photos"],
    CaptionConfig: ["photos"],
}


@pytest.mark.parametrize("model", [Config, PlanConfig, CaptionConfig])
def test_all_options_become_rules(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = parse(model, WORDS[model], verb="x")
    assert config is not None
    assert config.rules() == DEFAULT_RULES
    words = [
        *("--allow-scheme", "http", "HTTPS://", "fsspec+sftp", "--allow-local-addresses", "--root", "~/data"),
        *("--include", "*.jpg", "2024/**", "--exclude", "raw", "--image-key", "jpg", "--max-file-size", "500MB"),
    ]
    config = parse(model, [*WORDS[model], *words], verb="x")
    assert config is not None
    assert config.rules() == SourceRules(
        schemes=("file", "gs", "hf", "s3", "http", "https", "fsspec+sftp"),
        root=f"{tmp_path}/data",
        include=("*.jpg", "2024/**"),
        exclude=("raw",),
        image_key="jpg",
        max_bytes=500_000_000,
        local_addresses=True,
    )
    assert model.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--allow-scheme", "zip::file"], "a scheme is what stands before ://"),
        (["--allow-scheme", ""], "a scheme is what stands before ://"),
        (["--max-file-size", "big"], "--max-file-size"),
        (["--max-file-size", "0"], "choose a size from 1B to 1TiB"),
        (["--max-file-size", "9PB"], "choose a size from 1B to 1TiB"),
        (["--include", "[z-a]"], "is not valid"),
        (["--exclude", "/"], "a pattern is empty"),
        (["--exclude", "{0..99999999}"], "stands for more than"),
    ],
)
def test_impossible_values_are_refused_at_once(words: list[str], message: str) -> None:
    with pytest.raises(QpertError, match=message):
        parse(Config, [*WORDS[Config], *words], verb="index")


def test_the_choice_of_photos_does_not_change_the_fingerprint() -> None:
    plain = Config(source="photos", out="out")
    chosen = plain.model_copy(update={"include": ["*.jpg"], "root": "/x", "allow_scheme": ["http"], "image_key": "jpg"})
    assert identity(plain) == identity(chosen)


def test_names_of_skipped_files_are_printable() -> None:
    skipped = Skipped()
    skipped.add("not photos (.txt)", "\x1b]0;owned\x07\n.txt")
    skipped.add("hidden", ".a", 2)
    assert left_out(skipped) == [
        "left out 2 hidden: .a, ...",
        "         1 not photos (.txt): \\x1b]0;owned\\x07\\n.txt",
    ]
