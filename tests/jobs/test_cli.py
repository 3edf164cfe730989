from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field

from jobs import cli
from jobs.arguments import parse
from jobs.output import printable_output
from pipeline.errors import QpertError
from pipeline.method.settings import Perturbation
from pipeline.runs.perturbation_config import PerturbationConfig


class Inner(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field("small", description="which model")
    confidence: float = Field(0.25, ge=0, le=1, description="least confidence")
    max_objects: int = Field(10, description="most objects")


class Example(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(description="where from", json_schema_extra={"positional": True})
    words: list[str] = Field([], description="what for", json_schema_extra={"positional": True})
    out: str = Field(description="where to")
    inner: Inner = Field(Inner(), description="the inner part", json_schema_extra={"short": "model"})
    kind: Literal["a", "b"] = Field("a", description="which kind")
    top_k: int = Field(10, description="how many", json_schema_extra={"flag": "-k"})
    kinds: list[str] | None = Field(None, description="several")
    dry_run: bool = Field(False, description="do nothing")


def example(*words: str) -> Example:
    config = parse(Example, list(words), verb="example")
    assert config is not None
    return config


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


def test_yaml_then_command_line(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("source: photos\nout: a\ninner: {model: big, max-objects: 4}\nwords: [x]\n")
    config = example("--config", str(tmp_path / "run.yaml"), "--out", "b", "--inner.confidence", "0.1")
    assert (config.source, config.out, config.words) == ("photos", "b", ["x"])
    assert config.inner == Inner(model="big", confidence=0.1, max_objects=4)
    (tmp_path / "run.yaml").write_text("source: photos\nout: a\ninner: big\n")
    assert example("--config", str(tmp_path / "run.yaml")).inner.model == "big"


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
        (["p", "--out", "o", "-k", "many"], "--top-k: .* valid integer"),
        (["p", "--out", "o", "--config", "nowhere.yaml"], "cannot read --config nowhere.yaml"),
    ],
)
def test_mistakes_are_named(words: list[str], message: str) -> None:
    with pytest.raises(QpertError, match=message):
        example(*words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sorce: x", "unknown key sorce; did you mean source"),
        ("inner: {confidense: 1}", "unknown key inner.confidense; did you mean inner.confidence"),
        ("zzz: 1", "unknown key zzz; known: source, words"),
        ("just text", "must hold names and values"),
        ("a: [", "not valid YAML"),
    ],
)
def test_mistakes_in_yaml_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(QpertError, match=message):
        example("p", "--out", "o", "--config", str(tmp_path / "run.yaml"))


def test_help_has_every_option_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(Example, ["--help"], verb="example", help_text="Teaches.\n\nExamples:\n  qpert example x")
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert "Teaches." in text
    assert "  qpert example x" in text
    for part in ("SOURCE", "where from", "--inner TEXT", "--inner.confidence X", "(default: 0.25)", "-k", "{a,b}"):
        assert part in text


def test_verbs_are_listed_without_importing_them() -> None:
    script = "import sys; from jobs.cli import main; main([]); sys.exit(bool({'torch', 'ray'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "index" in done.stdout
    assert "Index photos" in done.stdout


@pytest.mark.parametrize("verb", sorted(cli.verbs()))
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([verb, "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert "Example" in text
    assert f"qpert {verb}" in text
    module = __import__(f"jobs.{verb.replace('-', '_')}", fromlist=["Config"])
    assert [name for name, field in module.Config.model_fields.items() if not field.description] == []


def test_exit_codes_and_messages(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.main(["indx"]) == 2
    assert "unknown verb 'indx'; did you mean index?" in capsys.readouterr().err
    assert cli.main(["index", "nowhere", "--out", "x"]) == 2
    assert "error: there is no nowhere" in capsys.readouterr().err

    def interrupted(verb: str, words: list[str]) -> int:
        raise KeyboardInterrupt("run it again")

    monkeypatch.setattr(cli, "_run", interrupted)
    assert cli.main(["index"]) == 130
    assert "interrupted: run it again" in capsys.readouterr().err


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


def test_dotted_names_in_yaml(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("out: o\ninner.model: big\ninner.confidence: 0.5\n")
    config = example("p", "--config", str(tmp_path / "run.yaml"))
    assert (config.inner.model, config.inner.confidence) == ("big", 0.5)
    (tmp_path / "run.yaml").write_bytes(b"out: caf\xe9")
    with pytest.raises(QpertError, match="cannot read --config"):
        example("p", "--config", str(tmp_path / "run.yaml"))


def test_values_that_yaml_reads_in_its_own_way(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("out: o\ninner: ~\ndry_run: yes\n")
    config = example("p", "--config", str(tmp_path / "run.yaml"))
    assert (config.inner.model, config.dry_run) == ("none", True)
    (tmp_path / "run.yaml").write_text("out: o\ntop_k: yes\n")
    with pytest.raises(QpertError, match="top_k is no switch; write its value, not true"):
        example("p", "--config", str(tmp_path / "run.yaml"))


@pytest.mark.parametrize("verb", [[], ["index"]])
@pytest.mark.parametrize("target", ["/dev/full", None])
def test_a_reader_that_goes_away_gets_no_traceback(target: str | None, verb: list[str]) -> None:
    command = [sys.executable, "-m", "jobs", *verb, "--help"]
    if target is None:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.close()
        error = process.stderr.read() if process.stderr else b""
        process.wait()
    else:
        with open(target, "w") as full:
            error = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False).stderr
    assert b"Traceback" not in error


@pytest.mark.parametrize("verb", [["index", "photos", "--out", "o"], ["tune"], ["reproduce"], ["plan", "photos"]])
def test_a_wrong_cluster_is_named_before_any_work(
    verb: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    assert cli.main(verb) == 2
    assert "RAY_ADDRESS=http://127.0.0.1:8265 is the address of a dashboard" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_hold_a_session_is_named_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", "/no/such")
    assert cli.main(["tune"]) == 2
    assert "RAY_TMPDIR=/no/such cannot hold the files of a Ray session" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_words_that_are_no_text_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["index", "caf\udce9", "--out", "out"]) == 2
    assert capsys.readouterr().err.startswith(r"error: 'caf\udce9' is not valid text; the terminal should send UTF-8")


def test_no_room_for_temporary_files_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(verb: str, words: list[str]) -> int:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/x', '/tmp']")

    monkeypatch.setattr(cli, "_run", fail)
    assert cli.main(["index"]) == 2
    assert "name one with room in TMPDIR" in capsys.readouterr().err


def test_no_window_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    cli.main([])
    assert os.environ["MPLBACKEND"] == "agg"


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
