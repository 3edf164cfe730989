"""Options that name paths, of every verb."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs import cli
from jobs.cli.fields import members, options
from jobs.cli.parsing import parse
from pipeline.errors import QpertError

NO_PATHS = {
    *("encoder", "variant", "against_variant", "split", "confirm_split", "emphasise", "prompt", "template", "metric"),
    "address",
    *("device", "dtype", "search", "search_options", "scheduler", "scheduler_options"),
    *("uri_column", "bytes_column", "id_column", "image_column", "caption_column", "image_key"),
    "name",
    *("box", "taken_from", "taken_to"),
    *("host", "http", "kind", "part"),
}
"""Options of free text that name no file: a new one belongs here, or gets one of the types of `pipeline.io.paths`."""
NEEDED = {
    "source": "photos",
    "features": "f",
    "out": "o",
    "captions": "c.json",
    "model": "coca",
    "to": "csv",
}


def models() -> dict[str, Any]:
    return {verb: importlib.import_module(f"jobs.{verb.replace('-', '_')}").Config for verb in cli.verbs()}


def texts() -> list[tuple[str, str]]:
    """Verb and name of each option that takes one free text."""
    return [
        (verb, option.name)
        for verb, model in models().items()
        for option in options(model)
        if str in members(option.field.annotation) and option.name.rpartition(".")[2] not in NO_PATHS
    ]


@pytest.mark.parametrize(("verb", "name"), texts())
def test_home_is_home_in_every_path(verb: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    model = models()[verb]
    places = {option.name for option in options(model) if option.extra.get("positional")}
    needed = {option: NEEDED[option] for option, field in model.model_fields.items() if field.is_required()}
    value = "~/x.svg"
    expected = f"{tmp_path}/x.svg"
    inner = {name.rpartition(".")[2]: value}
    given = needed | ({name.partition(".")[0]: inner} if "." in name else inner)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(given))
    words = ["--config", "~/run.yaml"]
    assert value_of(parse(model, words, verb=verb), name) == expected
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({n: v for n, v in needed.items() if n != name}))
    flag = next(option.extra.get("flag") for option in options(model) if option.name == name)
    option_word = flag if flag and flag.startswith("--") else f"--{name.replace('_', '-')}"
    words += [value] if name in places else [f"{option_word}={value}"]
    assert value_of(parse(model, words, verb=verb), name) == expected


def value_of(config: Any, name: str) -> Any:
    for part in name.split("."):
        config = getattr(config, part)
    return config


def test_there_are_paths_in_every_verb_but_two() -> None:
    assert set(cli.verbs()) - {verb for verb, _ in texts()} == {"completion", "models"}


@pytest.mark.parametrize(
    ("verb", "option"),
    [
        (verb, option.extra.get("flag") or f"--{option.name}")
        for verb, model in models().items()
        for option in options(model)
        if option.name in ("html", "json_file", "csv_file", "markdown_file", "figure")
    ],
)
def test_a_report_in_no_folder_is_refused_at_the_start(verb: str, option: str, tmp_path: Path) -> None:
    """And no folder is made."""
    target = tmp_path / "no" / "x.svg"
    needed = {name: NEEDED[name] for name, field in models()[verb].model_fields.items() if field.is_required()}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(needed))
    message = f"{option}: there is no folder {tmp_path}/no; create it first"
    with pytest.raises(QpertError, match=message):
        parse(models()[verb], ["--config", f"{tmp_path}/run.yaml", f"{option}={target}"], verb=verb)
    assert not target.parent.exists()
