from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, Field

from jobs.cli.output import printable_output
from jobs.cli.parsing import parse
from pipeline.errors import QpertError
from pipeline.method.settings import Perturbation
from pipeline.runs.perturbation_config import PerturbationConfig
from tests.jobs.cli.example import Example, Inner, example


def test_options_positions_and_nested_names() -> None:
    config = example("photos", "one", "--out", "o", "two", "--inner", "big", "--inner.confidence", "0.5", "-k", "3")
    assert (config.source, config.words, config.out, config.top_k) == ("photos", ["one", "two"], "o", 3)
    assert config.inner == Inner(model="big", confidence=0.5)


def test_underscores_lists_and_switches() -> None:
    config = example("p", "--out=o", "--dry_run", "--inner.max_objects", "2", "--kinds", "A100", "V100")
    assert config.dry_run
    assert config.inner.max_objects == 2
    assert config.kinds == ["A100", "V100"]
    assert not example("p", "--out", "o", "--no-dry-run").dry_run


def test_what_is_printed_as_yaml_can_be_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["photos", "--out", "o", "--inner", "big", "--dry-run"]
    assert parse(Example, [*words, "--print-config"], verb="example") is None
    (tmp_path / "run.yaml").write_text(capsys.readouterr().out)
    assert example("--config", str(tmp_path / "run.yaml")) == example(*words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "o"], "SOURCE is missing"),
        (["p"], "--out is missing"),
        (["p", "--out", "o", "--kind", "c"], "--kind: Input should be 'a' or 'b', not 'c'"),
        (["p", "--out", "o", "--inner.confidence", "2"], r"--inner.confidence: .* less than or equal to 1, not '2'"),
        (["p", "--out", "o", "--inner.confidnce", "2"], r"unknown option --inner.confidnce; did you mean --inner.conf"),
        (["p", "--outt", "o"], "unknown option --outt; did you mean --out?"),
        (["p", "--out", "--kind", "a"], "argument --out: expected one argument"),
        (["p", "--out", "o", "--dry-run=1"], "argument --dry-run/--no-dry-run: ignored explicit argument '1'"),
        (["p", "--out", "o", "-k", "many"], "--top-k: .* valid integer"),
        (["p", "--out", "o", "--config", "nowhere.yaml"], "cannot read --config nowhere.yaml"),
    ],
)
def test_mistakes_are_named(words: list[str], message: str) -> None:
    with pytest.raises(QpertError, match=message):
        example(*words)


def test_help_has_every_option_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(Example, ["--help"], verb="example", help_text="Teaches.\n\nExamples:\n  qpert example x")
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert "Teaches." in text
    assert "  qpert example x" in text
    for part in ("SOURCE", "where from", "--inner TEXT", "--inner.confidence X", "(default: 0.25)", "-k", "{a,b}"):
        assert part in text


def test_the_perturbation_options_are_those_of_the_method() -> None:
    import dataclasses

    options = set(PerturbationConfig.model_fields) - {"preset"}
    assert options == {field.name for field in dataclasses.fields(Perturbation)}
    assert PerturbationConfig().build() == Perturbation.paper()
    assert PerturbationConfig(preset="released", scale=2).build() == Perturbation.released(scale=2)
    assert PerturbationConfig(preset="none", scale=2).build() is None
    full = Perturbation.released(scale=3, weight="area")
    assert PerturbationConfig.model_validate(full).build() == full
    assert PerturbationConfig.model_validate(None).build() is None


def test_presets_take_options_in_any_order() -> None:
    class Holder(BaseModel):
        perturbation: PerturbationConfig = Field(PerturbationConfig(), json_schema_extra={"short": "preset"})

    config = parse(Holder, ["--perturbation.scale", "4", "--perturbation", "released"], verb="x")
    assert config is not None
    assert config.perturbation.build() == Perturbation.released(scale=4)
    assert yaml.safe_dump(config.model_dump(mode="json"))


def test_a_choice_that_begins_with_a_dash_is_no_option(tmp_path: Path) -> None:
    from jobs.index import Config

    config = parse(Config, ["p", "--out", "o", "--perturbation.weight", "-area", "--limit", "3"], verb="index")
    assert config is not None
    assert (config.perturbation.weight, config.limit) == ("-area", 3)


def test_sites_may_be_numbers_from_the_end_and_names() -> None:
    from jobs.index import Config

    config = parse(Config, ["p", "--out", "o", "--perturbation.sites", "0", "-1", "clip_projector.*"], verb="index")
    assert config is not None
    built = config.perturbation.build()
    assert built is not None
    assert built.sites == (0, -1, "clip_projector.*")


@pytest.mark.parametrize("out", ["a\u202eb", "a\x9bb", "é", "a\nb", "\ud55c"])
def test_a_printed_configuration_is_harmless_and_the_same(
    out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with printable_output():
        assert parse(Example, ["p", "--out", out, "--print-config"], verb="example") is None
    text = capsys.readouterr().out
    assert text.replace("\n", "").isprintable()
    (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
    assert example("--config", str(tmp_path / "run.yaml")).out == out


def test_only_options_that_say_so_add_up() -> None:
    class Options(BaseModel):
        has: list[str] = Field([], json_schema_extra={"adds": True})
        kinds: list[str] = []

    config = parse(Options, ["--has", "a", "b", "--kinds", "a", "--has", "c", "--kinds", "b"], verb="example")
    assert config == Options(has=["a", "b", "c"], kinds=["b"])
    assert parse(Options, [], verb="example") == Options()
